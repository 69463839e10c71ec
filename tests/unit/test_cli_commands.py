"""The commands, against scripted services: what they say, where, and with which exit status."""

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from hookline.client import Event, Mark, MarkOutcome, Money, ProcessingStatus
from hookline.events.v1.events_pb2 import EventFilter, EventOrder
from hookline.export.v1.event_query_service_pb2 import (
    EventView,
    GetEventRequest,
    GetEventResponse,
    ListEventsRequest,
    ListEventsResponse,
)
from hookline.ingest.v1.ingest_service_pb2 import (
    MarkEventsRequest,
    MarkEventsResponse,
)
from tests.unit.scripted import Cut, Refusal, Script, Shell, serving

CODE = grpc.StatusCode
TIME = Timestamp(seconds=1767225600)
EVENT = Event(
    company_id="acme",
    event_id="e-1",
    sequence=7,
    source="shop",
    platform="grapfy",
    type="order_approved",
    platform_type="PAID",
    dedup_key="k-1",
    customer_name="Zoë\x1b[31m\t[bold]",
    total=Money(amount="1169.80", currency="BRL"),
    status=ProcessingStatus.PROCESSING_STATUS_PENDING,
    occurred_time=TIME,
    received_time=TIME,
    payload=b'{"total": 1169.80, "huge": 1e400, "name": "Zo\xc3\xab\xc2\x9b", "items": [], "more": [1, {"a": null}]}',
)
FIELDS = {
    "event_id": "e-1",
    "sequence": 7,
    "type": "order_approved",
    "platform_type": "PAID",
    "platform": "grapfy",
    "source": "shop",
    "dedup_key": "k-1",
    "customer_name": "Zoë\x1b[31m\t[bold]",
    "product_name": None,
    "total": "1169.80",
    "currency": "BRL",
    "status": "pending",
    "status_error": None,
    "occurred_time": "2026-01-01T00:00:00Z",
    "received_time": "2026-01-01T00:00:00Z",
}


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def shell(script: Script) -> Iterator[Shell]:
    with serving(script) as server:
        yield Shell(script, server)


def test_ingest_sends_lines_as_they_are(shell: Shell) -> None:
    result = shell("ingest", "-", "--batch-size", "2", stdin=b'{"a": 1}\n\n  \n {"b":\xff}\r\n{"a": 1}\n{"c": 3}')
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "4 events: 3 accepted, 1 duplicate, 0 quarantined, 0 rejected.\n"
    assert shell.script.stored == [b'{"a": 1}', b' {"b":\xff}\r', b'{"c": 3}']


def test_ingest_says_where_and_of_what(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"1\n")
    assert shell("ingest", str(path), "--platform", "grapfy", "--source", "shop-1", "--company", "other").exit_code == 0
    (batch,) = shell.script.batches
    (event,) = batch.events
    assert (batch.company_id, event.platform, event.source) == ("other", "grapfy", "shop-1")
    assert (dict(event.headers), event.query) == ({}, "")


def test_ingest_says_what_came_along(shell: Shell) -> None:
    options = ("--header", "X-Topic: orders/paid", "--header", "x-time:10:30", "--query", "a=b&c=d")
    assert shell("ingest", "-", *options, stdin=b"1\n2\n").exit_code == 0
    (batch,) = shell.script.batches
    assert [(dict(event.headers), event.query) for event in batch.events] == [
        ({"x-topic": "orders/paid", "x-time": "10:30"}, "a=b&c=d")
    ] * 2


def test_ingest_names_the_lines_that_were_set_aside(shell: Shell) -> None:
    lines = b"\n1\nnot json\n\n\n2\nnot json\n"
    result = shell("ingest", "-", stdin=lines)
    assert result.exit_code == 6
    assert result.stderr == "".join(f"line {line}: JSON_MALFORMED: the payload is not JSON\n" for line in (3, 7))
    result = shell("ingest", "-", "--json", stdin=lines)
    assert (result.exit_code, result.stderr) == (6, "")
    problem = {"reason": "JSON_MALFORMED", "message": "the payload is not JSON"}
    assert json.loads(result.stdout) == {
        "accepted": 0,
        "duplicates": 2,
        "conflicts": 0,
        "quarantined": 2,
        "rejected": 0,
        "problems": [{"line": 3} | problem, {"line": 7} | problem],
    }
    quiet = shell("ingest", "-", "--quiet", stdin=lines)
    assert (quiet.exit_code, quiet.output) == (6, "")


def test_a_line_without_end_is_not_held_in_memory(shell: Shell) -> None:
    line = b"[" + b" " * (40 * 1024 * 1024) + b"]\n"
    result = shell("ingest", "-", stdin=b"1\n" + line + b"2\n")
    assert result.exit_code == 6
    assert result.stderr.startswith("line 2: PAYLOAD_TOO_LARGE: ")
    assert shell.script.stored == [b"1", b"2"]


def test_ingest_survives_a_broken_stream(shell: Shell) -> None:
    shell.script.cuts = [Cut(1), Cut(0)]
    result = shell("ingest", "-", "--batch-size", "1", "--json", stdin=b"1\n2\n3\n4\n")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["accepted"] + json.loads(result.stdout)["duplicates"] == 4
    assert shell.script.stored == [b"1", b"2", b"3", b"4"]


def test_an_ingest_that_fails_says_how_far_it_came(shell: Shell) -> None:
    shell.script.cuts = [Cut(2, Refusal(CODE.INTERNAL, "a defect", "INTERNAL"))]
    result = shell("ingest", "-", "--batch-size", "2", stdin=b"1\n2\n3\n4\n5\n6\n7\n")
    assert (result.exit_code, result.stdout) == (8, "")
    assert result.stderr == "4 events acknowledged before this; it is safe to run it again.\nError: a defect\n"


def test_list_asks_for_what_is_wanted(shell: Shell) -> None:
    shell.script.answers = [ListEventsResponse()]
    arguments = (
        "list --type a --type b --source s --status failed --since 2026-01-01 --until 2026-01-01T01:00:00+01:00 "
        "--received-since 2026-01-01T00:00:00Z --received-until 2026-01-01 --limit 5 --oldest-first --json --payload "
        '--platform p --platform q --min-total 10 --max-total 20.50 --currency BRL --contains {"a":1} --text t'
    )
    assert shell(*arguments.split(), "--customer", "silva mar").exit_code == 0
    assert shell.script.requests == [
        ListEventsRequest(
            company_id="acme",
            filter=EventFilter(
                types=["a", "b"],
                sources=["s"],
                statuses=[ProcessingStatus.PROCESSING_STATUS_FAILED],
                occurred_start_time=TIME,
                occurred_end_time=TIME,
                received_start_time=TIME,
                received_end_time=TIME,
                platforms=["p", "q"],
                min_total="10",
                max_total="20.50",
                currency="BRL",
                payload_contains='{"a":1}',
                text="t",
                customer="silva mar",
            ),
            order=EventOrder.EVENT_ORDER_OLDEST_FIRST,
            page_size=5,
            view=EventView.EVENT_VIEW_FULL,
        )
    ]


def test_list_as_json(shell: Shell) -> None:
    page = ListEventsResponse(events=[EVENT, EVENT], next_page_token="next")
    shell.script.answers = [page, page]
    result = shell("list", "--json", "--payload", "--limit", "3")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [json.loads(line) for line in lines] == [FIELDS | {"payload": json.loads(EVENT.payload)}] * 3
    assert all('"total": 1169.80, "huge": 1e400' in line for line in lines)
    # A terminal obeys the 8-bit control characters, too.
    assert "\x9b" not in result.stdout


def test_list_for_people_in_a_pipe(shell: Shell) -> None:
    shell.script.answers = [ListEventsResponse(events=[EVENT])]
    titles, row = shell("list").stdout.splitlines()
    assert dict(zip(titles.split("\t"), row.split("\t"), strict=True)) == {
        "NUMBER": "7",
        "OCCURRED": "2026-01-01T00:00:00Z",
        "TYPE": "order_approved",
        "SOURCE": "shop",
        "CUSTOMER": "Zoë\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}[bold]",
        "PRODUCT": "",
        "TOTAL": "1169.80 BRL",
        "STATUS": "pending",
        "EVENT ID": "e-1",
    }


def test_get(shell: Shell) -> None:
    shell.script.answers = [GetEventResponse(event=EVENT), GetEventResponse(event=EVENT)]
    shown, machine = shell("get", "e-1"), shell("get", "e-1", "--json")
    assert json.loads(shown.stdout) == json.loads(machine.stdout) == FIELDS | {"payload": json.loads(EVENT.payload)}
    erased = Event(event_id="e-1", status=EVENT.status, erase_time=TIME, payload=b"{}")
    shell.script.answers = [GetEventResponse(event=erased)]
    assert json.loads(shell("get", "e-1", "--json").stdout)["erase_time"] == "2026-01-01T00:00:00Z"
    assert '\n    "total": 1169.80,\n    "huge": 1e400,\n' in shown.stdout
    assert '\n    "items": [],\n    "more": [\n      1,\n      {\n        "a": null\n      }\n    ]\n' in shown.stdout
    assert machine.stdout.count("\n") == 1
    assert shell.script.requests == [GetEventRequest(company_id="acme", event_id="e-1")] * 3


def test_get_of_a_payload_nested_too_deeply_to_be_laid_out(shell: Shell) -> None:
    payload = b'{"a": ' + b"[" * 3000 + b"]" * 3000 + b"}"
    shell.script.answers = [GetEventResponse(event=Event(event_id="e-1", status=EVENT.status, payload=payload))]
    result = shell("get", "e-1")
    assert result.exit_code == 0
    assert payload.decode() in result.stdout


def test_mark(shell: Shell) -> None:
    marked, unknown = MarkOutcome.MARK_OUTCOME_MARKED, MarkOutcome.MARK_OUTCOME_NOT_FOUND
    shell.script.answers = [MarkEventsResponse(outcomes=[marked, unknown]), MarkEventsResponse(outcomes=[marked])]
    result = shell("mark", "e-1", "e-2", "--failed", "--error", "no such product")
    assert (result.exit_code, result.stdout) == (4, "e-1 marked\ne-2 not found\n")
    result = shell("mark", "e-1", "--processed", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"event_id": "e-1", "outcome": "marked"})
    failed, processed = ProcessingStatus.PROCESSING_STATUS_FAILED, ProcessingStatus.PROCESSING_STATUS_PROCESSED
    marks = [Mark(event_id=event_id, status=failed, error="no such product") for event_id in ("e-1", "e-2")]
    assert shell.script.requests == [
        MarkEventsRequest(company_id="acme", marks=marks),
        MarkEventsRequest(company_id="acme", marks=[Mark(event_id="e-1", status=processed)]),
    ]
