"""The sync service's SQL, and what its answers mean. Every function names its company, but those of the reaper."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec
from uuid_utils.compat import uuid7

from shared.db import Connection
from shared.statements import Statements

_sql = Statements("services.sync")


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


class Source(msgspec.Struct, frozen=True):
    """A source, without its credential."""

    company_id: str
    source: str
    platform: str
    base_url: str
    parameters: dict[str, str]
    created_time: datetime
    schedule_interval: timedelta | None
    next_run_time: datetime | None


class Secret(msgspec.Struct, frozen=True):
    """What pulling a source takes; the credential is encrypted."""

    platform: str
    base_url: str
    credential: bytes
    parameters: dict[str, str]


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


class Claim(msgspec.Struct, frozen=True):
    """A run that this worker has been given."""

    company_id: str
    run_id: uuid.UUID
    source: str
    start_time: datetime
    attempt: int
    failures: int
    """Attempts that have failed since the last page was stored."""
    cursor: str | None


class Counts(msgspec.Struct, frozen=True):
    """What one page added."""

    fetched: int
    accepted: int
    duplicates: int
    quarantined: int
    rejected: int


class Health(msgspec.Struct, frozen=True):
    """How a source does."""

    complete_until_time: datetime | None
    consecutive_failures: int


async def create_source(
    connection: Connection,
    company_id: str,
    source: str,
    *,
    platform: str,
    base_url: str,
    credential: bytes,
    parameters: Mapping[str, str],
) -> Source | None:
    """The new source, or None when there is one of that name."""
    rows = await _sql.fetch(
        connection,
        "create_source",
        company_id=company_id,
        source=source,
        platform=platform,
        base_url=base_url,
        credential=credential,
        parameters=msgspec.json.encode(parameters),
    )
    return _source(rows[0]) if rows else None


async def list_sources(connection: Connection, company_id: str) -> list[Source]:
    """All of a company's, by name."""
    return [_source(row) for row in await _sql.fetch(connection, "list_sources", company_id=company_id)]


async def source_secret(connection: Connection, company_id: str, source: str) -> Secret | None:
    """What pulling the source takes, or None when there is no such source."""
    rows = await _sql.fetch(connection, "source_secret", company_id=company_id, source=source)
    return Secret(**{**rows[0], "parameters": _parameters(rows[0])}) if rows else None


async def delete_source(connection: Connection, company_id: str, source: str) -> bool:
    """Whether it is gone by this: not when there is none, or a run of it is active."""
    return bool(await _sql.fetch(connection, "delete_source", company_id=company_id, source=source))


async def start_schedule(connection: Connection, company_id: str, source: str, every: timedelta) -> Source | None:
    """The source with its schedule, or None when there is none."""
    rows = await _sql.fetch(connection, "start_schedule", company_id=company_id, source=source, every=every)
    return _source(rows[0]) if rows else None


async def stop_schedule(connection: Connection, company_id: str, source: str) -> Source | None:
    """The source without a schedule, or None when there is none."""
    rows = await _sql.fetch(connection, "stop_schedule", company_id=company_id, source=source)
    return _source(rows[0]) if rows else None


async def create_run(
    connection: Connection, company_id: str, source: str, request_id: str | None, days_back: int
) -> tuple[Run, bool] | None:
    """The run for a request, and whether it is new: else the same request's, or the active one. None: no such source,
    or the run that stood in the way has just ended; ask again."""
    if request_id is None:
        return await _create_or_join(connection, company_id, source, days_back)
    request = {"company_id": company_id, "request_id": request_id}
    async with connection.transaction():
        await _sql.fetch(connection, "lock_request", **request)
        if rows := await _sql.fetch(connection, "find_request", **request):
            return _run(rows[0]), False
        found = await _create_or_join(connection, company_id, source, days_back)
        if found is not None:
            await _sql.fetch(connection, "note_request", run_id=found[0].run_id, **request)
        return found


async def _create_or_join(
    connection: Connection, company_id: str, source: str, days_back: int
) -> tuple[Run, bool] | None:
    rows = await _sql.fetch(
        connection, "create_run", company_id=company_id, source=source, run_id=uuid7(), days_back=days_back
    )
    if rows:
        return _run(rows[0]), True
    rows = await _sql.fetch(connection, "find_active_run", company_id=company_id, source=source)
    return (_run(rows[0]), False) if rows else None


async def get_run(connection: Connection, company_id: str, run_id: uuid.UUID) -> Run | None:
    """One run, or None."""
    rows = await _sql.fetch(connection, "get_run", company_id=company_id, run_id=run_id)
    return _run(rows[0]) if rows else None


async def list_runs(
    connection: Connection, company_id: str, source: str | None, before: uuid.UUID | None, max_rows: int
) -> list[Run]:
    """The newest first; `before` is the last id of the page before."""
    rows = await _sql.fetch(
        connection, "list_runs", company_id=company_id, source=source, before_id=before, max_rows=max_rows
    )
    return [_run(row) for row in rows]


async def source_runs(connection: Connection, company_id: str) -> list[Run]:
    """Each source's active run and last ended one, where there are."""
    return [_run(row) for row in await _sql.fetch(connection, "source_runs", company_id=company_id)]


async def source_health(connection: Connection, company_id: str) -> dict[str, Health]:
    """By the source's name."""
    rows = await _sql.fetch(connection, "source_health", company_id=company_id)
    return {row["source"]: Health(row["complete_until_time"], row["consecutive_failures"]) for row in rows}


async def cancel_run(connection: Connection, company_id: str, run_id: uuid.UUID) -> Run | None:
    """The run, cancelled or to be cancelled by its worker; None when it has ended already, or there is none."""
    rows = await _sql.fetch(connection, "cancel_run", company_id=company_id, run_id=run_id)
    return _run(rows[0]) if rows else None


async def note_kick(connection: Connection, company_id: str, run_id: uuid.UUID) -> None:
    """A worker was told of the run."""
    await _sql.fetch(connection, "note_kick", company_id=company_id, run_id=run_id)


async def claim_run(connection: Connection, company_id: str, run_id: uuid.UUID, lease: timedelta) -> Claim | None:
    """Takes the run, if it is there to be taken."""
    rows = await _sql.fetch(connection, "claim_run", company_id=company_id, run_id=run_id, lease=lease)
    return Claim(company_id=company_id, run_id=run_id, **rows[0]) if rows else None


async def extend_lease(connection: Connection, claim: Claim, lease: timedelta) -> bool | None:
    """Whether the run is to be cancelled; None when it is no longer this worker's."""
    rows = await _sql.fetch(connection, "extend_lease", lease=lease, **_fence(claim))
    return bool(rows[0]["cancel_requested"]) if rows else None


async def checkpoint(
    connection: Connection, claim: Claim, cursor: str, synced_time: datetime | None, counts: Counts, retries: int
) -> bool:
    """Notes a page that ingest has acknowledged; the same page again changes nothing. False: the run is no longer this
    worker's."""
    return bool(
        await _sql.fetch(
            connection,
            "checkpoint",
            cursor=cursor,
            synced_time=synced_time,
            retries=retries,
            **msgspec.structs.asdict(counts),
            **_fence(claim),
        )
    )


async def leave_run(
    connection: Connection,
    claim: Claim,
    state: State,
    *,
    error: str | None = None,
    retry_in: timedelta | None = None,
    retries: int = 0,
) -> bool:
    """Ends this worker's attempt. False: the run is no longer this worker's."""
    return bool(
        await _sql.fetch(
            connection, "leave_run", state=state, error=error, retry_in=retry_in, retries=retries, **_fence(claim)
        )
    )


RunKey = tuple[str, uuid.UUID]
"""A company and a run of it."""


async def create_due_runs(connection: Connection, most: int) -> list[RunKey]:
    """Runs for due schedules, of any company."""
    rows = await _sql.fetch(connection, "create_due_runs", run_ids=[uuid7() for _ in range(most)])
    return _keys(rows)


async def cancel_abandoned(connection: Connection) -> list[RunKey]:
    """Ends runs that were to be cancelled and whose worker is gone, of any company."""
    return _keys(await _sql.fetch(connection, "cancel_abandoned"))


async def take_kicks(connection: Connection, again_after: timedelta, most: int) -> list[RunKey]:
    """Runs that a worker should be told of, of any company; noted as told."""
    return _keys(await _sql.fetch(connection, "take_kicks", again_after=again_after, max_rows=most))


def _fence(claim: Claim) -> dict[str, Any]:
    return {"company_id": claim.company_id, "run_id": claim.run_id, "attempt": claim.attempt}


def _keys(rows: Sequence[Mapping[str, Any]]) -> list[RunKey]:
    return [(row["company_id"], row["run_id"]) for row in rows]


def _run(row: Mapping[str, Any]) -> Run:
    return Run(**{**row, "state": State(row["state"]), "trigger": Trigger(row["trigger"])})


def _source(row: Mapping[str, Any]) -> Source:
    return Source(**{**row, "parameters": _parameters(row)})


def _parameters(row: Mapping[str, Any]) -> dict[str, str]:
    return msgspec.json.decode(row["parameters"], type=dict[str, str])
