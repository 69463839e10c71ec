"""`hookline sync log` and `differences`, against scripted services."""

from collections.abc import Iterator

import grpc
import pytest

from hookline.client import DifferenceKind, LogLevel, Reconciliation, SyncDifference, SyncRunLogEntry
from hookline.sync.v1 import sync_service_pb2 as pb
from tests.unit.scripted import Refusal, Script, Shell, serving
from tests.unit.sync_samples import RUNNING, TIME, TIME_TEXT, ended, lines, run

CODE = grpc.StatusCode


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def shell(script: Script) -> Iterator[Shell]:
    with serving(script) as server:
        yield Shell(script, server)


ENTRIES = [
    SyncRunLogEntry(log_time=TIME, level=LogLevel.LOG_LEVEL_INFO, code="RUN_CREATED", message="asked for"),
    SyncRunLogEntry(
        log_time=TIME, level=LogLevel.LOG_LEVEL_WARNING, code="PAGE_RETRIED", message="HTTP 503\t\x1b", attempt=2
    ),
]
WARNING_ROW = f"{TIME_TEXT}\twarning\t2\tPAGE_RETRIED\tHTTP 503\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"


def test_a_log(shell: Shell) -> None:
    first = pb.ListSyncRunLogResponse(entries=ENTRIES[:1], next_page_token="a")
    second = pb.ListSyncRunLogResponse(entries=ENTRIES[1:])
    shell.script.answers = [first, second, first, second]
    told = [f"{TIME_TEXT}\tinfo\t0\tRUN_CREATED\tasked for", WARNING_ROW]
    assert shell("sync", "log", "r-1").stdout.splitlines() == ["TIME\tLEVEL\tATTEMPT\tCODE\tMESSAGE", *told]
    assert lines(shell("sync", "log", "r-1", "--json").stdout) == [
        {"log_time": TIME_TEXT, "level": "info", "attempt": 0, "code": "RUN_CREATED", "message": "asked for"},
        {"log_time": TIME_TEXT, "level": "warning", "attempt": 2, "code": "PAGE_RETRIED", "message": "HTTP 503\t\x1b"},
    ]
    assert shell.script.requests[:2] == [
        pb.ListSyncRunLogRequest(company_id="acme", run_id="r-1", page_size=1000, page_token=token)
        for token in ("", "a")
    ]


@pytest.mark.parametrize("as_json", [False, True])
def test_a_log_is_followed(shell: Shell, as_json: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hookline.client.runs.FOLLOW_SECONDS", 0)
    shell.script.answers = [
        pb.GetSyncRunResponse(run=run(RUNNING)),
        pb.ListSyncRunLogResponse(entries=ENTRIES[:1]),
        pb.GetSyncRunResponse(run=ended("failed")),
        pb.ListSyncRunLogResponse(entries=ENTRIES),
    ]
    result = shell("sync", "log", "r-1", "--follow", *(["--json"] if as_json else []))
    assert (result.exit_code, result.stderr) == (0, "")
    if as_json:
        assert [each["code"] for each in lines(result.stdout)] == ["RUN_CREATED", "PAGE_RETRIED"]
    else:
        assert result.stdout.splitlines() == [f"{TIME_TEXT}\tinfo\t0\tRUN_CREATED\tasked for", WARNING_ROW]


def test_the_log_of_no_run(shell: Shell) -> None:
    shell.script.answers = [Refusal(CODE.NOT_FOUND, "there is no run r-1", "SYNC_RUN_NOT_FOUND")] * 3
    for command in (("log", "r-1"), ("log", "r-1", "--follow"), ("differences", "r-1")):
        result = shell("sync", *command)
        assert (result.exit_code, result.output) == (4, "Error: there is no run r-1\n")


def test_differences(shell: Shell) -> None:
    missing = SyncDifference(
        kind=DifferenceKind.DIFFERENCE_KIND_MISSING, item_id="i-1", reason="FIELD_MISSING", message="no type"
    )
    unlisted = SyncDifference(
        kind=DifferenceKind.DIFFERENCE_KIND_UNLISTED, event_id="e-1", reason="NOT_LISTED", message="not listed"
    )
    first = pb.ListSyncDifferencesResponse(differences=[missing], next_page_token="a")
    second = pb.ListSyncDifferencesResponse(differences=[unlisted])
    compared = ended("succeeded", reconciliation=Reconciliation(listed=9, missing=1, unlisted=1))
    shell.script.answers = [pb.GetSyncRunResponse(run=compared), first, second, first, second]
    result = shell("sync", "differences", "r-1")
    assert result.stdout.splitlines() == [
        "KIND\tITEM ID\tEVENT ID\tREASON\tMESSAGE",
        "missing\ti-1\t\tFIELD_MISSING\tno type",
        "unlisted\t\te-1\tNOT_LISTED\tnot listed",
    ]
    told = "The source listed 9 events; 1 of them is missing here; 1 is here that it did not list.\n"
    assert result.stderr == told
    assert lines(shell("sync", "differences", "r-1", "--json").stdout) == [
        {"kind": "missing", "item_id": "i-1", "event_id": None, "reason": "FIELD_MISSING", "message": "no type"},
        {"kind": "unlisted", "item_id": None, "event_id": "e-1", "reason": "NOT_LISTED", "message": "not listed"},
    ]
    shell.script.answers = [pb.GetSyncRunResponse(run=run(RUNNING)), pb.ListSyncDifferencesResponse()]
    result = shell("sync", "differences", "r-1")
    assert result.stderr == "What the source listed has not been compared with what is stored.\n"
