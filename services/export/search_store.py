"""Where the events lie that an index leads to: by payload and words, by type, source, id, and time."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from services.export.filters import Filter
from services.export.statements import fetch_ordered, sql
from services.export.store import Span
from shared.db import Connection


class Found(msgspec.Struct, frozen=True):
    """Where an event lies: its number, and the time that leads to its partition."""

    sequence: int
    received_time: datetime


class Month(msgspec.Struct, frozen=True):
    """A part of the log that was received in one month, from `start` on and before `until`, and so lies in one
    partition."""

    start: datetime
    until: datetime
    span: Span


async def months(connection: Connection, company_id: str, span: Span) -> list[Month]:
    """A span of the log, which holds every number, month by month."""
    rows = await sql.fetch(connection, "months", company_id=company_id, after=span.after, upto=span.upto)
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
    rows = await sql.fetch(
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
    rows = await fetch_ordered(connection, "find_terms", newest_first, parameters)
    # That rows come in the list's order is so, and promised by nobody: what comes out of turn counts as not asked for.
    asked = [row for row, bucket in zip(rows, buckets, strict=False) if row["bucket"] == bucket]
    return FoundTerms(
        [list(map(Found, row["sequences"] or (), row["received_times"] or ())) for row in asked],
        rows[-1]["seconds"],
    )


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
    rows = await fetch_ordered(connection, "find_occurred", newest_first, parameters)
    return _found(rows) if len(rows) <= limit else None


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
    return _found(await fetch_ordered(connection, statement, newest_first, parameters))


def _found(rows: Iterable[Mapping[str, Any]]) -> list[Found]:
    return [Found(row["sequence"], row["received_time"]) for row in rows]
