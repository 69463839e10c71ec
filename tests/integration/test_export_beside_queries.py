"""Exports take nothing from lists and searches, however many there are, and whether or not anyone reads them."""

import asyncio
from pathlib import Path
from typing import Any

from hookline.export.v1.event_query_service_pb2 import GROUPING_TYPE, SummarizeEventsRequest
from shared.db import Connection
from tests.export_crowd import COMPANY, EXPORT_CONNECTIONS, QUERY_CONNECTIONS, check_crowd, fill
from tests.exports import NDJSON, exported
from tests.in_process import Ingesting, exporting
from tests.samples import grapfy, send
from tests.waiting import eventually


async def test_a_crowd_of_exports_stalled_and_live(
    ingest: Ingesting, connection: Connection, database_url: str, tmp_path: Path
) -> None:
    await fill(ingest.stub)
    crowded = await check_crowd(ingest.stub, connection, database_url, tmp_path)
    assert crowded.lists >= 60
    assert crowded.exports >= 4


async def test_queries_have_connections_of_their_own(
    ingest: Ingesting, connection: Connection, database_url: str
) -> None:
    await send(ingest.stub, COMPANY, [grapfy(number) for number in range(10)])
    connections: dict[str, Any] = {"database_connections": QUERY_CONNECTIONS, "export_connections": EXPORT_CONNECTIONS}
    async with exporting(database_url, **connections) as export:
        async with connection.transaction():
            # Exports read statuses, sums don't: those stand still, each with a connection, and these must not.
            await connection.execute("LOCK TABLE hookline.event_status IN ACCESS EXCLUSIVE MODE")
            exports = [asyncio.create_task(exported(export.export, COMPANY, NDJSON)) for _ in range(10)]
            await eventually(lambda: _waiting(connection), what="as many exports as may are under way")
            for _ in range(20):
                request = SummarizeEventsRequest(company_id=COMPANY, group_by=[GROUPING_TYPE])
                answer = await export.query.SummarizeEvents(request, timeout=30)
                assert sum(group.count for group in answer.groups) == 10
            assert not any(task.done() for task in exports)
        for file in await asyncio.gather(*exports):
            assert file.trailer.rows == 10


async def _waiting(connection: Connection) -> bool:
    # Not pg_stat_activity, which stays as it was first seen in a transaction.
    waiting = await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted")
    assert waiting <= EXPORT_CONNECTIONS
    return bool(waiting == EXPORT_CONNECTIONS)
