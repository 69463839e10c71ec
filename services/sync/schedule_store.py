"""Schedules in PostgreSQL. Every function names its company."""

from datetime import timedelta

from services.sync.source_store import Source, to_source
from services.sync.statements import sql
from shared.db import Connection


async def start_schedule(connection: Connection, company_id: str, source: str, every: timedelta) -> Source | None:
    """The source with its schedule, or None when there is none."""
    rows = await sql.fetch(connection, "start_schedule", company_id=company_id, source=source, every=every)
    return to_source(rows[0]) if rows else None


async def stop_schedule(connection: Connection, company_id: str, source: str) -> Source | None:
    """The source without a schedule, or None when there is none."""
    rows = await sql.fetch(connection, "stop_schedule", company_id=company_id, source=source)
    return to_source(rows[0]) if rows else None
