"""Counts and totals of a company's log, kept up as the log grows.

The log is only appended to, so a summary of it up to a point and one of what came after it add up to a summary of the
whole. What was worked out last is cached with its point; only what came since is read.
"""

import hashlib
from collections.abc import Iterable, Sequence
from decimal import Context, Decimal
from enum import StrEnum

import msgspec

from services.export import store
from services.export.cache import Cache
from services.export.filters import Filter
from services.export.store import Mark, Span, SummaryRow
from shared import db

MAX_ROWS = 10_000
# Events that one statement adds up. What is done by then stays done when the caller's time runs out.
SPAN = 500_000
_EXACT = Context(prec=1_000)


class Grouping(StrEnum):
    """By what a summary groups. The order is that of the groups."""

    HOUR = "hour"
    DAY = "day"
    TYPE = "type"
    SOURCE = "source"
    PRODUCT = "product"
    PLATFORM = "platform"


class Question(msgspec.Struct, frozen=True):
    """What is to be summarized. `time_zone` is the one whose hours and days are meant."""

    filter: Filter
    group_by: Sequence[Grouping]
    time_zone: str


class Summary(msgspec.Struct, frozen=True):
    """A company's rows, one for each group and currency, as of an event of its log."""

    last_sequence: int
    rows: Sequence[SummaryRow]


class TooManyGroupsError(Exception):
    """There are more groups than anyone looks at."""


async def summarize(pool: db.Pool, cache: Cache, company_id: str, question: Question) -> Summary:
    """The summary as of now. Raises TooManyGroupsError, and DatabaseUnavailable when the database is lost."""
    async with db.acquired(pool) as connection:
        mark = await store.mark(connection, company_id)
    key = _key(company_id, mark, question)
    summary = _read(await cache.get(key))
    if summary is None or summary.last_sequence > mark.last_sequence:
        # Nothing is cached, or it is of a log that has been restored to an earlier point since.
        summary = Summary(0, [])
    while summary.last_sequence < mark.last_sequence:
        span = Span(summary.last_sequence, min(mark.last_sequence, summary.last_sequence + SPAN))
        async with db.acquired(pool) as connection:
            rows = await store.summarize(
                connection, company_id, span, question.filter, question.group_by, question.time_zone, MAX_ROWS + 1
            )
        summary = Summary(span.upto, _added(summary.rows, rows))
        if len(summary.rows) > MAX_ROWS:
            raise TooManyGroupsError
        await cache.put(key, msgspec.msgpack.encode(summary))
    return summary


def _key(company_id: str, mark: Mark, question: Question) -> str:
    asked = hashlib.sha256(msgspec.json.encode(question)).hexdigest()
    return f"summary:1:{company_id}:{mark.erasure_epoch}:{asked}"


def _read(cached: bytes | None) -> Summary | None:
    try:
        return msgspec.msgpack.decode(cached, type=Summary) if cached else None
    except msgspec.MsgspecError:
        return None


def _added(before: Iterable[SummaryRow], since: Iterable[SummaryRow]) -> list[SummaryRow]:
    rows = {row.group: row for row in before}
    for row in since:
        known = rows.get(row.group)
        rows[row.group] = row if known is None else _sum(known, row)
    return list(rows.values())


def _sum(one: SummaryRow, other: SummaryRow) -> SummaryRow:
    totals = [Decimal(row.total) for row in (one, other) if row.total is not None]
    # Written out in full: 1E+2 is 100.
    total = f"{_EXACT.add(totals[0], totals[-1]) if len(totals) == 2 else totals[0]:f}" if totals else None
    return msgspec.structs.replace(one, count=one.count + other.count, total=total)
