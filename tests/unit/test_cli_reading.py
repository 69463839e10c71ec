"""`hookline summary` and `hookline watch`, against scripted services."""

import json
from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from hookline.client import Event, Money, ProcessingStatus
from hookline.events.v1.events_pb2 import EventFilter
from hookline.export.v1 import event_query_service_pb2 as pb
from tests.unit.scripted import Refusal, Script, Shell, serving

Group = pb.SummarizeEventsResponse.Group
# 2026-01-01T03:00:00Z: the first moment of that day in São Paulo.
DAY = Timestamp(seconds=1767236400)
SUMMARY = pb.SummarizeEventsResponse(
    groups=[
        Group(
            start_time=DAY,
            type="order_approved",
            count=1200,
            totals=[Money(amount="10.50", currency="BRL"), Money(amount="3")],
        ),
        Group(start_time=DAY, type="pix\x1b[31m", count=1),
    ],
    last_sequence=77,
)
EVENT = Event(
    sequence=8,
    event_id="e-8",
    type="order_approved",
    source="shop",
    customer_name="Zoë\x1b[31m",
    total=Money(amount="5.00", currency="BRL"),
    status=ProcessingStatus.PROCESSING_STATUS_PENDING,
    occurred_time=DAY,
    payload=b'{"a": 1.10}',
)
OVER = Refusal(grpc.StatusCode.INTERNAL, "a defect", "INTERNAL")


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def shell(script: Script) -> Iterator[Shell]:
    with serving(script) as server:
        yield Shell(script, server)


def test_a_summary_for_people(shell: Shell) -> None:
    shell.script.answers = [SUMMARY]
    result = shell("summary", "--by", "type, day", "--time-zone", "America/Sao_Paulo", "--platform", "grapfy")
    assert result.exit_code == 0
    assert [line.split("\t") for line in result.stdout.splitlines()] == [
        ["DAY", "TYPE", "EVENTS", "TOTAL"],
        ["2026-01-01", "order_approved", "1,200", "10.50 BRL, 3"],
        ["2026-01-01", "pix\N{REPLACEMENT CHARACTER}[31m", "1", ""],
    ]
    assert result.stderr == "2 groups, of the events up to 77.\n"
    assert shell.script.requests == [
        pb.SummarizeEventsRequest(
            company_id="acme",
            filter=EventFilter(platforms=["grapfy"]),
            group_by=[pb.GROUPING_TYPE, pb.GROUPING_DAY],
            time_zone="America/Sao_Paulo",
        )
    ]


def test_a_summary_as_json(shell: Shell) -> None:
    shell.script.answers = [SUMMARY]
    first, second = shell("summary", "--by", "hour,type", "--json").stdout.splitlines()
    assert json.loads(first) == {
        "hour": "2026-01-01T03:00:00Z",
        "type": "order_approved",
        "count": 1200,
        "totals": [{"amount": "10.50", "currency": "BRL"}, {"amount": "3", "currency": None}],
        "last_sequence": 77,
    }
    assert json.loads(second)["totals"] == []


def test_a_summary_of_all(shell: Shell) -> None:
    shell.script.answers = [pb.SummarizeEventsResponse(groups=[Group(count=3)]), SUMMARY]
    assert shell("summary").stdout == "EVENTS\tTOTAL\n3\t\n"
    assert shell("summary", "--by", "hour,product").stdout.splitlines()[1] == "2026-01-01 03:00\t\t1,200\t10.50 BRL, 3"


def test_a_summary_that_can_not_be(shell: Shell) -> None:
    assert "'week' is none of hour, day" in shell("summary", "--by", "week").stderr
    assert shell("summary", "--status", "failed").exit_code == 2
    assert shell.script.requests == []
    shell.script.answers = [SUMMARY]
    result = shell("summary", "--by", "day", "--time-zone", "Moon/Crater")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "does not know the time zone Moon/Crater" in result.stderr


def watched(*events: Event) -> list[pb.WatchEventsResponse | Refusal]:
    return [
        pb.WatchEventsResponse(last_sequence=7),
        *(pb.WatchEventsResponse(events=[event], last_sequence=event.sequence) for event in events),
    ]


def test_watching_as_json_over_a_break(shell: Shell) -> None:
    another = Event(sequence=9, event_id="e-9", status=EVENT.status, payload=b"{}")
    shell.script.answers = [[*watched(EVENT), Refusal()], [*watched(another)[1:], OVER]]
    result = shell("watch", "--after", "7", "--json", "--payload", "--type", "order_approved")
    assert result.exit_code == 8
    assert [json.loads(line)["sequence"] for line in result.stdout.splitlines()] == [8, 9]
    assert '"payload": {"a": 1.10}' in result.stdout
    asked = pb.WatchEventsRequest(
        company_id="acme",
        filter=EventFilter(types=["order_approved"]),
        view=pb.EVENT_VIEW_FULL,
    )
    for request, after in zip(shell.script.requests, (7, 8), strict=True):
        asked.after_sequence = after
        assert request == asked


@pytest.mark.parametrize("options", [(), ("--from-now",)])
def test_watching_for_people(shell: Shell, options: tuple[str, ...]) -> None:
    shell.script.answers = [[*watched(EVENT), OVER]]
    result = shell("watch", *options)
    assert result.stdout == (
        "8\t2026-01-01T03:00:00Z\torder_approved\tshop\tZoë\N{REPLACEMENT CHARACTER}[31m\t\t5.00 BRL\tpending\te-8\n"
    )
    assert shell.script.requests == [
        pb.WatchEventsRequest(company_id="acme", after_sequence=-1, view=pb.EVENT_VIEW_BASIC)
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--after 3 --from-now", "Give --after or --from-now"),
        ("--after -1", "--after"),
        ("--payload", "--payload goes with --json"),
        ("--status failed", "No such option"),
    ],
)
def test_watching_what_can_not_be(shell: Shell, arguments: str, said: str) -> None:
    result = shell("watch", *arguments.split())
    assert result.exit_code == 2
    assert said in result.stderr
