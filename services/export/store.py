"""The export service's SQL, and what its answers mean. Every function names its company."""

import asyncio
import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from services.export.column_expressions import expressions
from services.export.filters import Filter, Status
from services.export.formats import Format
from shared.db import Connection
from shared.statements import Statements

_sql = Statements("services.export")
# Less than it takes PostgreSQL to fill the socket's buffer, so that it never waits.
GATHER_SECONDS = 0.001
GATHERED_PART = 0.9
# What stands for something that no parameter can be.
_ASCENDING, _DESCENDING = "ORDER BY e.sequence ASC", "ORDER BY e.sequence DESC"
_COLUMNS, _PAGE = "e.event_id AS columns", "SELECT 1 AS page"


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """A moment in a company's log: its last event and its last change of a status, and how often something had been
    erased by then."""

    last_sequence: int = 0
    last_change: int = 0
    erasure_epoch: int = 0


class Span(msgspec.Struct, frozen=True):
    """The events numbered above `after` up to `upto`."""

    after: int
    upto: int


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


async def mark(connection: Connection, company_id: str) -> Mark:
    """Where the company's log stands now. A company without events stands at 0."""
    rows = await _sql.fetch(connection, "mark", company_id=company_id)
    return Mark(**rows[0]) if rows else Mark()


class Moment(msgspec.Struct, frozen=True):
    """What a company's log and its statuses are: where both are the same, so is this, whichever log it is of."""

    last_sequence: int = 0
    last_change: int = 0
    erasure_epoch: int = 0
    last_received_time: datetime | None = None
    server_start_time: datetime | None = None


async def moment(connection: Connection, company_id: str) -> Moment:
    """What the company's log is now."""
    rows = await _sql.fetch(connection, "moment", company_id=company_id)
    return Moment(**rows[0]) if rows else Moment()


async def event_id_at(connection: Connection, company_id: str, sequence: int) -> uuid.UUID | None:
    """The id of the event with this number, or None. In another log, such as one restored to an earlier point that has
    grown since, it is another."""
    rows = await _sql.fetch(connection, "event_id_at", company_id=company_id, sequence=sequence)
    return rows[0]["event_id"] if rows else None


async def knows_time_zone(connection: Connection, time_zone: str) -> bool:
    """Whether PostgreSQL can show times in this zone."""
    try:
        await _sql.fetch(connection, "clock_in_zone", time_zone=time_zone)
    except asyncpg.InvalidParameterValueError:
        return False
    return True


class PageTooLargeError(Exception):
    """A page's rows come to more bytes than may be held."""


class Page(msgspec.Struct, frozen=True):
    """Rows of a span, as they go into the file."""

    data: list[bytes]
    rows: int

    @property
    def size(self) -> int:
        return sum(map(len, self.data))


class PageQuery(msgspec.Struct, frozen=True):
    """What COPY is to read for a page, and how it is to write it: `quote` None is CSV's own."""

    text: str
    delimiter: str
    quote: str | None = None


def page_query(
    company_id: str,
    file_format: Format,
    span: Span,
    last_change: int,
    which: Filter,
    newest_first: bool,
    limit: int,
) -> PageQuery:
    """The query for the lines of the file, for the events of a span that match, at most `limit`; statuses as of
    `last_change`."""
    order = _DESCENDING if newest_first else _ASCENDING
    page = _sql.inlined(
        "export_page",
        {_COLUMNS: expressions(file_format), _ASCENDING: order},
        company_id=company_id,
        after=span.after,
        upto=span.upto,
        last_change=last_change,
        max_rows=limit,
        **msgspec.structs.asdict(which),
    )
    if not file_format.kind.is_json:
        return PageQuery(page, file_format.dialect.delimiter)
    rows = _sql.inlined("json_rows", {_PAGE: page}, before=file_format.before_row)
    # Quote and delimiter are characters that JSON never holds as they are: its lines go out byte for byte.
    return PageQuery(rows, delimiter="\x02", quote="\x01")


async def copy_page(connection: Connection, query: PageQuery, max_bytes: int | None, expected_bytes: int) -> Page:
    """Reads a page. What it may be expected to come to, makes it no other, only faster.

    Raises PageTooLargeError when it comes to more than `max_bytes`. After any error the connection is good for nothing
    more.
    """
    pieces: list[bytes] = []
    size = 0

    async def keep(piece: bytes) -> None:
        nonlocal size
        size += len(piece)
        if max_bytes is not None and size > max_bytes:
            raise PageTooLargeError
        pieces.append(piece)
        # PostgreSQL writes 8 KiB at a time. asyncpg reads on only after this, and then all that has come by then: one
        # wake-up for what would be ten. Not near the end: nothing comes after it that it would be worth waiting for.
        if size < expected_bytes * GATHERED_PART:
            await asyncio.sleep(GATHER_SECONDS)

    status: str = await connection.copy_from_query(
        query.text, output=keep, format="csv", delimiter=query.delimiter, quote=query.quote
    )
    return Page(pieces, int(status.removeprefix("COPY ")))


def _ordered(query: str, newest_first: bool) -> str:
    return query.replace(_ASCENDING, _DESCENDING) if newest_first else query


class Found(msgspec.Struct, frozen=True):
    """Where an event lies: its number, and the time that leads to its partition."""

    sequence: int
    received_time: datetime


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
    query = _ordered(_sql.texts[statement], newest_first)
    arguments = _sql.arguments(statement, parameters)
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


class Month(msgspec.Struct, frozen=True):
    """A part of the log that was received in one month, from `start` on and before `until`, and so lies in one
    partition."""

    start: datetime
    until: datetime
    span: Span


async def months(connection: Connection, company_id: str, span: Span) -> list[Month]:
    """A span of the log, which holds every number, month by month."""
    rows = await _sql.fetch(connection, "months", company_id=company_id, after=span.after, upto=span.upto)
    return [Month(row["start"], row["until"], Span(row["after"], row["upto"])) for row in rows]


class TermCount(msgspec.Struct, frozen=True):
    """How many events have a term of a search. `field` is payload, customer or text; of the latter two `words` is what
    to ask the index for: those that are complete, or the last one, if it `is_begun`."""

    field: str
    is_begun: bool
    words: str | None
    events: int


async def count_terms(connection: Connection, company_id: str, span: Span, which: Filter) -> list[TermCount]:
    """Counts each term of a search by itself, whatever else the filter asks for, by looking through a span."""
    rows = await _sql.fetch(
        connection,
        "count_terms",
        company_id=company_id,
        after=span.after,
        upto=span.upto,
        payload_contains=which.payload_contains,
        customer=which.customer,
        text=which.text,
    )
    return [TermCount(**row) for row in rows]


class Terms(msgspec.Struct, frozen=True):
    """What the indexes on payload and words are asked for; None is not asked for."""

    payload_contains: str | None = None
    customer_words: str | None = None
    text_words: str | None = None


class FoundTerms(msgspec.Struct, frozen=True):
    """What has been found bucket by bucket, and the server's seconds that it took."""

    buckets: list[list[Found]]
    seconds: float


async def find_terms(
    connection: Connection,
    company_id: str,
    month: Month,
    span: Span,
    buckets: Sequence[int],
    terms: Terms,
    newest_first: bool,
    limit: int,
    seconds: float,
) -> FoundTerms:
    """The first events of each bucket, at most `limit`, that have the terms, in these buckets of a part of the month.
    Bucket after bucket, at least one, until that has taken the server so many seconds: those that it did not get to are
    not in the answer. A customer's word may be found in the product's name: the whole filter is yet to be asked."""
    parameters = {
        "company_id": company_id,
        "start": month.start,
        "until": month.until,
        "buckets": buckets,
        "after": span.after,
        "upto": span.upto,
        **msgspec.structs.asdict(terms),
        "max_rows": limit,
        "seconds": seconds,
    }
    query = _ordered(_sql.texts["find_terms"], newest_first)
    rows = await connection.fetch(query, *_sql.arguments("find_terms", parameters))
    # That rows come in the list's order is so, and promised by nobody: what comes out of turn counts as not asked for.
    asked = [row for row, bucket in zip(rows, buckets, strict=False) if row["bucket"] == bucket]
    return FoundTerms(
        [list(map(Found, row["sequences"] or (), row["received_times"] or ())) for row in asked],
        rows[-1]["seconds"],
    )


async def received_part(connection: Connection, company_id: str, span: Span, which: Filter) -> Span:
    """The part of a span that was received in the filter's time: the whole span where it names none."""
    start, end = which.received_start, which.received_end
    moments = [one for one in (start, end) if one is not None]
    if not moments:
        return span
    rows = await _sql.fetch(
        connection, "received_bounds", company_id=company_id, after=span.after, upto=span.upto, moments=moments
    )
    bounds = {row["moment"]: row["bound"] for row in rows}
    return Span(
        span.after if start is None else bounds[start],
        span.upto if end is None else bounds[end],
    )


async def occurred_part(connection: Connection, company_id: str, span: Span, which: Filter) -> Span:
    """The part of a span that holds all its events that occurred in the filter's time, and others. The more there are,
    the longer it takes."""
    [row] = await _sql.fetch(
        connection,
        "occurred_bounds",
        company_id=company_id,
        after=span.after,
        upto=span.upto,
        occurred_start=which.occurred_start,
        occurred_end=which.occurred_end,
    )
    return Span(span.after, span.after) if row["upto"] is None else Span(row["after"], row["upto"])


async def find_occurred(
    connection: Connection, company_id: str, which: Filter, newest_first: bool, limit: int
) -> list[Found] | None:
    """All the company's events that occurred in the filter's time; None when there are more than `limit`."""
    parameters = {
        "company_id": company_id,
        "occurred_start": which.occurred_start,
        "occurred_end": which.occurred_end,
        "max_rows": limit + 1,
    }
    query = _ordered(_sql.texts["find_occurred"], newest_first)
    rows = await connection.fetch(query, *_sql.arguments("find_occurred", parameters))
    return [Found(row["sequence"], row["received_time"]) for row in rows] if len(rows) <= limit else None


async def find_indexed(
    connection: Connection, company_id: str, span: Span, which: Filter, newest_first: bool, limit: int
) -> list[Found]:
    """The first events of a span that are of the filter's types, or else of its sources."""
    if which.types is not None:
        return await _find(connection, "find_types", company_id, span, newest_first, limit, types=which.types)
    return await _find(connection, "find_sources", company_id, span, newest_first, limit, sources=which.sources)


async def find_ids(connection: Connection, company_id: str, span: Span, typed: str) -> list[Found]:
    """The events of a span that a text is the id or the dedup key of."""
    return await _find(connection, "find_ids", company_id, span, False, 0, typed=typed)


async def _find(
    connection: Connection,
    statement: str,
    company_id: str,
    span: Span,
    newest_first: bool,
    limit: int,
    **parameters: Any,
) -> list[Found]:
    parameters |= {"company_id": company_id, "after": span.after, "upto": span.upto, "max_rows": limit}
    query = _ordered(_sql.texts[statement], newest_first)
    rows = await connection.fetch(query, *_sql.arguments(statement, parameters))
    return [Found(row["sequence"], row["received_time"]) for row in rows]


async def get_event(connection: Connection, company_id: str, event_id: uuid.UUID) -> Event | None:
    """One event with its payload, or None."""
    rows = await _sql.fetch(connection, "get_event", company_id=company_id, event_id=event_id)
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
    rows = await _sql.fetch(
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
