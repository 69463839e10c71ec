"""Between the contract's messages and what the rules and the store work with."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from google.protobuf.timestamp_pb2 import Timestamp

from hookline.events.v1 import events_pb2
from services.export import store
from services.export.containment import NotContainableError, contained
from services.export.event_store import Event
from services.export.filters import Filter, Status
from shared.db import Connection
from shared.errors import InvalidField, Violation

MAX_FILTER_VALUES = 100
MAX_TYPED_CHARACTERS = 200
_is_decimal = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,29})?").fullmatch

_FROM_STATUS = {
    Status.PENDING: events_pb2.PROCESSING_STATUS_PENDING,
    Status.PROCESSED: events_pb2.PROCESSING_STATUS_PROCESSED,
    Status.FAILED: events_pb2.PROCESSING_STATUS_FAILED,
}
_TO_STATUS = {number: status for status, number in _FROM_STATUS.items()}


def to_filter(message: events_pb2.EventFilter) -> Filter:
    """Raises InvalidField for a filter that can't hold or says nothing that makes sense."""
    for name in ("types", "sources", "platforms"):
        values = getattr(message, name)
        if len(values) > MAX_FILTER_VALUES:
            raise InvalidField(Violation(f"filter.{name}", f"at most {MAX_FILTER_VALUES}"))
        for position, value in enumerate(values):
            if not value or "\0" in value:
                raise InvalidField(Violation(f"filter.{name}[{position}]", "is empty or holds the character NUL"))
    for position, status in enumerate(message.statuses):
        if status not in _TO_STATUS:
            raise InvalidField(Violation(f"filter.statuses[{position}]", "must be PENDING, PROCESSED or FAILED"))
    occurred_start, occurred_end = _times(message, "occurred")
    received_start, received_end = _times(message, "received")
    min_total, max_total = _totals(message)
    return Filter(
        types=list(message.types) or None,
        sources=list(message.sources) or None,
        platforms=list(message.platforms) or None,
        statuses=[_TO_STATUS[status] for status in message.statuses] or None,
        occurred_start=occurred_start,
        occurred_end=occurred_end,
        received_start=received_start,
        received_end=received_end,
        min_total=min_total,
        max_total=max_total,
        currency=_currency(message.currency),
        customer=_typed(message.customer, "customer"),
        payload_contains=_contained(message.payload_contains),
        text=_typed(message.text, "text"),
    )


def _times(message: events_pb2.EventFilter, kind: str) -> tuple[datetime | None, datetime | None]:
    start, end = (_time(message, f"{kind}_{side}_time") for side in ("start", "end"))
    if start is not None and end is not None and start >= end:
        raise InvalidField(Violation(f"filter.{kind}_end_time", f"must be after {kind}_start_time"))
    return start, end


def _totals(message: events_pb2.EventFilter) -> tuple[str | None, str | None]:
    for name in ("min_total", "max_total"):
        text = getattr(message, name)
        if text and not _is_decimal(text):
            raise InvalidField(Violation(f"filter.{name}", "is no plain decimal number of at most 60 characters"))
    least, most = message.min_total or None, message.max_total or None
    if least and most and Decimal(least) > Decimal(most):
        raise InvalidField(Violation("filter.max_total", "is less than min_total"))
    return least, most


def _currency(code: str) -> str | None:
    if code and not (len(code) == 3 and code.isascii() and code.isalpha()):
        raise InvalidField(Violation("filter.currency", "is no ISO 4217 code"))
    return code.upper() or None


def _typed(text: str, name: str) -> str | None:
    """What a person types into a field of a search."""
    if len(text) > MAX_TYPED_CHARACTERS or "\0" in text:
        raise InvalidField(Violation(f"filter.{name}", f"at most {MAX_TYPED_CHARACTERS} characters, none of them NUL"))
    return text.strip() or None


def _contained(text: str) -> str | None:
    try:
        return contained(text) if text else None
    except NotContainableError as error:
        raise InvalidField(Violation("filter.payload_contains", str(error))) from None


def _time(message: events_pb2.EventFilter, name: str) -> datetime | None:
    if not message.HasField(name):  # type: ignore[arg-type]  # the stubs list the names one by one
        return None
    timestamp: Timestamp = getattr(message, name)
    try:
        return timestamp.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise InvalidField(Violation(f"filter.{name}", "is no time between the years 1 and 9999")) from None


def is_newest_first(order: events_pb2.EventOrder.ValueType, *, default: bool) -> bool:
    """Raises InvalidField for an order that there is not."""
    match order:
        case events_pb2.EVENT_ORDER_UNSPECIFIED:
            return default
        case events_pb2.EVENT_ORDER_NEWEST_FIRST:
            return True
        case events_pb2.EVENT_ORDER_OLDEST_FIRST:
            return False
        case _:
            raise InvalidField(Violation("order", "must be NEWEST_FIRST or OLDEST_FIRST"))


def zone(name: str) -> str:
    """A time zone's name, "UTC" for none. Raises InvalidField when there is no such zone."""
    try:
        return ZoneInfo(name or "UTC").key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidField(Violation("time_zone", "is no IANA time zone, such as America/Sao_Paulo")) from None


async def check_zone(connection: Connection, time_zone: str) -> None:
    """Raises InvalidField when PostgreSQL, whose list may be an older one than ours, does not know the zone."""
    if time_zone != "UTC" and not await store.knows_time_zone(connection, time_zone):
        raise InvalidField(Violation("time_zone", "is none that the database knows"))


def from_event(company_id: str, event: Event) -> events_pb2.Event:
    """The event as a message; with its payload if it has one."""
    message = events_pb2.Event(
        company_id=company_id,
        event_id=str(event.event_id),
        sequence=event.sequence,
        source=event.source,
        platform=event.platform,
        type=event.type,
        platform_type=event.platform_type,
        dedup_key=event.dedup_key,
        customer_name=event.customer_name or "",
        product_name=event.product_name or "",
        status=_FROM_STATUS[event.status],
        status_error=event.status_error or "",
        payload=event.payload or b"",
    )
    if event.total is not None:
        message.total.amount = event.total
        message.total.currency = event.currency or ""
    message.occurred_time.FromDatetime(event.occurred_time)
    message.received_time.FromDatetime(event.received_time)
    if event.erase_time is not None:
        message.erase_time.FromDatetime(event.erase_time)
    return message
