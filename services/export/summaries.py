"""Counts and totals of a company's log, kept up as the log grows.

The log is only appended to, so a summary of it up to a point and one of what came after it add up to a summary of the
whole. What was worked out last is cached with its point; only what came since is read, and of that only the part that
was received, or occurred, in the time asked for.
"""

import hashlib
import uuid
from collections.abc import Iterable, Sequence
from decimal import Context, Decimal
from enum import StrEnum

import msgspec

from services.export import event_store, store
from services.export.cache import Cache
from services.export.event_store import SummaryRow
from services.export.filters import Filter
from services.export.store import Mark, Span
from services.export.turns import Turns
from shared import db

MAX_ROWS = 10_000
# Events that one statement adds up, in one turn. What is done by then stays done when the caller's time runs out.
SPAN = 200_000
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
    """A company's rows, one for each group and currency, as of an event of its log: by its number, and by its id, which
    is another one in a log that has been restored to an earlier point and has grown since. None: not asked for yet."""

    last_sequence: int = 0
    rows: Sequence[SummaryRow] = ()
    last_event_id: uuid.UUID | None = None


class TooManyGroupsError(Exception):
    """There are more groups than anyone looks at."""


async def summarize(pool: db.Pool, turns: Turns, cache: Cache, company_id: str, question: Question) -> Summary:
    """The summary as of now. Reads in turns. Raises TooManyGroupsError, and DatabaseUnavailable when the database is
    lost."""
    which = question.filter
    async with db.acquired(pool) as connection:
        mark = await store.mark(connection, company_id)
    key = _key(company_id, mark, question)
    summary = _read(await cache.get(key)) or Summary()
    async with db.acquired(pool) as connection:
        if summary.last_sequence and (
            summary.last_sequence > mark.last_sequence
            or summary.last_event_id != await store.event_id_at(connection, company_id, summary.last_sequence)
        ):
            # It is of a log that has been restored to an earlier point since.
            summary = Summary()
        left = Span(summary.last_sequence, mark.last_sequence)
        within = await store.received_part(connection, company_id, left, which)
    if which.has_occurred and within.upto - within.after > SPAN:
        async with turns.of(company_id), db.acquired(pool) as connection:
            within = await store.occurred_part(connection, company_id, within, which)
    at = within.after
    while summary.last_sequence < mark.last_sequence:
        span = Span(at, min(within.upto, at + SPAN))
        at = span.upto
        # Behind the part there is nothing to add.
        reached = mark.last_sequence if at == within.upto else at
        async with turns.of(company_id), db.acquired(pool) as connection:
            rows = await event_store.summarize(
                connection, company_id, span, which, question.group_by, question.time_zone, MAX_ROWS + 1
            )
            event_id = await store.event_id_at(connection, company_id, reached)
        summary = Summary(reached, _added(summary.rows, rows), event_id)
        if len(summary.rows) > MAX_ROWS:
            raise TooManyGroupsError
        await cache.put(key, msgspec.msgpack.encode(summary))
    return summary


def _key(company_id: str, mark: Mark, question: Question) -> str:
    asked = hashlib.sha256(msgspec.json.encode(question)).hexdigest()
    return f"summary:2:{company_id}:{mark.erasure_epoch}:{asked}"


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
