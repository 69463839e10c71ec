"""Where a company's log stands, and where in it a time lies. Every function names its company, here and in the other
stores."""

import uuid
from datetime import datetime

import asyncpg
import msgspec

from services.export.filters import Filter
from services.export.statements import sql
from shared.db import Connection


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


async def mark(connection: Connection, company_id: str) -> Mark:
    """Where the company's log stands now. A company without events stands at 0."""
    rows = await sql.fetch(connection, "mark", company_id=company_id)
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
    rows = await sql.fetch(connection, "moment", company_id=company_id)
    return Moment(**rows[0]) if rows else Moment()


async def event_id_at(connection: Connection, company_id: str, sequence: int) -> uuid.UUID | None:
    """The id of the event with this number, or None. In another log, such as one restored to an earlier point that has
    grown since, it is another."""
    rows = await sql.fetch(connection, "event_id_at", company_id=company_id, sequence=sequence)
    return rows[0]["event_id"] if rows else None


async def received_part(connection: Connection, company_id: str, span: Span, which: Filter) -> Span:
    """The part of a span that was received in the filter's time: the whole span where it names none."""
    start, end = which.received_start, which.received_end
    moments = [one for one in (start, end) if one is not None]
    if not moments:
        return span
    rows = await sql.fetch(
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
    [row] = await sql.fetch(
        connection,
        "occurred_bounds",
        company_id=company_id,
        after=span.after,
        upto=span.upto,
        occurred_start=which.occurred_start,
        occurred_end=which.occurred_end,
    )
    return Span(span.after, span.after) if row["upto"] is None else Span(row["after"], row["upto"])


async def knows_time_zone(connection: Connection, time_zone: str) -> bool:
    """Whether PostgreSQL can show times in this zone."""
    try:
        await sql.fetch(connection, "clock_in_zone", time_zone=time_zone)
    except asyncpg.InvalidParameterValueError:
        return False
    return True
