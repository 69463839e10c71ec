"""`hookline quarantine`, against scripted services: what is asked, what is said, and with which exit status."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from hookline.client import Event, EventConflict, IngestResult, Money, Outcome, OutcomeReason, QuarantinedEvent, Retried
from hookline.ingest.v1 import ingest_service_pb2 as pb
from tests.unit.scripted import Refusal, Script, Shell, serving

CODE = grpc.StatusCode
TIME, TIME_TEXT = Timestamp(seconds=1767225600), "2026-01-01T00:00:00Z"
TYPE_MISSING = OutcomeReason.OUTCOME_REASON_TYPE_MISSING
ITEM = QuarantinedEvent(
    quarantine_id="q-1",
    source="shop",
    reason=OutcomeReason.OUTCOME_REASON_JSON_MALFORMED,
    message="the payload is not JSON",
    payload_prefix=b"\xff{",
    payload_size=2,
    quarantined_time=TIME,
    times_received=3,
)
DISCARDED = QuarantinedEvent(quarantine_id="q-2", reason=TYPE_MISSING, discarded_time=TIME, discard_reason="a scanner")
FIELDS = {
    "quarantine_id": "q-1",
    "source": "shop",
    "platform": None,
    "reason": "JSON_MALFORMED",
    "message": "the payload is not JSON",
    "payload_size": 2,
    "quarantined_time": TIME_TEXT,
    "times_received": 3,
    "discarded_time": None,
    "discard_reason": None,
}
FILTER = pb.QuarantineFilter(source="shop", platform="kirvano", reason=TYPE_MISSING)
FILTER_OPTIONS = ("--source", "shop", "--platform", "kirvano", "--reason", "type_missing")


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def shell(script: Script) -> Iterator[Shell]:
    with serving(script) as server:
        yield Shell(script, server)


@pytest.mark.parametrize("name", [(), ("list",)], ids=["by default", "by name"])
def test_list(shell: Shell, name: tuple[str, ...]) -> None:
    first = pb.ListQuarantinedEventsResponse(quarantined_events=[ITEM], next_page_token="next")
    last = pb.ListQuarantinedEventsResponse(quarantined_events=[ITEM])
    shell.script.answers = [first, last, first, last]
    prefix = {"payload_prefix_base64": base64.b64encode(b"\xff{").decode()}
    assert lines(shell("quarantine", *name, "--json").stdout) == [FIELDS | prefix] * 2
    titles, row, _ = shell("quarantine", *name).stdout.splitlines()
    assert dict(zip(titles.split("\t"), row.split("\t"), strict=True)) == {
        "SINCE": TIME_TEXT,
        "TIMES": "3",
        "SOURCE": "shop",
        "REASON": "JSON_MALFORMED",
        "MESSAGE": "the payload is not JSON",
        "BYTES": "2",
        "QUARANTINE ID": "q-1",
    }


@pytest.mark.parametrize("name", [(), ("list",)], ids=["by default", "by name"])
def test_list_asks_for_what_is_wanted(shell: Shell, name: tuple[str, ...]) -> None:
    shell.script.answers = [pb.ListQuarantinedEventsResponse(quarantined_events=[DISCARDED])]
    result = shell("quarantine", *name, "--discarded", "--limit", "7", *FILTER_OPTIONS)
    titles, row = result.stdout.splitlines()
    assert titles.split("\t")[-3:] == ["QUARANTINE ID", "DISCARDED", "WHY"]
    assert row.split("\t")[-3:] == ["q-2", TIME_TEXT, "a scanner"]
    assert shell.script.requests == [
        pb.ListQuarantinedEventsRequest(company_id="acme", filter=FILTER, include_discarded=True, page_size=7)
    ]


PAYLOADS: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "JSON": (b'{"total": 10.00}', {"payload": {"total": 10.0}}, '\n    "total": 10.00\n'),
    "no JSON": (b'{"total": NaN}\x1b[2J', {"payload": '{"total": NaN}\x1b[2J'}, "\\u001b[2J"),
    "NaN": (b"NaN", {"payload": "NaN"}, '"payload": "NaN"'),
    "no text": (b"\xff", {"payload_base64": "/w=="}, '"payload_base64": "/w=="'),
    "nothing": (b"", {"payload": ""}, '"payload": ""'),
}


@pytest.mark.parametrize("kind", PAYLOADS)
def test_show(shell: Shell, kind: str) -> None:
    payload, shown, text = PAYLOADS[kind]
    whole = QuarantinedEvent(payload=payload, headers={"x-topic": "paid", "a": "b"})
    whole.MergeFrom(ITEM)
    shell.script.answers = [pb.GetQuarantinedEventResponse(quarantined_event=whole)] * 2
    result = shell("quarantine", "show", "q-1")
    headers = {"headers": {"a": "b", "x-topic": "paid"}}
    assert (result.exit_code, json.loads(result.stdout)) == (0, FIELDS | headers | shown)
    assert text in result.stdout
    result = shell("quarantine", "show", "q-1", "--json")
    as_base64 = {"payload_base64": base64.b64encode(payload).decode()}
    assert lines(result.stdout) == [FIELDS | headers | as_base64]
    assert shell.script.requests == [pb.GetQuarantinedEventRequest(company_id="acme", quarantine_id="q-1")] * 2


def test_preview(shell: Shell, tmp_path: Path) -> None:
    mapping = tmp_path / "shop.toml"
    mapping.write_text('title = "Café"', encoding="utf-8")
    event = Event(type="order_approved", platform_type="PAID", total=Money(amount="10.00"), payload=b'{"total": 10.00}')
    understood = pb.PreviewMappingResponse(result=IngestResult(outcome=Outcome.OUTCOME_ACCEPTED), event=event)
    shell.script.answers = [understood]
    result = shell("quarantine", "preview", "q-1", "--mapping", str(mapping))
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert (told["type"], told["platform_type"], told["total"]) == ("order_approved", "PAID", "10.00")
    assert shell.script.requests == [
        pb.PreviewMappingRequest(company_id="acme", quarantine_id="q-1", mapping='title = "Café"')
    ]


def retried(number: int, outcome: str, **fields: Any) -> Retried:
    result = IngestResult(outcome=Outcome.Value(f"OUTCOME_{outcome}"), **fields)
    return Retried(quarantine_id=f"q-{number}", result=result)


STAYS = retried(3, "QUARANTINED", quarantine_id="q-3", reason=TYPE_MISSING, message="no type\x1b[2J")
LEFT = [retried(1, "ACCEPTED", event_id="e-1", sequence=7), retried(2, "DUPLICATE", event_id="e-1", sequence=7)]


def test_retry(shell: Shell) -> None:
    some, rest = (pb.RetryQuarantinedEventsResponse(retried=each) for each in (LEFT, [STAYS]))
    some.next_page_token = "next"
    shell.script.answers = [some, rest, some, rest]
    result = shell("quarantine", "retry", *FILTER_OPTIONS, "--yes")
    assert (result.exit_code, result.stdout) == (
        6,
        "3 events tried: 1 accepted, 1 duplicate, 1 still quarantined.\n",
    )
    assert result.stderr == "1 for TYPE_MISSING\n"
    result = shell("quarantine", "retry", *FILTER_OPTIONS, "-y", "--json")
    assert (result.exit_code, result.stderr) == (6, "")
    known = {"event_id": "e-1", "sequence": 7, "payload_differs": False, "reason": None, "message": None}
    assert lines(result.stdout) == [
        {"quarantine_id": "q-1", "outcome": "accepted"} | known,
        {"quarantine_id": "q-2", "outcome": "duplicate"} | known,
        {
            "quarantine_id": "q-3",
            "outcome": "quarantined",
            "event_id": None,
            "sequence": None,
            "payload_differs": False,
            "reason": "TYPE_MISSING",
            "message": "no type\x1b[2J",
        },
    ]
    assert shell.script.requests == 2 * [
        pb.RetryQuarantinedEventsRequest(company_id="acme", filter=FILTER, page_token=token) for token in ("", "next")
    ]


def test_retry_of_ids_and_of_all(shell: Shell) -> None:
    shell.script.answers = [pb.RetryQuarantinedEventsResponse(retried=LEFT), pb.RetryQuarantinedEventsResponse()]
    result = shell("quarantine", "retry", "q-1", "q-2")
    assert (result.exit_code, result.output) == (
        0,
        "2 events tried: 1 accepted, 1 duplicate, 0 still quarantined.\n",
    )
    result = shell("quarantine", "retry", "--all", "--yes")
    assert (result.exit_code, result.output) == (
        0,
        "0 events tried: 0 accepted, 0 duplicate, 0 still quarantined.\n",
    )
    assert shell.script.requests == [
        pb.RetryQuarantinedEventsRequest(company_id="acme", quarantine_ids=["q-1", "q-2"]),
        pb.RetryQuarantinedEventsRequest(company_id="acme", filter=pb.QuarantineFilter()),
    ]


def test_what_stays_is_named_or_counted(shell: Shell) -> None:
    malformed = retried(4, "QUARANTINED", reason=OutcomeReason.OUTCOME_REASON_JSON_MALFORMED, message="no JSON")
    shell.script.answers = [pb.RetryQuarantinedEventsResponse(retried=[malformed, *[STAYS] * 1200])] * 2
    result = shell("quarantine", "retry", "--all", "--yes")
    assert (result.exit_code, result.stderr) == (6, "1,200 for TYPE_MISSING\n1 for JSON_MALFORMED\n")
    assert result.stdout.endswith("1,201 still quarantined.\n")
    shell.script.answers = [pb.RetryQuarantinedEventsResponse(retried=[STAYS, malformed])]
    result = shell("quarantine", "retry", "q-3", "q-4")
    assert result.stderr.splitlines() == [
        "q-3: TYPE_MISSING: no type\N{REPLACEMENT CHARACTER}[2J",
        "q-4: JSON_MALFORMED: no JSON",
    ]


def test_discard(shell: Shell) -> None:
    shell.script.answers = [
        pb.DiscardQuarantinedEventsResponse(quarantine_ids=["q-1", "q-2"], more=True),
        pb.DiscardQuarantinedEventsResponse(quarantine_ids=["q-3"]),
        pb.DiscardQuarantinedEventsResponse(quarantine_ids=["q-1"]),
    ]
    result = shell("quarantine", "discard", *FILTER_OPTIONS, "--why", "a scanner", "--yes")
    assert (result.exit_code, result.output) == (0, "3 events discarded.\n")
    result = shell("quarantine", "discard", "q-1", "q-2", "--why", "not ours", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert lines(result.stdout) == [{"quarantine_id": "q-1", "discarded": True}]
    assert shell.script.requests == [
        *[pb.DiscardQuarantinedEventsRequest(company_id="acme", filter=FILTER, reason="a scanner")] * 2,
        pb.DiscardQuarantinedEventsRequest(company_id="acme", quarantine_ids=["q-1", "q-2"], reason="not ours"),
    ]


@pytest.mark.parametrize(
    ("arguments", "first", "told"),
    [
        (
            ("retry", "--all", "--yes"),
            pb.RetryQuarantinedEventsResponse(retried=LEFT, next_page_token="next"),
            "2 events tried before this; it is safe to do it again.\n",
        ),
        (
            ("discard", "--all", "--why", "a scanner", "--yes"),
            pb.DiscardQuarantinedEventsResponse(quarantine_ids=["q-1"], more=True),
            "1 event discarded before this; it is safe to do it again.\n",
        ),
    ],
    ids=["retry", "discard"],
)
def test_what_fails_midway_says_how_far_it_came(
    shell: Shell, arguments: tuple[str, ...], first: Any, told: str
) -> None:
    shell.script.answers = [first, Refusal(CODE.INTERNAL, "a defect", "INTERNAL")]
    result = shell("quarantine", *arguments)
    assert (result.exit_code, result.stdout) == (8, "")
    assert result.stderr == f"{told}Error: a defect\n"


def test_conflicts(shell: Shell) -> None:
    conflict = EventConflict(
        event_id="e-1",
        source="shop",
        dedup_key="k-1",
        payload=b'{"total": 10.00}',
        first_received_time=TIME,
        times_received=2,
    )
    shell.script.answers = [pb.ListEventConflictsResponse(conflicts=[conflict, conflict])] * 2
    result = shell("quarantine", "conflicts", "e-1", "--limit", "1", "--json")
    assert lines(result.stdout) == [
        {
            "event_id": "e-1",
            "source": "shop",
            "dedup_key": "k-1",
            "first_received_time": TIME_TEXT,
            "times_received": 2,
            "payload": {"total": 10.0},
        }
    ]
    assert '{"total": 10.00}' in result.stdout
    row = f"{TIME_TEXT}\t2\tshop\tk-1\t16\te-1"
    assert shell("quarantine", "conflicts").stdout.splitlines() == [
        "SINCE\tTIMES\tSOURCE\tKEY\tBYTES\tEVENT ID",
        row,
        row,
    ]
    assert shell.script.requests == [
        pb.ListEventConflictsRequest(company_id="acme", event_id="e-1", page_size=1),
        pb.ListEventConflictsRequest(company_id="acme", page_size=50),
    ]
