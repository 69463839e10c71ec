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


class State(StrEnum):
    """Where a run is. The values are those of the database's enum; docs/sync-runs.md has the arrows."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def has_ended(self) -> bool:
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELLED)


class Trigger(StrEnum):
    """What made a run. The values are those of the database's enum."""

    SCHEDULE = "schedule"
    REQUEST = "request"


class Run(msgspec.Struct, frozen=True):
    """A run, as its row is."""

    company_id: str
    run_id: uuid.UUID
    source: str
    state: State
    trigger: Trigger
    start_time: datetime
    created_time: datetime
    ended_time: datetime | None
    attempt: int
    next_attempt_time: datetime | None
    error: str | None
    synced_time: datetime | None
    pages: int
    fetched: int
    accepted: int
    duplicates: int
    quarantined: int
    rejected: int
    retries: int
    cancel_requested: bool


class Health(msgspec.Struct, frozen=True):
    """How a source does."""

    complete_until_time: datetime | None
    consecutive_failures: int


async def create_run(
    connection: Connection, company_id: str, source: str, request_id: str | None, days_back: int
) -> tuple[Run, bool] | None:
    """The run for a request, and whether it is new: else the same request's, or the active one. None: no such source,
    or the run that stood in the way has just ended; ask again."""
    if request_id is None:
        return await _create_or_join(connection, company_id, source, days_back)
    request = {"company_id": company_id, "request_id": request_id}
    async with connection.transaction():
        await sql.fetch(connection, "lock_request", **request)
        if rows := await sql.fetch(connection, "find_request", **request):
            return _run(rows[0]), False
        found = await _create_or_join(connection, company_id, source, days_back)
        if found is not None:
            await sql.fetch(connection, "note_request", run_id=found[0].run_id, **request)
        return found


async def _create_or_join(
    connection: Connection, company_id: str, source: str, days_back: int
) -> tuple[Run, bool] | None:
    rows = await sql.fetch(
        connection, "create_run", company_id=company_id, source=source, run_id=uuid7(), days_back=days_back
    )
    if rows:
        return _run(rows[0]), True
    rows = await sql.fetch(connection, "find_active_run", company_id=company_id, source=source)
    return (_run(rows[0]), False) if rows else None


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
    return {row["source"]: Health(row["complete_until_time"], row["consecutive_failures"]) for row in rows}


async def cancel_run(connection: Connection, company_id: str, run_id: uuid.UUID) -> Run | None:
    """The run, cancelled or to be cancelled by its worker; None when it has ended already, or there is none."""
    rows = await sql.fetch(connection, "cancel_run", company_id=company_id, run_id=run_id)
    return _run(rows[0]) if rows else None


def _run(row: Mapping[str, Any]) -> Run:
    return Run(**{**row, "state": State(row["state"]), "trigger": Trigger(row["trigger"])})
