"""What a source has listed against what is in the log."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from services.sync.statements import sql
from shared.db import Connection

MAX_DIFFERENCES = 10_000
"""Kept of a run."""
_PATIENCE = 600.0
"""Seconds that comparing may take: a run can have listed millions of events."""


class Difference(msgspec.Struct, frozen=True):
    """Something that only one side has. `kind`: missing or unlisted."""

    kind: str
    item_id: str | None
    event_id: uuid.UUID | None
    reason: str
    message: str


class Reconciliation(msgspec.Struct, frozen=True):
    """How a run's span compares."""

    listed: int
    stored: int
    missing: int
    unlisted: int | None
    """Events in the log that the source did not list. None: not comparable."""
    differences: Sequence[Difference]

    def gap(self, lacking: str | None) -> str | None:
        """What a person should know is missing; `lacking`: what the source says it has and did not list."""
        told = [lacking] if lacking else []
        if self.missing:
            told.append(f"{self.missing:,} of {self.listed:,} listed events are not stored.")
        return " ".join(told) or None

    def text(self) -> str:
        """The same as a sentence."""
        text = f"The source has listed {self.listed:,} different events: {self.stored:,} are stored, "
        text += f"{self.missing:,} are not."
        return text if self.unlisted is None else f"{text} {self.unlisted:,} stored ones it has not listed."


async def count_listed(
    connection: Connection, company_id: str, run_id: uuid.UUID, after_page: int, item_ids: Sequence[str]
) -> int | None:
    """Different items on the pages after that one, and of those to come. None: it takes too long."""
    rows = await _compared(
        connection, "count_listed", company_id=company_id, run_id=run_id, after_page=after_page, item_ids=item_ids
    )
    return rows[0]["listed"] if rows else None


async def reconcile(
    connection: Connection, company_id: str, run_id: uuid.UUID, source: str, start: datetime, until: datetime | None
) -> Reconciliation | None:
    """Compares, and writes nothing. `until`: up to where events that the source did not list are looked for; None: not
    at all. None comes back when it takes too long."""
    rows = await _compared(
        connection,
        "reconcile",
        company_id=company_id,
        run_id=run_id,
        source=source,
        start_time=start,
        until_time=until,
        max_rows=MAX_DIFFERENCES,
    )
    if not rows:
        return None
    first = rows[0]
    return Reconciliation(
        listed=first["listed"],
        stored=first["stored"],
        missing=first["missing"],
        unlisted=first["unlisted"],
        differences=[
            Difference(row["kind"], row["item_id"], row["event_id"], row["reason"], row["message"])
            for row in rows
            if row["kind"] is not None
        ],
    )


async def _compared(connection: Connection, name: str, **parameters: Any) -> Sequence[Mapping[str, Any]]:
    """The rows of a statement that may take long; none when it takes too long."""
    try:
        async with connection.transaction(readonly=True):
            # Planned for the tables as they are now: a plan from when this month's partition was empty reads it whole
            # for each page.
            await connection.execute(
                f"SET LOCAL statement_timeout = {_PATIENCE * 1000:.0f}; SET LOCAL plan_cache_mode = 'force_custom_plan'"
            )
            # The pool's own patience is meant for statements that are over in a moment.
            rows: Sequence[Mapping[str, Any]] = await connection.fetch(
                sql.texts[name], *sql.arguments(name, parameters), timeout=_PATIENCE + 10
            )
            return rows
    except (asyncpg.QueryCanceledError, TimeoutError):
        # Not as if the database were away: asked again, it would take as long again.
        return ()


async def store(connection: Connection, company_id: str, run_id: uuid.UUID, found: Reconciliation) -> None:
    """Keeps what was found, once for a run: in the transaction that ends it."""
    key = {"company_id": company_id, "run_id": run_id}
    totals = {name: getattr(found, name) for name in ("listed", "stored", "missing", "unlisted")}
    await sql.fetch(connection, "store_reconciliation", **key, **totals)
    if found.differences:
        await sql.fetch(
            connection,
            "store_differences",
            **key,
            kinds=[one.kind for one in found.differences],
            item_ids=[one.item_id for one in found.differences],
            event_ids=[one.event_id for one in found.differences],
            reasons=[one.reason for one in found.differences],
            messages=[one.message for one in found.differences],
        )


async def list_differences(
    connection: Connection, company_id: str, run_id: uuid.UUID, after: int, max_rows: int
) -> list[tuple[int, Difference]]:
    """With their numbers, after the one of that number."""
    rows = await sql.fetch(
        connection, "list_differences", company_id=company_id, run_id=run_id, after=after, max_rows=max_rows
    )
    return [
        (
            row["difference"],
            Difference(row["kind"], row["item_id"], row["event_id"], row["reason"], row["message"]),
        )
        for row in rows
    ]
