"""What keeps the tables fit while events come in."""

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
