"""What is due, in PostgreSQL. Across companies, but for `note_kick`."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from uuid_utils.compat import uuid7

from services.sync.statements import sql
from shared.db import Connection

RunKey = tuple[str, uuid.UUID]
"""A company and a run of it."""


async def create_due_runs(connection: Connection, most: int) -> list[RunKey]:
    """Runs for due schedules, of any company."""
    rows = await sql.fetch(connection, "create_due_runs", run_ids=[uuid7() for _ in range(most)])
    return _keys(rows)


async def cancel_abandoned(connection: Connection) -> list[RunKey]:
    """Ends runs that were to be cancelled and whose worker is gone, of any company."""
    return _keys(await sql.fetch(connection, "cancel_abandoned"))


async def take_kicks(connection: Connection, again_after: timedelta, most: int) -> list[RunKey]:
    """Runs that a worker should be told of, of any company; noted as told."""
    return _keys(await sql.fetch(connection, "take_kicks", again_after=again_after, max_rows=most))


async def note_kick(connection: Connection, company_id: str, run_id: uuid.UUID) -> None:
    """A worker was told of the run."""
    await sql.fetch(connection, "note_kick", company_id=company_id, run_id=run_id)


def _keys(rows: Sequence[Mapping[str, Any]]) -> list[RunKey]:
    return [(row["company_id"], row["run_id"]) for row in rows]
