"""What keeps the tables fit while events come in."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from services.ingest import maintenance, store
from shared import db
from shared.db import Connection
from tests.in_process import Ingesting
from tests.samples import ACCEPTED, grapfy, send
from tests.waiting import eventually


async def pending_pages(connection: Connection) -> list[int]:
    """Pages that wait to be merged, of each index of this month's that has such a list."""
    rows = await connection.fetch(
        "SELECT (pgstatginindex(i.indexrelid)).pending_pages AS pages"
        " FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam"
        " WHERE a.amname = 'gin' AND i.indrelid ="
        " to_regclass('hookline.events_' || to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY_MM'))"
    )
    return [row["pages"] for row in rows]


@asynccontextmanager
async def going_on(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Does work that never ends until the block does."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled(), "it went on all the time"


async def test_what_new_events_leave_for_the_indexes_is_merged(ingest: Ingesting, connection: Connection) -> None:
    await connection.execute("CREATE EXTENSION pgstattuple")
    few = [grapfy(number) for number in range(maintenance.PENDING_EVENTS - 1)]
    assert {result.outcome for result in await send(ingest.stub, "acme", few)} == {ACCEPTED}
    pages = await pending_pages(connection)
    assert len(pages) == 2
    assert all(pages)
    await send(ingest.stub, "acme", [*few, grapfy("the last")])

    async def is_merged() -> bool:
        return not any(await pending_pages(connection))

    await eventually(is_merged, what="nothing is pending")


async def test_processes_that_merge_do_not_wait_for_each_other(
    ingest: Ingesting, database_url: str, connection: Connection
) -> None:
    await connection.execute("CREATE EXTENSION pgstattuple")
    await send(ingest.stub, "acme", [grapfy(1)])
    async with await db.open_pool(database_url, 1) as pool, pool.acquire() as other, connection.transaction():
        await store.merge_pending(connection)
        await send(ingest.stub, "acme", [grapfy(2)])
        await store.merge_pending(other)
        # Left to the one that is at it.
        assert all(await pending_pages(connection))
    await store.merge_pending(connection)
    assert not any(await pending_pages(connection))


async def test_a_month_that_could_not_be_made_is_made_later(
    database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "PARTITIONS_SECONDS", 0.02)
    last = await connection.fetchval(
        "SELECT max(inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = 'hookline.events'::regclass"
    )
    await connection.execute(
        f"DROP TABLE {last}; ALTER FUNCTION hookline.create_event_partitions(integer) RENAME TO away"
    )
    async with await db.open_pool(database_url, 1) as pool:
        with capture_logs() as logs:
            async with going_on(maintenance.keep_partitions_ahead(pool)):
                await eventually(lambda: logs, what="it fails")
                await connection.execute("ALTER FUNCTION hookline.away(integer) RENAME TO create_event_partitions")
                await eventually(lambda: logs[-1]["event"] == "partition_created", what="it is made")
    assert {line["event"] for line in logs[:-1]} == {"partitions_failed"}
    assert logs[0]["sqlstate"] == "42883"
    assert logs[-1]["partition"] == last.removeprefix("hookline.")


async def test_what_could_not_be_merged_is_merged_later(
    database_url: str, ingest: Ingesting, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "PENDING_SECONDS", 0.02)
    monkeypatch.setattr(maintenance, "RETRY_SECONDS", 0.02)
    await connection.execute("CREATE EXTENSION pgstattuple")
    # Too few for the service's own loop.
    await send(ingest.stub, "acme", [grapfy(1)])
    merge, failures = store.merge_pending, 0

    async def fails_at_first(one: Connection) -> None:
        nonlocal failures
        if failures < 2:
            failures += 1
            await one.execute("SELECT 1 / 0")
        await merge(one)

    monkeypatch.setattr(store, "merge_pending", fails_at_first)
    async with await db.open_pool(database_url, 1) as pool:
        with capture_logs() as logs:
            async with going_on(maintenance.keep_pending_lists_short(pool, lambda: maintenance.PENDING_EVENTS)):

                async def is_merged() -> bool:
                    return not any(await pending_pages(connection))

                await eventually(is_merged, what="nothing is pending")
    assert [(line["event"], line["sqlstate"]) for line in logs] == [("merge_failed", "22012")] * 2
