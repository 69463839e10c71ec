"""A worker's hold on a run, in PostgreSQL. What it writes is fenced: only whoever has the run's current attempt and its
lease writes anything."""

import uuid
from datetime import datetime, timedelta
from typing import Any

import msgspec

from services.sync.run_store import State
from services.sync.statements import sql
from shared.db import Connection


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


async def claim_run(connection: Connection, company_id: str, run_id: uuid.UUID, lease: timedelta) -> Claim | None:
    """Takes the run, if it is there to be taken."""
    rows = await sql.fetch(connection, "claim_run", company_id=company_id, run_id=run_id, lease=lease)
    return Claim(company_id=company_id, run_id=run_id, **rows[0]) if rows else None


async def extend_lease(connection: Connection, claim: Claim, lease: timedelta) -> bool | None:
    """Whether the run is to be cancelled; None when it is no longer this worker's."""
    rows = await sql.fetch(connection, "extend_lease", lease=lease, **_fence(claim))
    return bool(rows[0]["cancel_requested"]) if rows else None


async def checkpoint(
    connection: Connection, claim: Claim, cursor: str, synced_time: datetime | None, counts: Counts, retries: int
) -> bool:
    """Notes a page that ingest has acknowledged; the same page again changes nothing. False: the run is no longer this
    worker's."""
    return bool(
        await sql.fetch(
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
        await sql.fetch(
            connection, "leave_run", state=state, error=error, retry_in=retry_in, retries=retries, **_fence(claim)
        )
    )


def _fence(claim: Claim) -> dict[str, Any]:
    return {"company_id": claim.company_id, "run_id": claim.run_id, "attempt": claim.attempt}
