"""Runs in PostgreSQL: what is asked for, and what is known of them. Every function names its company."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from uuid_utils.compat import uuid7

from services.sync.statements import sql
from shared.db import Connection
from shared.errors import SyncQueueFull

MAX_BEHIND = 100
"""Runs that may wait for the active one of their source."""


class State(StrEnum):
    """Where a run is. The values are those of the database's enum; docs/sync-runs.md has the arrows."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def has_ended(self) -> bool:
        return self in (State.SUCCEEDED, State.INCOMPLETE, State.FAILED, State.CANCELLED)


class Trigger(StrEnum):
    """What made a run. The values are those of the database's enum."""

    SCHEDULE = "schedule"
    REQUEST = "request"


class Run(msgspec.Struct, frozen=True):
    """A run, as its row is, with its reconciliation. Its columns stand in sql/run_columns.part.sql."""

    company_id: str
    run_id: uuid.UUID
    source: str
    state: State
    trigger: Trigger
    start_time: datetime
    until_time: datetime | None
    created_time: datetime
    ended_time: datetime | None
    behind: bool
    attempt: int
    next_attempt_time: datetime | None
    deadline_time: datetime | None
    error: str | None
    synced_time: datetime | None
    windows: int
    windows_done: int
    window_start_time: datetime | None
    window_until_time: datetime | None
    said: int | None
    pages: int
    fetched: int
    accepted: int
    duplicates: int
    quarantined: int
    rejected: int
    retries: int
    late: int
    cancel_requested: bool
    reconciled_time: datetime | None
    """None, as all that follow: it has not been reconciled."""
    listed: int | None
    stored: int | None
    missing: int | None
    unlisted: int | None


class Health(msgspec.Struct, frozen=True):
    """How a source does."""

    complete_until_time: datetime | None
    consecutive_failures: int
    queued_runs: int
    open_alerts: int


class Wish(msgspec.Struct, frozen=True):
    """What is asked for. Without a start: from what was read last."""

    start_time: datetime | None = None
    until_time: datetime | None = None
    queue: bool = False
    """Whether it is to wait behind an active run, rather than join it."""


async def create_run(
    connection: Connection, company_id: str, source: str, request_id: str | None, wish: Wish
) -> tuple[Run, bool] | None:
    """The run for a request, and whether it is new: else the same request's, or the active one. None: no such source,
    or the run that stood in the way has just ended; ask again. Raises SyncQueueFull."""
    async with connection.transaction():
        if request_id is None:
            return await _create_or_join(connection, company_id, source, wish)
        request = {"company_id": company_id, "request_id": request_id}
        await sql.fetch(connection, "lock_request", **request)
        if rows := await sql.fetch(connection, "find_request", **request):
            return _run(rows[0]), False
        found = await _create_or_join(connection, company_id, source, wish)
        if found is not None:
            await sql.fetch(connection, "note_request", run_id=found[0].run_id, **request)
        return found


async def _create_or_join(connection: Connection, company_id: str, source: str, wish: Wish) -> tuple[Run, bool] | None:
    key = {"company_id": company_id, "source": source}
    if wish.queue and not await sql.fetch(connection, "lock_source", **key):
        return None
    waiting = (await sql.fetch(connection, "count_behind", **key))[0]["behind"] if wish.queue else 0
    if waiting >= MAX_BEHIND:
        raise SyncQueueFull(source, MAX_BEHIND)
    # Whoever queues up does so behind those that wait already, though the active run may just have ended.
    run = None if waiting else await _create(connection, company_id, source, wish, behind=False)
    if run is None and wish.queue:
        run = await _create(connection, company_id, source, wish, behind=True)
    if run is not None:
        return run, True
    rows = await sql.fetch(connection, "find_active_run", **key)
    return (_run(rows[0]), False) if rows else None


async def _create(connection: Connection, company_id: str, source: str, wish: Wish, *, behind: bool) -> Run | None:
    rows = await sql.fetch(
        connection,
        "create_run",
        company_id=company_id,
        source=source,
        run_id=uuid7(),
        start_time=wish.start_time,
        until_time=wish.until_time,
        behind=behind,
    )
    return await get_run(connection, company_id, rows[0]["run_id"]) if rows else None


async def get_run(connection: Connection, company_id: str, run_id: uuid.UUID) -> Run | None:
    """One run, or None."""
    rows = await sql.fetch(connection, "get_run", company_id=company_id, run_id=run_id)
    return _run(rows[0]) if rows else None


async def list_runs(
    connection: Connection, company_id: str, source: str | None, before: uuid.UUID | None, max_rows: int
) -> list[Run]:
    """The newest first; `before` is the last id of the page before."""
    rows = await sql.fetch(
        connection, "list_runs", company_id=company_id, source=source, before_id=before, max_rows=max_rows
    )
    return [_run(row) for row in rows]


async def source_runs(connection: Connection, company_id: str) -> list[Run]:
    """Each source's active run and last ended one, where there are."""
    return [_run(row) for row in await sql.fetch(connection, "source_runs", company_id=company_id)]


async def source_health(connection: Connection, company_id: str) -> dict[str, Health]:
    """By the source's name."""
    rows = await sql.fetch(connection, "source_health", company_id=company_id)
    return {row["source"]: Health(**{name: row[name] for name in Health.__struct_fields__}) for row in rows}


def _run(row: Mapping[str, Any]) -> Run:
    return Run(**{**row, "state": State(row["state"]), "trigger": Trigger(row["trigger"])})
