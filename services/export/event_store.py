"""Events with all that is told of them, and their sums."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from services.export.filters import Filter, Status
from services.export.search_store import Found
from services.export.statements import ordered, sql
from services.export.store import Span
from shared.db import Connection


class Event(msgspec.Struct, frozen=True):
    """A stored event. `payload` is None unless asked for."""

    event_id: uuid.UUID
    sequence: int
    source: str
    platform: str
    type: str
    platform_type: str
    dedup_key: str
    customer_name: str | None
    product_name: str | None
    total: str | None
    currency: str | None
    status: Status
    status_error: str | None
    occurred_time: datetime
    received_time: datetime
    erase_time: datetime | None
    payload: bytes | None


async def list_events(
    connection: Connection,
    company_id: str,
    span: Span,
    which: Filter,
    newest_first: bool,
    limit: int,
    max_payload_bytes: int | None,
) -> list[Event]:
    """The events of a span that match, at most `limit`. With `max_payload_bytes`, with their payloads, and ending with
    the event whose payload reaches so many bytes in all."""
    where = {"company_id": company_id, "after": span.after, "upto": span.upto}
    return await _list(connection, "list_events", where, which, newest_first, limit, max_payload_bytes)


async def list_found(
    connection: Connection,
    company_id: str,
    found: Sequence[Found],
    which: Filter,
    newest_first: bool,
    limit: int,
    max_payload_bytes: int | None,
) -> list[Event]:
    """Those of the events found before that match, in the order in which they are given; the rest as `list_events`."""
    where = {
        "company_id": company_id,
        "sequences": [one.sequence for one in found],
        "received_times": [one.received_time for one in found],
    }
    return await _list(connection, "list_found", where, which, newest_first, limit, max_payload_bytes)


async def _list(
    connection: Connection,
    statement: str,
    where: Mapping[str, Any],
    which: Filter,
    newest_first: bool,
    limit: int,
    max_payload_bytes: int | None,
) -> list[Event]:
    parameters = {
        **where,
        "max_rows": limit,
        "with_payload": max_payload_bytes is not None,
        **msgspec.structs.asdict(which),
    }
    query = ordered(sql.texts[statement], newest_first)
    arguments = sql.arguments(statement, parameters)
    if max_payload_bytes is None:
        return [_event(row) for row in await connection.fetch(query, *arguments)]
    events, size = [], 0
    async with connection.transaction(readonly=True):
        async for row in connection.cursor(query, *arguments, prefetch=16):
            events.append(_event(row))
            size += len(row["payload"])
            if size >= max_payload_bytes:
                break
    return events


async def get_event(connection: Connection, company_id: str, event_id: uuid.UUID) -> Event | None:
    """One event with its payload, or None."""
    rows = await sql.fetch(connection, "get_event", company_id=company_id, event_id=event_id)
    return _event(rows[0]) if rows else None


class SummaryRow(msgspec.Struct, frozen=True, array_like=True):
    """Events that have a group and a currency in common, and the sum of their totals (None: none of them has one). What
    is not grouped by is None. `start` is when the hour or day began, in seconds since 1970."""

    start: int | None
    type: str | None
    source: str | None
    product_name: str | None
    platform: str | None
    currency: str | None
    count: int
    total: str | None

    @property
    def group(self) -> tuple[int | str | None, ...]:
        """What the events have in common."""
        return self.start, self.type, self.source, self.product_name, self.platform, self.currency


async def summarize(
    connection: Connection,
    company_id: str,
    span: Span,
    which: Filter,
    group_by: Collection[str],
    time_zone: str,
    limit: int,
) -> list[SummaryRow]:
    """Counts and adds up the events of a span that match; at most `limit` rows, in no order. The filter's statuses are
    not looked at."""
    parameters = {**msgspec.structs.asdict(which), "company_id": company_id, "after": span.after, "upto": span.upto}
    rows = await sql.fetch(
        connection,
        "summarize",
        **parameters,
        unit=next((unit for unit in ("hour", "day") if unit in group_by), None),
        time_zone=time_zone,
        by_type="type" in group_by,
        by_source="source" in group_by,
        by_product="product" in group_by,
        by_platform="platform" in group_by,
        max_rows=limit,
    )
    return [SummaryRow(**row) for row in rows]


def _event(row: Mapping[str, Any]) -> Event:
    return Event(**{**row, "status": Status(row["status"])})
