"""`hookline sync source`, `start`, `pause`, `resume` and `stop`, against scripted services."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from hookline.cli.standings import cadence
from hookline.client import Event, Money, Schedule, Source, SourceSample
from hookline.sync.v1 import sync_service_pb2 as pb
from tests.unit.scripted import Refusal, Script, Shell, serving
from tests.unit.sync_samples import BARE, BARE_FIELDS, SOURCE, SOURCE_FIELDS, TIME, TIME_TEXT, lines

CODE = grpc.StatusCode
NONE = Refusal(CODE.NOT_FOUND, "there is no source shop-1", "SOURCE_NOT_FOUND")


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
    more = ("--parameter", "webhookSettingId=7=8", "--parameter", "a=", "--look-back", "0s", "--run-deadline", "1h30m")
    result = shell(*ADD, "--credential-file", str(path), *more)
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
            look_back=Duration() if credential == "from-file" else None,
            run_deadline=Duration(seconds=5400) if credential == "from-file" else None,
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


def test_no_credential_at_all(shell: Shell) -> None:
    result = shell(*ADD)
    assert (result.exit_code, shell.script.requests) == (2, [])
    assert "Give --credential-file, not empty, or set HOOKLINE_CREDENTIAL." in result.stderr


def test_a_source_that_exists_already(shell: Shell) -> None:
    shell.script.answers = [Refusal(CODE.ALREADY_EXISTS, "there is a source shop-1", "SOURCE_EXISTS")]
    result = shell(*ADD, "--credential-file", "-", stdin=b"secret")
    assert (result.exit_code, result.output) == (3, "Error: there is a source shop-1\n")


def test_sources_are_listed(shell: Shell) -> None:
    shell.script.answers = [pb.ListSourcesResponse(sources=[SOURCE, BARE])] * 2
    assert lines(shell("sync", "source", "list", "--json").stdout) == [SOURCE_FIELDS, BARE_FIELDS]
    assert shell("sync", "source", "list").stdout == (
        "SOURCE\tPLATFORM\tADDRESS\tPARAMETERS\tSCHEDULE\tNEXT RUN\n"
        "shop-1\tgrapfy\thttps://shop.test\ta=b webhookSettingId=7\t6h\t2026-01-01T00:00:00Z\n"
        "shop-2\tgrapfy\thttps://shop.test\t\t\t\n"
    )
    assert shell.script.requests == [pb.ListSourcesRequest(company_id="acme")] * 2


def test_a_source_is_removed(shell: Shell) -> None:
    refusal = Refusal(CODE.FAILED_PRECONDITION, "a run of shop-1 is active; cancel it", "SYNC_RUN_ACTIVE")
    shell.script.answers = [pb.DeleteSourceResponse(), pb.DeleteSourceResponse(), refusal]
    assert shell("sync", "source", "remove", "shop-1").output == "shop-1 removed; its events stay.\n"
    result = shell("sync", "source", "remove", "shop-1", "--json")
    assert (result.exit_code, json.loads(result.output)) == (0, {"source": "shop-1", "removed": True})
    assert shell("sync", "source", "remove", "shop-1").exit_code == 3
    assert shell.script.requests == [pb.DeleteSourceRequest(company_id="acme", source="shop-1")] * 3


def test_a_source_is_shown(shell: Shell) -> None:
    shell.script.answers = [*[pb.GetSourceResponse(source=SOURCE)] * 2, NONE]
    assert lines(shell("sync", "source", "show", "shop-1", "--json").stdout) == [SOURCE_FIELDS]
    shown = shell("sync", "source", "show", "shop-1").stdout
    assert json.loads(shown) == SOURCE_FIELDS
    assert '\n  "platform": "grapfy",\n' in shown
    result = shell("sync", "source", "show", "shop-1")
    assert (result.exit_code, result.output) == (4, "Error: there is no source shop-1\n")
    assert shell.script.requests == [pb.GetSourceRequest(company_id="acme", source="shop-1")] * 3


UPDATES: dict[str, tuple[str, dict[str, Any]]] = {
    "--base-url https://other.test": ("base_url", {"base_url": "https://other.test"}),
    "--credential-file -": ("credential", {"credential": "new"}),
    "--parameter a=1 --parameter b=": ("parameters", {"parameters": {"a": "1", "b": ""}}),
    "--no-parameters": ("parameters", {}),
    "--look-back 0s": ("look_back", {"look_back": Duration()}),
    "--run-deadline 2h --look-back 6h": (
        "look_back run_deadline",
        {"look_back": Duration(seconds=21600), "run_deadline": Duration(seconds=7200)},
    ),
}


@pytest.mark.parametrize("options", UPDATES)
def test_a_source_is_changed(shell: Shell, options: str) -> None:
    # What is there for new sources changes no other one.
    shell.environment["HOOKLINE_CREDENTIAL"] = "from-environment"
    shell.script.answers = [pb.UpdateSourceResponse(source=SOURCE)] * 2
    update = ("sync", "source", "update", "shop-1", *options.split())
    told = "shop-1 changed; `hookline sync source check shop-1` tries it.\n"
    assert shell(*update, stdin=b"new\n").output == told
    assert json.loads(shell(*update, "--json", stdin=b"new\n").output) == SOURCE_FIELDS
    paths, fields = UPDATES[options]
    request = pb.UpdateSourceRequest(
        company_id="acme", source="shop-1", update_mask=FieldMask(paths=paths.split()), **fields
    )
    assert shell.script.requests == [request] * 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("", "What is to be changed?"),
        ("--no-parameters --parameter a=b", "Which parameters?"),
        ("--credential-file -", "The credential is empty."),
        ("--look-back soon", "no duration"),
        ("--parameter a", "is not KEY=VALUE"),
    ],
)
def test_a_change_that_is_none(shell: Shell, options: str, told: str) -> None:
    result = shell("sync", "source", "update", "shop-1", *options.split(), stdin=b"")
    assert (result.exit_code, result.stdout, shell.script.requests) == (2, "", [])
    assert told in result.stderr


def test_a_source_is_checked(shell: Shell) -> None:
    understood = Event(
        type="order_approved",
        source="shop-1",
        customer_name="Ana\x1b",
        product_name="Course",
        total=Money(amount="10.50", currency="BRL"),
        occurred_time=TIME,
    )
    samples = [
        SourceSample(item_id="i-2", item_time=TIME, event=understood),
        SourceSample(item_id="i-1", item_time=TIME, problem="no type"),
    ]
    works = pb.CheckSourceResponse(ok=True, events=2, samples=samples)
    shell.script.answers = [works, works, pb.CheckSourceResponse(ok=True)]
    check = ("sync", "source", "check", "shop-1")
    assert shell(*check).stdout == (
        "TIME\tTYPE\tCUSTOMER\tPRODUCT\tTOTAL\tPROBLEM\tITEM ID\n"
        f"{TIME_TEXT}\torder_approved\tAna\N{REPLACEMENT CHARACTER}\tCourse\t10.50 BRL\t\ti-2\n"
        f"{TIME_TEXT}\t\t\t\t\tno type\ti-1\n"
        "shop-1 works: 2 events on the first page of its newest days.\n"
    )
    (found,) = lines(shell(*check, "--json").output)
    assert [found[name] for name in ("source", "ok", "problem", "events")] == ["shop-1", True, None, 2]
    first, second = found["samples"]
    assert (first["item_id"], first["item_time"], first["problem"]) == ("i-2", TIME_TEXT, None)
    assert (first["event"]["type"], first["event"]["total"]) == ("order_approved", "10.50")
    assert not {"event_id", "sequence", "status", "received_time", "payload"} & set(first["event"])
    assert second == {"item_id": "i-1", "item_time": TIME_TEXT, "problem": "no type", "event": None}
    assert shell(*check).output == "shop-1 works: 0 events on the first page of its newest days.\n"
    assert shell.script.requests == [pb.CheckSourceRequest(company_id="acme", source="shop-1")] * 3


def test_a_source_that_does_not_work(shell: Shell) -> None:
    shell.script.answers = [pb.CheckSourceResponse(problem="answered 401")] * 2
    result = shell("sync", "source", "check", "shop-1")
    assert (result.exit_code, result.output) == (12, "shop-1 does not work: answered 401\n")
    result = shell("sync", "source", "check", "shop-1", "--json")
    told = {"source": "shop-1", "ok": False, "problem": "answered 401", "events": 0, "samples": []}
    assert (result.exit_code, json.loads(result.output)) == (12, told)


DURATIONS = {"": None, "90m": 5400, "6h": 21600, "1d": 86400, "60s": 60, "1d2h3m4s": 93784, "30d": 2592000}


@pytest.mark.parametrize("text", DURATIONS)
def test_a_schedule_is_started(shell: Shell, text: str) -> None:
    shell.script.answers = [pb.StartScheduleResponse(source=SOURCE)] * 2
    arguments = ("sync", "start", "shop-1", *(("--every", text) if text else ()))
    assert shell(*arguments).output == f"shop-1 is synced every 6h; the next run is due at {TIME_TEXT}.\n"
    assert json.loads(shell(*arguments, "--json").output) == SOURCE_FIELDS
    seconds = DURATIONS[text]
    interval = None if seconds is None else Duration(seconds=seconds)
    request = pb.StartScheduleRequest(company_id="acme", source="shop-1", interval=interval)
    assert shell.script.requests == [request] * 2
    if seconds:
        source = Source(schedule=Schedule(interval=interval))
        assert cadence(source) == {"90m": "1h30m", "60s": "1m"}.get(text, text)


BY_CRON = Source(
    company_id="acme",
    source="shop-1",
    schedule=Schedule(cron="0 3 * * *", time_zone="America/Sao_Paulo", next_run_time=TIME),
)


def test_a_schedule_by_cron(shell: Shell) -> None:
    shell.script.answers = [pb.StartScheduleResponse(source=BY_CRON)] * 2
    arguments = ["sync", "start", "shop-1", "--cron", "0 3 * * *", "--time-zone", "America/Sao_Paulo"]
    told = f"shop-1 is synced by 0 3 * * * America/Sao_Paulo; the next run is due at {TIME_TEXT}.\n"
    assert shell(*arguments).output == told
    schedule = json.loads(shell(*arguments, "--jitter", "5m", "--json").output)["schedule"]
    assert schedule == {
        "interval_seconds": None,
        "cron": "0 3 * * *",
        "time_zone": "America/Sao_Paulo",
        "jitter_seconds": None,
        "paused": False,
        "next_run_time": TIME_TEXT,
    }
    requests = [
        pb.StartScheduleRequest(
            company_id="acme", source="shop-1", cron="0 3 * * *", time_zone="America/Sao_Paulo", jitter=jitter
        )
        for jitter in (None, Duration(seconds=300))
    ]
    assert shell.script.requests == requests


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--every", "6h", "--cron", "0 3 * * *"), "Give --every or --cron."),
        (("--time-zone", "Europe/Lisbon"), "--time-zone goes with --cron."),
        (("--every", "59s"), "is not from one minute to 30 days"),
        (("--every", "31d"), "is not from one minute to 30 days"),
        (("--jitter", "some"), "is no duration"),
    ],
)
def test_a_schedule_that_is_none(shell: Shell, options: tuple[str, ...], told: str) -> None:
    result = shell("sync", "start", "shop-1", *options)
    assert (result.exit_code, result.stdout, shell.script.requests) == (2, "", [])
    assert told in result.stderr


def test_a_cron_expression_that_the_server_refuses(shell: Shell) -> None:
    shell.script.answers = [Refusal(CODE.INVALID_ARGUMENT, "cron: is no cron expression", "INVALID_FIELD")]
    result = shell("sync", "start", "shop-1", "--cron", "soon")
    assert (result.exit_code, result.output) == (3, "Error: cron: is no cron expression\n")


def test_a_schedule_is_paused_and_goes_on(shell: Shell) -> None:
    paused = Source(source="shop-1", schedule=Schedule(interval=Duration(seconds=21600), paused=True))
    none = Refusal(CODE.NOT_FOUND, "shop-1 has no schedule", "SCHEDULE_NOT_FOUND")
    shell.script.answers = [*[pb.PauseScheduleResponse(source=paused)] * 2, none]
    shell.script.answers += [*[pb.ResumeScheduleResponse(source=BY_CRON)] * 2, none]
    told = "shop-1 is paused; `hookline sync resume shop-1` lets it go on every 6h.\n"
    assert shell("sync", "pause", "shop-1").output == told
    assert json.loads(shell("sync", "pause", "shop-1", "--json").output)["schedule"]["paused"] is True
    assert shell("sync", "pause", "shop-1").exit_code == 4
    told = f"shop-1 is synced by 0 3 * * * America/Sao_Paulo; the next run is due at {TIME_TEXT}.\n"
    assert shell("sync", "resume", "shop-1").output == told
    assert json.loads(shell("sync", "resume", "shop-1", "--json").output)["schedule"]["paused"] is False
    result = shell("sync", "resume", "shop-1")
    assert (result.exit_code, result.output) == (4, "Error: shop-1 has no schedule\n")
    asked = [type(each) for each in shell.script.requests]
    assert asked == [pb.PauseScheduleRequest] * 3 + [pb.ResumeScheduleRequest] * 3


def test_a_schedule_is_stopped(shell: Shell) -> None:
    shell.script.answers = [pb.StopScheduleResponse(source=BARE)] * 2
    assert shell("sync", "stop", "shop-2").output == "shop-2 has no schedule.\n"
    assert json.loads(shell("sync", "stop", "shop-2", "--json").output) == BARE_FIELDS
    assert shell.script.requests == [pb.StopScheduleRequest(company_id="acme", source="shop-2")] * 2
