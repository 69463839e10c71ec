"""What both clients agree on: addresses, channel options, pages, and how arguments become requests. Pure."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, Protocol, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from hookline.client.retry import Service
from hookline.events.v1.events_pb2 import EventFilter, EventOrder, ProcessingStatus
from hookline.export.v1.event_query_service_pb2 import (
    EventView,
    Grouping,
    ListEventsRequest,
    SummarizeEventsRequest,
    WatchEventsRequest,
)
from hookline.ingest.v1.ingest_service_pb2 import IncomingEvent

Group = Literal["hour", "day", "type", "source", "product", "platform"]
Order = Literal["newest_first", "oldest_first"]
Status = Literal["pending", "processed", "failed"]

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

DEFAULT_INGEST_ADDRESS = "127.0.0.1:50051"
DEFAULT_EXPORT_ADDRESS = "127.0.0.1:50053"
DEFAULT_SYNC_ADDRESS = "127.0.0.1:50052"
MAX_MESSAGE_BYTES = 16 * 1024 * 1024 + 64 * 1024

CHANNEL_OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # Notices within a minute that the peer is gone without a word; only while a call is under way.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # What it really waits for the answer to a ping: a minute, where this is not said.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # gRPC refuses calls while it waits to connect anew; by default that grows to two minutes, past all patience.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)

_GROUPINGS: dict[str, Grouping.ValueType] = {
    "hour": Grouping.GROUPING_HOUR,
    "day": Grouping.GROUPING_DAY,
    "type": Grouping.GROUPING_TYPE,
    "source": Grouping.GROUPING_SOURCE,
    "product": Grouping.GROUPING_PRODUCT,
    "platform": Grouping.GROUPING_PLATFORM,
}
ORDERS: dict[str | None, EventOrder.ValueType] = {
    None: EventOrder.EVENT_ORDER_UNSPECIFIED,
    "newest_first": EventOrder.EVENT_ORDER_NEWEST_FIRST,
    "oldest_first": EventOrder.EVENT_ORDER_OLDEST_FIRST,
}
_STATUSES: dict[str, ProcessingStatus.ValueType] = {
    "pending": ProcessingStatus.PROCESSING_STATUS_PENDING,
    "processed": ProcessingStatus.PROCESSING_STATUS_PROCESSED,
    "failed": ProcessingStatus.PROCESSING_STATUS_FAILED,
}


class PageRequest(Protocol):
    """A request for a page."""

    page_token: str


class Page(Protocol):
    """A page, and the token of the next one; empty when there is none."""

    next_page_token: str


@dataclass(frozen=True)
class Filter:
    """Which events are meant: any of the types, sources, statuses and platforms, and the rest; all that is given must
    hold. `since` is included, `until` is not. Times need a time zone, else ValueError where it is used.

    `customer`: words of the customer's name, the last one perhaps only begun. `text`: the same in the names of
    customer and product, or a whole event id or dedup key. Totals are bounds, both included: plain decimal numbers,
    to be given with `currency`, or amounts of all currencies are compared as numbers. `payload_contains`: a JSON
    object, as a mapping or as text, that the payload contains.
    """

    types: Iterable[str] = ()
    sources: Iterable[str] = ()
    statuses: Iterable[Status] = ()
    occurred_since: datetime | None = None
    occurred_until: datetime | None = None
    received_since: datetime | None = None
    received_until: datetime | None = None
    platforms: Iterable[str] = ()
    customer: str = ""
    min_total: Decimal | int | str = ""
    max_total: Decimal | int | str = ""
    currency: str = ""
    payload_contains: Mapping[str, Any] | str = ""
    text: str = ""


def services(
    ingest: str | None, export: str | None, sync: str | None, patience: float, connect_patience: float | None
) -> tuple[Service, Service, Service]:
    """The three services: as given, else as the environment says, else where they are by default."""
    connect_patience = patience if connect_patience is None else connect_patience
    return (
        Service(_address(ingest, "HOOKLINE_INGEST_ADDRESS", DEFAULT_INGEST_ADDRESS), patience, connect_patience),
        Service(_address(export, "HOOKLINE_EXPORT_ADDRESS", DEFAULT_EXPORT_ADDRESS), patience, connect_patience),
        Service(_address(sync, "HOOKLINE_SYNC_ADDRESS", DEFAULT_SYNC_ADDRESS), patience, connect_patience),
    )


def channel_options(address: str) -> Sequence[tuple[str, int]]:
    """The options of a channel to that address."""
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost" or host.startswith("127.") or host == "::1":
        # gRPC would ask a proxy named in the environment for this very machine, unless that is told not to.
        return (*CHANNEL_OPTIONS, ("grpc.enable_http_proxy", 0))
    return CHANNEL_OPTIONS


def incoming_event(
    payload: bytes, platform: str, source: str, headers: Mapping[str, str] | None, query: str
) -> IncomingEvent:
    """An event on its way in."""
    return IncomingEvent(platform=platform, source=source, payload=payload, headers=headers, query=query)


def list_events(
    company: str, where: Filter | None, page_size: int, page_token: str, order: Order | None, full: bool
) -> ListEventsRequest:
    """The request for a page."""
    return ListEventsRequest(
        company_id=company,
        filter=event_filter(where),
        order=one_of(ORDERS, order, "order"),
        page_size=page_size,
        page_token=page_token,
        view=_view(full),
    )


def summarize_events(company: str, where: Filter | None, by: Iterable[Group], time_zone: str) -> SummarizeEventsRequest:
    """The request for a summary."""
    return SummarizeEventsRequest(
        company_id=company,
        filter=event_filter(where),
        group_by=[one_of(_GROUPINGS, each, "by") for each in by],
        time_zone=time_zone,
    )


def watch_events(company: str, where: Filter | None, after: int, full: bool) -> WatchEventsRequest:
    """The request for the live tail."""
    return WatchEventsRequest(company_id=company, after_sequence=after, filter=event_filter(where), view=_view(full))


def duration(time: timedelta | None) -> Duration | None:
    """The time as a message. Raises ValueError for one that no message can hold."""
    if time is None:
        return None
    message = Duration()
    message.FromTimedelta(time)
    return message


def _address(given: str | None, variable: str, default: str) -> str:
    return given or os.environ.get(variable) or default


def event_filter(where: Filter | None) -> EventFilter | None:
    """The filter as a message; None for all."""
    if where is None:
        return None
    return EventFilter(
        types=where.types,
        sources=where.sources,
        statuses=[one_of(_STATUSES, status, "status") for status in where.statuses],
        occurred_start_time=timestamp(where.occurred_since),
        occurred_end_time=timestamp(where.occurred_until),
        received_start_time=timestamp(where.received_since),
        received_end_time=timestamp(where.received_until),
        platforms=where.platforms,
        customer=where.customer,
        min_total=_plain(where.min_total),
        max_total=_plain(where.max_total),
        currency=where.currency,
        payload_contains=_json(where.payload_contains),
        text=where.text,
    )


def _plain(number: Decimal | int | str) -> str:
    # Never 1E+3: the contract has plain numbers only.
    return f"{number:f}" if isinstance(number, Decimal) else str(number)


def _json(value: Mapping[str, Any] | str) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _view(full: bool) -> EventView.ValueType:
    return EventView.EVENT_VIEW_FULL if full else EventView.EVENT_VIEW_BASIC


def timestamp(moment: datetime | None) -> Timestamp | None:
    """The time as a message. Raises ValueError for one without a time zone."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise ValueError(f"a time needs a time zone: {moment.isoformat()}")
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def one_of(known: Mapping[_Key, _Value], key: _Key, what: str) -> _Value:
    """What a name stands for. Raises ValueError for one that is not known."""
    if key not in known:
        raise ValueError(f"{what} is one of {', '.join(str(each) for each in known)}, not {key!r}")
    return known[key]
