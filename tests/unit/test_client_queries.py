"""What both clients ask about events: filters, pages, summaries, and the live tail over broken streams."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from hookline.client import AsyncClient, Client, Event, Filter, InvalidRequest, Unavailable
from hookline.client.export_request import stream_request
from hookline.client.requests import list_events, watch_events
from hookline.events.v1.events_pb2 import EventFilter, ProcessingStatus
from hookline.export.v1 import event_query_service_pb2 as pb
from hookline.export.v1 import export_service_pb2
from tests.unit.scripted import Caller, Refusal, Script, serving

CODE = grpc.StatusCode
both_clients = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
EVERYTHING = Filter(
    types=["a"],
    sources=["s"],
    statuses=["failed"],
    occurred_since=datetime(2026, 1, 1, tzinfo=UTC),
    platforms=["grapfy", "kiwify"],
    customer="silva mar",
    min_total=Decimal("1E+3"),
    max_total="2000.50",
    currency="BRL",
    payload_contains={"utm": {"source": "ação"}},
    text="curso",
)
MESSAGE = EventFilter(
    types=["a"],
    sources=["s"],
    statuses=[ProcessingStatus.PROCESSING_STATUS_FAILED],
    occurred_start_time=Timestamp(seconds=1767225600),
    platforms=["grapfy", "kiwify"],
    customer="silva mar",
    min_total="1000",
    max_total="2000.50",
    currency="BRL",
    payload_contains='{"utm": {"source": "ação"}}',
    text="curso",
)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hookline.client.retry.FIRST_DELAY", 0.001)


def test_a_filter_says_all_that_it_says() -> None:
    for request in (
        list_events("acme", EVERYTHING, 0, "", None, full=False),
        watch_events("acme", EVERYTHING, 0, full=False),
        stream_request("acme", "csv", EVERYTHING, {}),
    ):
        assert request.filter == MESSAGE
    assert list_events("acme", Filter(payload_contains='{"a": 1}', min_total=5), 0, "", None, full=False).filter == (
        EventFilter(payload_contains='{"a": 1}', min_total="5")
    )


def test_an_export_says_how_it_is_written() -> None:
    request = stream_request(
        "acme",
        "csv",
        None,
        {
            "columns": ["event_id", "payload.utm.source"],
            "dialect": "excel-ptbr",
            "language": "portuguese",
            "time_zone": "America/Sao_Paulo",
            "compression": "zstd",
        },
    )
    assert request == export_service_pb2.ExportEventsRequest(
        company_id="acme",
        format=export_service_pb2.EXPORT_FORMAT_CSV,
        columns=["event_id", "payload.utm.source"],
        csv_dialect=export_service_pb2.CSV_DIALECT_EXCEL_PTBR,
        header_language=export_service_pb2.HEADER_LANGUAGE_PORTUGUESE,
        time_zone="America/Sao_Paulo",
        compression=export_service_pb2.COMPRESSION_ZSTD,
    )


@both_clients
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dialect": "lotus"}, "dialect is one of plain, excel, excel-ptbr, not 'lotus'"),
        ({"language": "french"}, "language is one of"),
        ({"compression": "rar"}, "compression is one of"),
    ],
)
def test_names_that_are_not_known(is_async: bool, options: dict[str, Any], said: str) -> None:
    call = Caller(is_async=is_async, address="127.0.0.1:1")
    with pytest.raises(ValueError, match=said):
        call("export", "acme", "csv", **options)


@both_clients
def test_files_that_can_not_be(is_async: bool) -> None:
    call = Caller(is_async=is_async, address="127.0.0.1:1")
    with pytest.raises(ValueError, match="format is one of csv, json, ndjson, parquet, not 'xlsx'"):
        call("export_to_file", "acme", "xlsx", "/dev/null")
    with pytest.raises(ValueError, match="points in time"):
        call("export_to_file", "acme", "parquet", "/dev/null", time_zone="America/Sao_Paulo")


@both_clients
def test_short_and_empty_pages_are_gone_through(is_async: bool) -> None:
    script = Script()
    script.answers = [
        pb.ListEventsResponse(next_page_token="1"),
        pb.ListEventsResponse(events=[Event(sequence=1)], next_page_token="2"),
        Refusal(),
        pb.ListEventsResponse(next_page_token="3"),
        pb.ListEventsResponse(events=[Event(sequence=2)], previous_page_token="2"),
        pb.ListEventsResponse(previous_page_token="before"),
    ]
    with serving(script) as server:
        call = Caller(is_async=is_async, address=server.address)
        assert [event.sequence for event in call("list", "acme", Filter(text="x"))] == [1, 2]
        assert call("list_page", "acme", page_token="here").previous_page_token == "before"


@both_clients
def test_summaries(is_async: bool) -> None:
    answer = pb.SummarizeEventsResponse(groups=[pb.SummarizeEventsResponse.Group(type="a", count=2)], last_sequence=9)
    script = Script()
    script.answers = [Refusal(), answer]
    with serving(script) as server:
        call = Caller(is_async=is_async, address=server.address)
        assert call("summarize", "acme", EVERYTHING, by=["day", "type"], time_zone="America/Sao_Paulo") == answer
        with pytest.raises(ValueError, match="by is one of hour, day, type, source, product, platform"):
            call("summarize", "acme", by=["week"])
    assert script.requests[1] == pb.SummarizeEventsRequest(
        company_id="acme",
        filter=MESSAGE,
        group_by=[pb.GROUPING_DAY, pb.GROUPING_TYPE],
        time_zone="America/Sao_Paulo",
    )


def message(upto: int, *sequences: int) -> pb.WatchEventsResponse:
    return pb.WatchEventsResponse(events=[Event(sequence=one) for one in sequences], last_sequence=upto)


ENDS: list[Any] = [
    None,
    Refusal(),
    Refusal(CODE.UNAVAILABLE, "stopping", "SERVER_STOPPING"),
    Refusal(CODE.ABORTED, "slow", "READER_STALLED", {"seconds": "300"}),
    Refusal(CODE.CANCELLED, "broken off", ""),
]


@both_clients
@pytest.mark.parametrize("end", ENDS, ids=["OK", "UNAVAILABLE", "stopping", "stalled", "CANCELLED"])
def test_watching_goes_on_where_it_broke(is_async: bool, end: Refusal | None) -> None:
    over = [end] if end else []
    script = Script()
    script.answers = [
        [message(4), message(5, 5), *over],
        [Refusal()],
        [*over],
        [message(5), message(9, 6, 8), message(12), *over],
        [Refusal(CODE.INVALID_ARGUMENT, "enough", "INVALID_FIELD")],
    ]
    seen: list[Any] = []
    with serving(script) as server, pytest.raises(InvalidRequest):
        Caller(is_async=is_async, address=server.address)("watch", "acme", after=-1, full=True, received=seen)
    assert [event.sequence for event in seen] == [5, 6, 8]
    asked = [(request.after_sequence, request.view) for request in script.requests]  # type: ignore[attr-defined]
    assert asked == [(after, pb.EVENT_VIEW_FULL) for after in (-1, 5, 5, 5, 12)]


@both_clients
def test_watching_ends_with_patience(is_async: bool) -> None:
    script = Script()
    script.answers = [[message(4), Refusal()]]
    with serving(script) as server, pytest.raises(Unavailable):
        Caller(is_async=is_async, address=server.address, patience=0)("watch", "acme")


def test_neither_client_can_do_more_than_the_other() -> None:
    names = [{name for name in dir(kind) if not name.startswith("_")} for kind in (Client, AsyncClient)]
    assert names[0] == names[1]
