"""`hookline sync`, against scripted services: what is asked, what is said, and with which exit status."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from hookline.cli.runs import Live, every
from hookline.client import Source, SourceStatus, SyncCounts, SyncRun, SyncRunState, SyncTrigger
from hookline.sync.v1 import sync_service_pb2 as pb
from tests.unit.scripted import Answer, Refusal, Script, Shell, serving

CODE = grpc.StatusCode
QUEUED = SyncRunState.SYNC_RUN_STATE_QUEUED
RUNNING = SyncRunState.SYNC_RUN_STATE_RUNNING
WAITING = SyncRunState.SYNC_RUN_STATE_WAITING
TIME = Timestamp(seconds=1767225600)
SOURCE = Source(
    company_id="acme",
    source="shop-1",
    platform="grapfy",
    base_url="https://shop.test",
    parameters={"webhookSettingId": "7", "a": "b"},
    create_time=TIME,
    schedule_interval=Duration(seconds=21600),
    next_run_time=TIME,
)
SOURCE_FIELDS = {
    "source": "shop-1",
    "platform": "grapfy",
    "base_url": "https://shop.test",
    "parameters": {"a": "b", "webhookSettingId": "7"},
    "create_time": "2026-01-01T00:00:00Z",
    "schedule_interval_seconds": 21600,
    "next_run_time": "2026-01-01T00:00:00Z",
}
BARE = Source(company_id="acme", source="shop-2", platform="grapfy", base_url="https://shop.test")
BARE_FIELDS = SOURCE_FIELDS | {
    "source": "shop-2",
    "parameters": {},
    "create_time": None,
    "schedule_interval_seconds": None,
    "next_run_time": None,
}
COUNTS = SyncCounts(pages=3, fetched=1500, accepted=1390, duplicates=100, quarantined=7, rejected=3, retries=1)
COUNTED = "1,500 events on 3 pages: 1,390 new, 100 duplicate, 7 quarantined, 3 rejected; 1 retry."


def run(state: SyncRunState.ValueType, **fields: Any) -> SyncRun:
    trigger = SyncTrigger.SYNC_TRIGGER_REQUEST
    return SyncRun(company_id="acme", run_id="r-1", source="shop-1", state=state, trigger=trigger, **fields)


def ended(name: str, error: str = "") -> SyncRun:
    return run(
        SyncRunState.Value(f"SYNC_RUN_STATE_{name.upper()}"), counts=COUNTS, end_time=TIME, error=error, attempt=2
    )


def run_fields(name: str, **fields: Any) -> dict[str, Any]:
    counts = dict.fromkeys(("pages", "fetched", "accepted", "duplicates", "quarantined", "rejected", "retries"), 0)
    nothing = dict.fromkeys(("start_time", "create_time", "end_time", "next_attempt_time", "error", "synced_time"))
    known = {"run_id": "r-1", "source": "shop-1", "state": name, "trigger": "request", "attempt": 0, "counts": counts}
    return nothing | known | fields


ALL_COUNTS = {"pages": 3, "fetched": 1500, "accepted": 1390, "duplicates": 100}
ALL_COUNTS |= {"quarantined": 7, "rejected": 3, "retries": 1}
ENDED_FIELDS = {"attempt": 2, "end_time": "2026-01-01T00:00:00Z", "counts": ALL_COUNTS}
STATUSES = {"succeeded": 0, "failed": 10, "cancelled": 11}


def stream(*runs: SyncRun) -> list[Answer]:
    return [pb.WatchSyncRunResponse(run=run) for run in runs]


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def shell(script: Script) -> Iterator[Shell]:
    with serving(script) as server:
        yield Shell(script, server)


ADD = ["sync", "source", "add", "shop-1", "--platform", "grapfy", "--base-url", "https://shop.test"]
ADDED = pb.CreateSourceResponse(source=BARE)


def test_a_source_is_added(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("from-file\n")
    shell.script.answers = [ADDED, ADDED, ADDED]
    result = shell(*ADD, "--credential-file", str(path), "--parameter", "webhookSettingId=7=8", "--parameter", "a=")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "shop-1 added; `hookline sync source check shop-1` tries it.\n"
    assert shell(*ADD, "--credential-file", "-", stdin=b" from-stdin\r\n").exit_code == 0
    shell.environment["HOOKLINE_CREDENTIAL"] = "from-environment"
    result = shell(*ADD, "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, BARE_FIELDS)
    credentials, parameters = ["from-file", "from-stdin", "from-environment"], {"webhookSettingId": "7=8", "a": ""}
    assert shell.script.requests == [
        pb.CreateSourceRequest(
            company_id="acme",
            source="shop-1",
            platform="grapfy",
            base_url="https://shop.test",
            credential=credential,
            parameters=parameters if credential == "from-file" else {},
        )
        for credential in credentials
    ]


@pytest.mark.parametrize("held", [b"", b"\n", b"\xff"], ids=["empty", "blank", "binary"])
def test_a_credential_that_is_none(shell: Shell, held: bytes) -> None:
    # What was asked for is used or refused, but never replaced by something else.
    shell.environment["HOOKLINE_CREDENTIAL"] = "from-environment"
    result = shell(*ADD, "--credential-file", "-", stdin=held)
    assert (result.exit_code, result.stdout, shell.script.requests) == (2, "", [])
    assert "redential" in result.stderr


def test_a_source_that_exists_already(shell: Shell) -> None:
    shell.script.answers = [Refusal(CODE.ALREADY_EXISTS, "there is a source shop-1", "SOURCE_EXISTS")]
    result = shell(*ADD, "--credential-file", "-", stdin=b"secret")
    assert (result.exit_code, result.output) == (3, "Error: there is a source shop-1\n")


def test_sources_are_listed(shell: Shell) -> None:
    shell.script.answers = [pb.ListSourcesResponse(sources=[SOURCE, BARE])] * 2
    assert lines(shell("sync", "source", "list", "--json").stdout) == [SOURCE_FIELDS, BARE_FIELDS]
    assert shell("sync", "source", "list").stdout == (
        "SOURCE\tPLATFORM\tADDRESS\tPARAMETERS\tEVERY\tNEXT RUN\n"
        "shop-1\tgrapfy\thttps://shop.test\ta=b webhookSettingId=7\t6h\t2026-01-01T00:00:00Z\n"
        "shop-2\tgrapfy\thttps://shop.test\t\t\t\n"
    )
    assert shell.script.requests == [pb.ListSourcesRequest(company_id="acme")] * 2


def test_a_source_is_removed(shell: Shell) -> None:
    refusal = Refusal(CODE.FAILED_PRECONDITION, "a run of shop-1 is active; cancel it first", "SYNC_RUN_ACTIVE")
    shell.script.answers = [pb.DeleteSourceResponse(), pb.DeleteSourceResponse(), refusal]
    assert shell("sync", "source", "remove", "shop-1").output == "shop-1 removed; its events stay.\n"
    result = shell("sync", "source", "remove", "shop-1", "--json")
    assert (result.exit_code, json.loads(result.output)) == (0, {"source": "shop-1", "removed": True})
    assert shell("sync", "source", "remove", "shop-1").exit_code == 3
    assert shell.script.requests == [pb.DeleteSourceRequest(company_id="acme", source="shop-1")] * 3


def test_a_source_is_checked(shell: Shell) -> None:
    works, refused = pb.CheckSourceResponse(ok=True, events=1), pb.CheckSourceResponse(problem="answered 401")
    shell.script.answers = [works, works, refused, refused]
    check = ("sync", "source", "check", "shop-1")
    assert shell(*check).output == "shop-1 works: 1 event on the first page of its last day.\n"
    assert json.loads(shell(*check, "--json").output) == {"source": "shop-1", "ok": True, "problem": None, "events": 1}
    result = shell(*check)
    assert (result.exit_code, result.output) == (12, "shop-1 does not work: answered 401\n")
    result = shell(*check, "--json")
    told = {"source": "shop-1", "ok": False, "problem": "answered 401", "events": 0}
    assert (result.exit_code, json.loads(result.output)) == (12, told)
    assert shell.script.requests == [pb.CheckSourceRequest(company_id="acme", source="shop-1")] * 4


DURATIONS = {"": None, "90m": 5400, "6h": 21600, "1d": 86400, "60s": 60, "1d2h3m4s": 93784, "30d": 2592000}


@pytest.mark.parametrize("text", DURATIONS)
def test_a_schedule_is_started(shell: Shell, text: str) -> None:
    shell.script.answers = [pb.StartScheduleResponse(source=SOURCE)] * 2
    arguments = ("sync", "start", "shop-1", *(("--every", text) if text else ()))
    assert shell(*arguments).output == "shop-1 is synced every 6h, and once now.\n"
    assert json.loads(shell(*arguments, "--json").output) == SOURCE_FIELDS
    seconds = DURATIONS[text]
    interval = None if seconds is None else Duration(seconds=seconds)
    request = pb.StartScheduleRequest(company_id="acme", source="shop-1", interval=interval)
    assert shell.script.requests == [request] * 2
    if seconds:
        assert every(Source(schedule_interval=interval)) == {"90m": "1h30m", "60s": "1m"}.get(text, text)


def test_a_schedule_is_stopped(shell: Shell) -> None:
    shell.script.answers = [pb.StopScheduleResponse(source=BARE)] * 2
    assert shell("sync", "stop", "shop-2").output == "shop-2 has no schedule.\n"
    assert json.loads(shell("sync", "stop", "shop-2", "--json").output) == BARE_FIELDS
    assert shell.script.requests == [pb.StopScheduleRequest(company_id="acme", source="shop-2")] * 2


@pytest.mark.parametrize("name", STATUSES)
def test_a_trigger_waits_and_tells_how_the_run_ended(shell: Shell, name: str) -> None:
    error = "the shop answered 401" if name == "failed" else ""
    seen = [run(QUEUED), run(RUNNING, attempt=1), run(WAITING, attempt=1, next_attempt_time=TIME, error="HTTP 503")]
    seen += [run(RUNNING, attempt=2), run(RUNNING, attempt=2, counts=COUNTS), ended(name, error)]
    made = pb.TriggerSyncResponse(run=seen[0], created=True)
    shell.script.answers = [made, stream(*seen)] * 3
    result = shell("sync", "trigger")
    assert result.exit_code == STATUSES[name]
    assert result.stdout == f"Run r-1 of shop-1: {name}. {COUNTED}{' ' if error else ''}{error}\n"
    assert result.stderr.splitlines() == [
        "Run r-1 of shop-1: queued.",
        "shop-1: running",
        "shop-1: waiting until 2026-01-01T00:00:00Z: HTTP 503",
        "shop-1: running",
    ]
    result = shell("sync", "trigger", "shop-1", "--days-back", "30", "--request-id", "mine", "--json")
    assert (result.exit_code, result.stderr) == (STATUSES[name], "")
    waiting = {"attempt": 1, "next_attempt_time": "2026-01-01T00:00:00Z", "error": "HTTP 503"}
    assert lines(result.stdout) == [
        run_fields("queued", created=True),
        run_fields("running", attempt=1, created=True),
        run_fields("waiting", created=True, **waiting),
        run_fields("running", attempt=2, created=True),
        run_fields("running", attempt=2, created=True, counts=ALL_COUNTS),
        run_fields(name, created=True, error=error or None, **ENDED_FIELDS),
    ]
    quiet = shell("sync", "trigger", "--quiet")
    assert (quiet.exit_code, quiet.output) == (STATUSES[name], "")
    by_default, explicit, _ = shell.script.requests[::2]
    assert isinstance(by_default, pb.TriggerSyncRequest)
    assert (by_default.source, by_default.days_back, len(by_default.request_id)) == ("", 0, 36)
    assert explicit == pb.TriggerSyncRequest(company_id="acme", source="shop-1", days_back=30, request_id="mine")
    assert shell.script.requests[1::2] == [pb.WatchSyncRunRequest(company_id="acme", run_id="r-1")] * 3


def test_a_trigger_need_not_wait(shell: Shell) -> None:
    made = pb.TriggerSyncResponse(run=run(QUEUED), created=True)
    joined = pb.TriggerSyncResponse(run=run(RUNNING))
    shell.script.answers = [made, joined, joined]
    assert shell("sync", "trigger", "--no-wait").output == "Run r-1 of shop-1: queued.\n"
    told = "No new run; this one is there: Run r-1 of shop-1: running.\n"
    assert shell("sync", "trigger", "--no-wait").output == told
    result = shell("sync", "trigger", "--no-wait", "--json")
    assert (result.exit_code, json.loads(result.output)) == (0, run_fields("running", created=False))
    assert len(shell.script.requests) == 3


@pytest.mark.parametrize("name", STATUSES)
def test_watch(shell: Shell, name: str) -> None:
    shell.script.answers = [stream(ended(name))] * 2
    result = shell("sync", "watch", "r-1")
    assert (result.exit_code, result.stdout) == (STATUSES[name], f"Run r-1 of shop-1: {name}. {COUNTED}\n")
    result = shell("sync", "watch", "r-1", "--json")
    assert (result.exit_code, lines(result.stdout)) == (STATUSES[name], [run_fields(name, **ENDED_FIELDS)])


def test_a_watch_survives_a_cut_stream(shell: Shell) -> None:
    first, last = run(RUNNING, attempt=1), ended("succeeded")
    shell.script.answers = [[*stream(first), Refusal()], Refusal(), stream(first), stream(first, last)]
    result = shell("sync", "watch", "r-1", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert [each["state"] for each in lines(result.stdout)] == ["running", "succeeded"]


def test_a_watch_that_fails_says_that_the_run_goes_on(shell: Shell) -> None:
    shell.script.answers = [[*stream(run(RUNNING)), Refusal(CODE.INTERNAL, "a defect", "INTERNAL")]] * 2
    result = shell("sync", "watch", "r-1")
    assert (result.exit_code, result.stdout) == (8, "")
    note = "The run goes on; `hookline sync watch r-1` shows it."
    assert result.stderr.splitlines() == ["shop-1: running", note, "Error: a defect"]
    result = shell("sync", "watch", "r-1", "--json")
    assert (lines(result.stdout), json.loads(result.stderr)["error"]["exit_status"]) == ([run_fields("running")], 8)


def test_a_watch_of_no_run(shell: Shell) -> None:
    shell.script.answers = [[Refusal(CODE.NOT_FOUND, "there is no run r-1", "SYNC_RUN_NOT_FOUND")]]
    result = shell("sync", "watch", "r-1")
    assert (result.exit_code, result.output) == (4, "Error: there is no run r-1\n")


def test_status(shell: Shell) -> None:
    active = SourceStatus(
        source=SOURCE,
        active_run=run(WAITING, next_attempt_time=TIME, error="HTTP 503\x1b[2J"),
        last_run=ended("failed", "HTTP 401"),
        consecutive_failures=2,
        complete_until_time=TIME,
    )
    shell.script.answers = [pb.GetSyncStatusResponse(sources=[active, SourceStatus(source=BARE)])] * 2
    waiting = run_fields("waiting", next_attempt_time="2026-01-01T00:00:00Z", error="HTTP 503\x1b[2J")
    assert lines(shell("sync", "status", "--json").output) == [
        SOURCE_FIELDS
        | {
            "active_run": waiting,
            "last_run": run_fields("failed", error="HTTP 401", **ENDED_FIELDS),
            "consecutive_failures": 2,
            "complete_until_time": "2026-01-01T00:00:00Z",
        },
        BARE_FIELDS | {"active_run": None, "last_run": None, "consecutive_failures": 0, "complete_until_time": None},
    ]
    result = shell("sync", "status")
    time = "2026-01-01T00:00:00Z"
    assert result.stdout == (
        "SOURCE\tEVERY\tNEXT RUN\tNOW\tLAST RUN\tENDED\tFAILURES\tCOMPLETE UNTIL\tRUN ID\n"
        f"shop-1\t6h\t{time}\twaiting\tfailed\t{time}\t2\t{time}\tr-1\n"
        "shop-2\t\t\tidle\t\t\t0\t\t\n"
    )
    assert result.stderr == f"shop-1: waiting until {time}: HTTP 503\N{REPLACEMENT CHARACTER}[2J\n"
    assert shell.script.requests == [pb.GetSyncStatusRequest(company_id="acme")] * 2


def test_runs(shell: Shell) -> None:
    page = pb.ListSyncRunsResponse(runs=[ended("failed", "HTTP 401"), run(RUNNING)], next_page_token="next")
    shell.script.answers = [page, page, page]
    failed, active = run_fields("failed", error="HTTP 401", **ENDED_FIELDS), run_fields("running")
    assert lines(shell("sync", "runs", "shop-1", "--limit", "3", "--json").output) == [failed, active, failed]
    result = shell("sync", "runs", "--limit", "1")
    assert result.stderr == "r-1: HTTP 401\n"
    titles, row = result.stdout.splitlines()
    assert dict(zip(titles.split("\t"), row.split("\t"), strict=True)) == {
        "CREATED": "",
        "SOURCE": "shop-1",
        "TRIGGER": "request",
        "STATE": "failed",
        "FETCHED": "1500",
        "NEW": "1390",
        "DUPLICATES": "100",
        "QUARANTINED": "7",
        "RETRIES": "1",
        "RUN ID": "r-1",
    }
    assert shell.script.requests == [
        pb.ListSyncRunsRequest(company_id="acme", source="shop-1", page_size=3),
        pb.ListSyncRunsRequest(company_id="acme", source="shop-1", page_size=3, page_token="next"),
        pb.ListSyncRunsRequest(company_id="acme", page_size=1),
    ]


def test_a_run_is_cancelled(shell: Shell) -> None:
    asked, over = pb.CancelSyncRunResponse(run=run(RUNNING)), pb.CancelSyncRunResponse(run=ended("succeeded"))
    shell.script.answers = [asked, over, asked]
    assert shell("sync", "cancel", "r-1").output == "Run r-1 of shop-1 is asked to end.\n"
    assert shell("sync", "cancel", "r-1").output == f"Run r-1 of shop-1: succeeded. {COUNTED}\n"
    result = shell("sync", "cancel", "r-1", "--json")
    assert (result.exit_code, json.loads(result.output)) == (0, run_fields("running"))
    assert shell.script.requests == [pb.CancelSyncRunRequest(company_id="acme", run_id="r-1")] * 3


def test_a_state_that_this_command_does_not_know(shell: Shell) -> None:
    # Field 4, the state, is 99.
    unknown = SyncRun.FromString(ended("failed").SerializeToString() + b"\x20\x63")
    shell.script.answers = [stream(unknown)]
    result = shell("sync", "watch", "r-1", "--json")
    assert (result.exit_code, json.loads(result.stdout)["state"]) == (10, "99")


def test_the_line_that_is_alive() -> None:
    now, time = 100.0, datetime(2026, 1, 1, tzinfo=UTC)
    live = Live(lambda: now, lambda: time)
    assert live.take(run(QUEUED))
    nothing = "0 pages · 0 fetched · 0 new · 0 duplicates · 0 quarantined · 0 retries"
    assert live.line() == f"shop-1 queued · {nothing}"
    now = 110.0
    # Joined midway: the rate is that of what is seen.
    assert live.take(run(RUNNING, attempt=1, counts=SyncCounts(pages=1, fetched=500)))
    assert live.line().endswith(" · 0/s")
    now = 112.0
    assert not live.take(run(RUNNING, attempt=1, counts=COUNTS))
    known = "3 pages · 1,500 fetched · 1,390 new · 100 duplicates · 7 quarantined · 1 retry"
    assert live.line() == f"shop-1 running · {known} · 500/s"
    now = 114.0
    assert live.line() == f"shop-1 running · {known} · 250/s"
    now = 122.0
    # Only what is new counts.
    assert live.line() == f"shop-1 running · {known} · 0/s"
    now = 130.0
    assert not live.take(run(RUNNING, attempt=1, counts=COUNTS))
    now = 131.0
    more = SyncCounts(pages=4, fetched=3300)
    assert not live.take(run(RUNNING, attempt=1, counts=more))
    assert (
        live.line()
        == "shop-1 running · 4 pages · 3,300 fetched · 0 new · 0 duplicates · 0 quarantined · 0 retries · 95/s"
    )
    again = Timestamp()
    again.FromDatetime(time + timedelta(seconds=12))
    assert live.take(run(WAITING, attempt=1, counts=COUNTS, next_attempt_time=again, error="HTTP 503"))
    assert live.line() == f"shop-1 waiting, again in 12 s · {known} · HTTP 503"
    time += timedelta(seconds=20)
    assert live.line() == f"shop-1 waiting, again in 0 s · {known} · HTTP 503"
    assert live.take(run(RUNNING, attempt=2, counts=COUNTS))
    assert not live.take(run(RUNNING, attempt=2, counts=COUNTS))
    assert live.take(run(RUNNING, attempt=3, counts=COUNTS))
