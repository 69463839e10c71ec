"""Reapers in this process, what they find due, and who they tell."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from services.sync.doorbell import Doorbell
from services.sync.reaper import Reaper
from services.sync.reaper_store import RunKey
from shared import db
from shared.broker import make_broker
from shared.db import Connection
from tests.sync_in_process import NOWHERE

LEASE = timedelta(minutes=1)
# A moment either side of each horizon: more than a test takes, less than anything else.
JUST_PAST, NOT_YET = ["clock_timestamp() - interval '1 ms'"], ["clock_timestamp() + interval '20 s'"]
TOLD_LONG_AGO = ["clock_timestamp() - interval '60.001 s'"]
TOLD_LATELY = ["clock_timestamp() - interval '40 s'"]
RUNNING: dict[str, Any] = {"state": "running", "attempt": 1}
WAITING: dict[str, Any] = {"state": "waiting", "attempt": 1, "error": "away"}


class Heard(Doorbell):
    """A doorbell that keeps who was told of instead."""

    def __init__(self) -> None:
        super().__init__(make_broker(NOWHERE))
        self.keys: list[RunKey] = []

    async def ring(self, company_id: str, run_id: uuid.UUID) -> bool:
        await asyncio.sleep(0)
        self.keys.append((company_id, run_id))
        return True


@asynccontextmanager
async def reapers(database_url: str, count: int = 1) -> AsyncIterator[tuple[list[Reaper], Heard]]:
    """Reapers that share a doorbell."""
    heard = Heard()
    async with await db.open_pool(database_url, 4) as pool:
        yield [Reaper(pool, heard, LEASE.total_seconds()) for _ in range(count)], heard


async def make_due(connection: Connection, count: int, next_run: str = "now()", **columns: str) -> None:
    """Sources with schedules of an hour, each of a company of its own; and other columns, in SQL."""
    names = "".join(f", {name}" for name in columns)
    values = "".join(f", {value}" for value in columns.values())
    await connection.execute(
        f"""
        INSERT INTO hookline.sources (company_id, source, platform, base_url, credential,
                                      schedule_interval, schedule_start_time, next_run_time{names})
        SELECT 'company' || n, 'loja', 'grapfy', 'https://api.example.com', 'x',
               interval '1 hour', {next_run} - interval '1 hour', {next_run}{values}
        FROM generate_series(1, $1) AS n
        """,
        count,
    )


async def log_of(connection: Connection, run_id: uuid.UUID) -> list[tuple[str, str]]:
    """Codes and messages of a run's log."""
    rows = await connection.fetch(
        "SELECT code, message FROM hookline.sync_log WHERE run_id = $1 ORDER BY entry", run_id
    )
    return [(row["code"], row["message"]) for row in rows]


async def state_of(connection: Connection, run_id: uuid.UUID) -> tuple[str, str | None]:
    row = await connection.fetchrow("SELECT state, error FROM hookline.sync_runs WHERE run_id = $1", run_id)
    assert row
    return row["state"], row["error"]
