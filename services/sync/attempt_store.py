"""A worker's hold on a run, in PostgreSQL. What it writes is fenced: only whoever has the run's current attempt and its
lease writes anything."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from services.sync import ending, reconciling, run_log
from services.sync.alert_store import FAILURES_ALERT
from services.sync.reconciling import Reconciliation
from services.sync.run_log import Line
from services.sync.run_store import State
from services.sync.statements import sql
from shared.db import Connection


class Claim(msgspec.Struct, frozen=True):
    """A run that this worker has been given."""

    company_id: str
    run_id: uuid.UUID
    source: str
    start_time: datetime
    until_time: datetime | None
    known_until_time: datetime | None
    """What runs before had read up to."""
    attempt: int
    failures: int
    """Attempts that have failed since the last page was stored."""
    cursor: str | None
    pages: int
    retries: int
    lease_until: datetime
    """By the database's clock."""
    time_left: timedelta
    """To the run's deadline."""
    logged: int
    """Entries of its log."""


class Held(msgspec.Struct, frozen=True):
    """A run whose lease was extended."""

    lease_until: datetime
    cancel_requested: bool


class Progress(msgspec.Struct, frozen=True):
    """How far a run has come, as a whole."""

    cursor: str
    windows_done: int
    window_start_time: datetime
    window_until_time: datetime | None
    synced_time: datetime | None
    """None: as far as before."""
    said: int | None
    retries: int


class Stored(msgspec.Struct, frozen=True):
    """What pages brought: one page, unless told."""

    pages: int = 1
    fetched: int = 0
    accepted: int = 0
    duplicates: int = 0
    quarantined: int = 0
    rejected: int = 0
    late: int = 0
    item_ids: Sequence[str] = ()
    event_ids: Sequence[str | None] = ()
    problems: Mapping[str, Mapping[str, str]] = {}
    """By the id of an item that was not stored: reason and message."""

    @classmethod
    def together(cls, parts: Sequence["Stored"]) -> "Stored":
        """What pages have brought that follow one another."""
        return cls(
            **{name: sum(getattr(part, name) for part in parts) for name in _COUNTS},
            item_ids=[item_id for part in parts for item_id in part.item_ids],
            event_ids=[event_id for part in parts for event_id in part.event_ids],
            problems={item_id: why for part in parts for item_id, why in part.problems.items()},
        )


_COUNTS = ("pages", "fetched", "accepted", "duplicates", "quarantined", "rejected", "late")


class End(msgspec.Struct, frozen=True):
    """How an attempt ends."""

    state: State
    error: str | None = None
    retry_in: timedelta | None = None
    found: Reconciliation | None = None
    gap: str | None = None
    gap_start: datetime | None = None
    """From where on something may be missing. None: anywhere in what the run has read."""


async def claim_run(connection: Connection, company_id: str, run_id: uuid.UUID, lease: timedelta) -> Claim | None:
    """Takes the run, if it is there to be taken."""
    rows = await sql.fetch(connection, "claim_run", company_id=company_id, run_id=run_id, lease=lease)
    return Claim(company_id=company_id, run_id=run_id, **rows[0]) if rows else None


async def extend_lease(
    connection: Connection,
    claim: Claim,
    known_until: datetime,
    lease: timedelta,
    retries: int = 0,
    lines: Sequence[Line] = (),
) -> Held | None:
    """`known_until`: when the lease ends, as far as this worker knows; asked again with the same one, the lines are
    written once. None: the run is no longer this worker's."""
    rows = await sql.fetch(
        connection,
        "extend_lease",
        known_until=known_until,
        lease=lease,
        retries=retries,
        **run_log.columns(lines),
        **_fence(claim),
    )
    return Held(**rows[0]) if rows else None


async def note_windows(
    connection: Connection, claim: Claim, windows: int, done: int, start: datetime, until: datetime | None
) -> bool:
    """Notes how the span is cut, and which window is next. False: the run is no longer this worker's."""
    return bool(
        await sql.fetch(
            connection,
            "note_windows",
            windows=windows,
            windows_done=done,
            window_start_time=start,
            window_until_time=until,
            **_fence(claim),
        )
    )


async def checkpoint(
    connection: Connection, claim: Claim, page: int, progress: Progress, stored: Stored, lines: Sequence[Line] = ()
) -> bool:
    """Notes pages that ingest has acknowledged, `page` being the last one's number, counted from 1 within the run; the
    same pages again change nothing. False: the run is no longer this worker's."""
    return bool(
        await sql.fetch(
            connection,
            "checkpoint",
            page=page,
            **{name: getattr(progress, name) for name in Progress.__struct_fields__},
            **{name: getattr(stored, name) for name in _COUNTS},
            item_ids=stored.item_ids,
            event_ids=stored.event_ids,
            problems=msgspec.json.encode(stored.problems),
            **run_log.columns(lines),
            **_fence(claim),
        )
    )


async def leave_run(
    connection: Connection,
    claim: Claim,
    end: End,
    retries: int = 0,
    lines: Sequence[Line] = (),
    *,
    failures_alert: int = FAILURES_ALERT,
) -> State | None:
    """Ends this worker's attempt, and with it what ends with the run. Gives the state that the run is in then, which is
    cancelled where it was to be and would be left for another attempt. None: it is no longer this worker's."""
    async with connection.transaction():
        await ending.lock_source(connection, claim.company_id, claim.run_id)
        rows = await sql.fetch(
            connection,
            "leave_run",
            state=end.state,
            error=end.error,
            retry_in=end.retry_in,
            retries=retries,
            **run_log.columns(lines),
            **_fence(claim),
        )
        state = State(rows[0]["state"]) if rows else None
        if state and end.found:
            await reconciling.store(connection, claim.company_id, claim.run_id, end.found)
        if state and state.has_ended:
            key = (claim.company_id, claim.source, claim.run_id)
            await ending.finish(
                connection,
                *key,
                state,
                error=end.error if state is end.state else None,
                gap=end.gap,
                gap_start=end.gap_start,
                failures_alert=failures_alert,
            )
    return state


def _fence(claim: Claim) -> dict[str, Any]:
    return {"company_id": claim.company_id, "run_id": claim.run_id, "attempt": claim.attempt}
