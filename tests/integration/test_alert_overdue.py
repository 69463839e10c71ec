"""Schedules that are overdue have alerts, of which each is opened and resolved once."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

from uuid_utils.compat import uuid7

from services.sync.alert_store import Alert, Kind
from services.sync.alerting import OverdueWatch
from shared import db
from shared.db import Connection
from tests.alert_happenings import (
    COMPANY,
    LATELY,
    LONG_AGO,
    SOON,
    SOURCE,
    alerts,
    make_source,
    make_webhook,
    schedule,
    told,
)

OVERDUE = timedelta(minutes=5)


async def queue_run(connection: Connection, ago: str, **columns: Any) -> uuid.UUID:
    run_id = uuid7()
    await connection.execute(
        "INSERT INTO hookline.sync_runs (company_id, run_id, source, trigger, start_time, created_time, behind)"
        f" VALUES ($1, $2, $3, $4, clock_timestamp(), clock_timestamp() - {ago}, $5)",
        COMPANY,
        run_id,
        SOURCE,
        columns.get("trigger", "schedule"),
        columns.get("behind", False),
    )
    return run_id


async def overdue(connection: Connection) -> Alert | None:
    return (await alerts(connection)).get(Kind.SCHEDULE_OVERDUE)


@asynccontextmanager
async def watches(database_url: str, count: int = 1) -> AsyncIterator[Sequence[OverdueWatch]]:
    async with AsyncExitStack() as stack:
        pools = [await stack.enter_async_context(await db.open_pool(database_url, 1)) for _ in range(count)]
        yield [OverdueWatch(pool, OVERDUE) for pool in pools]


async def test_a_schedule_without_a_scheduler_is_overdue(database_url: str, connection: Connection) -> None:
    await make_source(connection)
    await make_webhook(connection)
    async with watches(database_url) as [watch]:
        await schedule(connection, LATELY)
        await watch.round()
        assert await overdue(connection) is None
        await schedule(connection, LONG_AGO)
        await watch.round()
        await watch.round()
        alert = await overdue(connection)
        assert alert
        assert (alert.times, alert.run_id, alert.resolve_time) == (1, None, None)
        assert alert.message == "a run is due by the schedule, and no scheduler has made it"
        # A scheduler is back. The run is made, and still nobody has begun it.
        await schedule(connection, SOON)
        run_id = await queue_run(connection, "interval '0'")
        await watch.round()
        assert await overdue(connection) == alert
        await connection.execute(
            "UPDATE hookline.sync_runs SET state = 'running', attempt = 1, lease_until = now() WHERE run_id = $1",
            run_id,
        )
        await watch.round()
        await watch.round()
        over = await overdue(connection)
        assert over
        assert over.resolve_time
        assert [each.news for each in await told(connection)] == ["opened", "resolved"]


async def test_a_run_without_a_worker_is_overdue(database_url: str, connection: Connection) -> None:
    await make_source(connection)
    await schedule(connection, SOON)
    async with watches(database_url) as [watch]:
        # One that was asked for, and one that waits for another, are not the schedule's.
        asked_for = await queue_run(connection, LONG_AGO, trigger="request")
        behind = await queue_run(connection, LONG_AGO, behind=True)
        await watch.round()
        assert await overdue(connection) is None
        await connection.execute("DELETE FROM hookline.sync_runs WHERE run_id IN ($1, $2)", asked_for, behind)
        run_id = await queue_run(connection, LATELY)
        await watch.round()
        assert await overdue(connection) is None
        await connection.execute(f"UPDATE hookline.sync_runs SET created_time = clock_timestamp() - {LONG_AGO}")
        await watch.round()
        alert = await overdue(connection)
        assert alert
        assert (alert.run_id, alert.message) == (
            run_id,
            "a run was made by the schedule, and no worker has begun it",
        )
        # Cancelled, none is due any more.
        await connection.execute(
            "UPDATE hookline.sync_runs SET state = 'cancelled', cancel_requested = true, ended_time = now()"
        )
        await watch.round()
        over = await overdue(connection)
        assert over
        assert over.resolve_time


async def test_a_schedule_that_is_paused_is_not_overdue(database_url: str, connection: Connection) -> None:
    await make_source(connection)
    await schedule(connection, LONG_AGO)
    async with watches(database_url) as [watch]:
        await watch.round()
        await connection.execute("UPDATE hookline.sources SET schedule_paused_time = now(), next_run_time = NULL")
        await watch.round()
        over = await overdue(connection)
        assert over
        assert over.resolve_time


async def test_many_watches_open_and_resolve_each_alert_once(database_url: str, connection: Connection) -> None:
    count = 250
    for number in range(count):
        await make_source(connection, f"company{number}")
        await make_webhook(connection, company=f"company{number}")
        await schedule(connection, LONG_AGO, f"company{number}")
    async with watches(database_url, 4) as several:
        await asyncio.gather(*(watch.round() for watch in several))
        await asyncio.gather(*(watch.round() for watch in several))
        rows = await connection.fetch("SELECT count(*) AS alerts FROM hookline.alerts GROUP BY company_id")
        assert [row["alerts"] for row in rows] == [1] * count
        assert await connection.fetchval("SELECT count(*) FROM hookline.alert_deliveries") == count
        await connection.execute("UPDATE hookline.sources SET next_run_time = clock_timestamp() + interval '1 hour'")
        await asyncio.gather(*(watch.round() for watch in several))
        await asyncio.gather(*(watch.round() for watch in several))
    assert await connection.fetchval("SELECT count(*) FROM hookline.alerts WHERE resolve_time IS NULL") == 0
    assert await connection.fetchval("SELECT count(*) FROM hookline.alert_deliveries") == 2 * count
