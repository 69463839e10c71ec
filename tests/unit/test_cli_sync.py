"""`hookline sync`, against scripted services: what is asked of runs, what is said, and with which exit status."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import grpc
import pytest

from hookline.cli.standings import status_fields, status_row
from hookline.client import (
    Reconciliation,
    SourceStatus,
    SyncProgress,
    SyncRun,
)
from hookline.sync.v1 import sync_service_pb2 as pb
from tests.unit.scripted import Refusal, Script, Shell, serving
from tests.unit.sync_samples import (
    ALL_COUNTS,
    BARE,
    BARE_FIELDS,
    COUNTED,
    COUNTS,
    ENDED_FIELDS,
    QUEUED,
    RUNNING,
    SOURCE,
    SOURCE_FIELDS,
    STATUSES,
    TIME,
    TIME_TEXT,
    WAITING,
    ended,
    lines,
    run,
    run_fields,
    stream,
)

CODE = grpc.StatusCode


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def shell(script: Script) -> Iterator[Shell]:
    with serving(script) as server:
        yield Shell(script, server)


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
        "LATE": "20",
        "DUPLICATES": "100",
        "QUARANTINED": "7",
        "MISSING": "",
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


def test_a_trigger_of_a_span_behind_the_active_run(shell: Shell) -> None:
    behind = pb.TriggerSyncResponse(run=run(QUEUED, behind=True), created=True)
    full = Refusal(CODE.RESOURCE_EXHAUSTED, "100 runs of shop-1 are queued", "SYNC_QUEUE_FULL")
    shell.script.answers = [behind, behind, full]
    span = ("sync", "trigger", "shop-1", "--request-id", "mine", "--from", "2026-01-01", "--queue", "--no-wait")
    assert shell(*span).output == "Run r-1 of shop-1: queued behind another run.\n"
    told = json.loads(shell(*span, "--until", "2026-01-01T01:00:00+01:00", "--json").output)
    assert told == run_fields("queued", behind=True, created=True)
    result = shell("sync", "trigger", "shop-1", "--queue", "--days-back", "7", "--until", "2026-01-01")
    assert (result.exit_code, result.output) == (7, "Error: 100 runs of shop-1 are queued\n")
    queue = pb.WhenActive.WHEN_ACTIVE_QUEUE
    request = pb.TriggerSyncRequest(
        company_id="acme", source="shop-1", request_id="mine", start_time=TIME, when_active=queue
    )
    bounded = pb.TriggerSyncRequest(until_time=TIME)
    bounded.MergeFrom(request)
    first, second, third = shell.script.requests
    assert (first, second) == (request, bounded)
    assert isinstance(third, pb.TriggerSyncRequest)
    assert (third.days_back, third.until_time, third.HasField("start_time")) == (7, TIME, False)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--days-back 7 --from 2026-01-01", "Give --days-back or --from."),
        ("--until 2026-01-01", "--until goes with --days-back or --from."),
        ("--from yesterday", "neither a date like"),
        ("--days-back 0", "not in the range"),
    ],
)
def test_a_trigger_of_no_span(shell: Shell, options: str, told: str) -> None:
    result = shell("sync", "trigger", "shop-1", *options.split())
    assert (result.exit_code, result.stdout, shell.script.requests) == (2, "", [])
    assert told in result.stderr


PROGRESS = SyncProgress(windows=30, windows_done=12, window_start_time=TIME, window_until_time=TIME, said=1500)


def test_all_that_is_known_of_a_run_as_json(shell: Shell) -> None:
    known = ended(
        "incomplete",
        "gave 1,490 of 1,500",
        start_time=TIME,
        until_time=TIME,
        deadline_time=TIME,
        progress=PROGRESS,
        reconciliation=Reconciliation(create_time=TIME, said=1500, listed=1490, stored=1480, missing=10, unlisted=2),
    )
    bare = run(RUNNING, progress=SyncProgress(windows=1), reconciliation=Reconciliation())
    shell.script.answers = [pb.ListSyncRunsResponse(runs=[known, bare])]
    times = dict.fromkeys(("start_time", "until_time", "deadline_time"), TIME_TEXT)
    progress = {"windows": 30, "windows_done": 12, "window_start_time": TIME_TEXT, "window_until_time": TIME_TEXT}
    reconciliation = {"create_time": TIME_TEXT, "said": 1500, "listed": 1490, "stored": 1480, "missing": 10}
    no_progress = {"windows": 1, "windows_done": 0} | dict.fromkeys(("window_start_time", "window_until_time", "said"))
    no_figures = {"listed": 0, "stored": 0, "missing": 0} | dict.fromkeys(("create_time", "said", "unlisted"))
    assert lines(shell("sync", "runs", "--json").output) == [
        run_fields(
            "incomplete",
            **ENDED_FIELDS,
            **times,
            error="gave 1,490 of 1,500",
            progress=progress | {"said": 1500},
            reconciliation=reconciliation | {"unlisted": 2},
        ),
        run_fields("running", progress=no_progress, reconciliation=no_figures),
    ]


RECONCILED = {
    "The source listed 1,500 events; none of them is missing here.": Reconciliation(
        said=1500, listed=1500, stored=1500
    ),
    "The source listed 1 event; none of them is missing here.": Reconciliation(listed=1, stored=1, unlisted=0),
    "The source listed 9 events of 10; 2 of them are missing here.": Reconciliation(said=10, listed=9, missing=2),
    "The source listed 9 events; 1 of them is missing here; 1,003 are here that it did not list.": Reconciliation(
        listed=9, missing=1, unlisted=1003
    ),
}


@pytest.mark.parametrize("told", RECONCILED)
def test_a_run_says_what_it_has_found_to_be_amiss(shell: Shell, told: str) -> None:
    reconciliation = RECONCILED[told]
    shell.script.answers = [stream(ended("succeeded", reconciliation=reconciliation))]
    if reconciliation.missing or reconciliation.unlisted:
        told += " `hookline sync differences r-1` lists them."
    result = shell("sync", "watch", "r-1")
    assert result.stdout == f"Run r-1 of shop-1: succeeded. {COUNTED} {told}\n"


def test_status(shell: Shell) -> None:
    paused = pb.Schedule(cron="0 3 * * *", time_zone="UTC", paused=True)
    active = SourceStatus(
        source=SOURCE,
        active_run=run(WAITING, next_attempt_time=TIME, error="HTTP 503\x1b[2J"),
        last_run=ended("failed", "HTTP 401"),
        consecutive_failures=2,
        complete_until_time=TIME,
        queued_runs=3,
        open_alerts=1,
    )
    idle = SourceStatus(source=pb.Source(source="shop-3", schedule=paused))
    shell.script.answers = [pb.GetSyncStatusResponse(sources=[active, SourceStatus(source=BARE), idle])] * 2
    waiting = run_fields("waiting", next_attempt_time=TIME_TEXT, error="HTTP 503\x1b[2J")
    first, second, _ = lines(shell("sync", "status", "--json").output)
    assert first.pop("lag_seconds") > 0
    assert first == SOURCE_FIELDS | {
        "active_run": waiting,
        "last_run": run_fields("failed", error="HTTP 401", **ENDED_FIELDS),
        "consecutive_failures": 2,
        "complete_until_time": TIME_TEXT,
        "queued_runs": 3,
        "open_alerts": 1,
    }
    unknown = dict.fromkeys(("active_run", "last_run", "complete_until_time", "lag_seconds"))
    nothing = dict.fromkeys(("consecutive_failures", "queued_runs", "open_alerts"), 0)
    assert second == BARE_FIELDS | unknown | nothing
    result = shell("sync", "status")
    titles, *rows = (line.split("\t") for line in result.stdout.splitlines())
    assert [" ".join(row) for row in rows[1:]] == [
        "shop-2   idle 0   0 0  ",
        "shop-3 0 3 * * * UTC paused idle 0   0 0  ",
    ]
    assert dict(zip(titles, rows[0], strict=True)) | {"LAG": ""} == {
        "SOURCE": "shop-1",
        "SCHEDULE": "6h",
        "NEXT RUN": TIME_TEXT,
        "NOW": "waiting",
        "QUEUED": "3",
        "LAST RUN": "failed",
        "ENDED": TIME_TEXT,
        "FAILURES": "2",
        "ALERTS": "1",
        "LAG": "",
        "RUN ID": "r-1",
    }
    assert result.stderr == f"shop-1: waiting until {TIME_TEXT}: HTTP 503\N{REPLACEMENT CHARACTER}[2J\n"
    assert shell.script.requests == [pb.GetSyncStatusRequest(company_id="acme")] * 2


@pytest.mark.parametrize(
    ("seconds", "told"), [(-5, "0s"), (0, "0s"), (59, "59s"), (3600, "1h"), (3661, "1h1m"), (90061, "1d1h")]
)
def test_the_lag_is_how_long_ago_all_was_complete(seconds: int, told: str) -> None:
    status, now = SourceStatus(complete_until_time=TIME), datetime.fromtimestamp(TIME.seconds + seconds, UTC)
    assert status_row(status, now)[-2] == told
    assert status_fields(status, now)["lag_seconds"] == max(seconds, 0)
