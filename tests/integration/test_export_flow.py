"""Readers that stall or leave: what an export holds is given back."""

import grpc

from hookline.export.v1 import export_service_pb2 as pb
from shared.db import Connection
from tests.exports import NDJSON, exported
from tests.in_process import Ingesting, exporting
from tests.samples import grapfy, send
from tests.waiting import eventually

REQUEST = pb.ExportEventsRequest(company_id="acme", format=NDJSON)


async def store_much(ingest: Ingesting) -> None:
    for start in (0, 12, 24):
        await send(ingest.stub, "acme", [grapfy(n, x="x" * 1_000_000) for n in range(start, start + 12)])


async def is_idle(connection: Connection) -> bool:
    busy = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'hookline'"
        " AND (state <> 'idle' OR backend_xmin IS NOT NULL)"
    )
    return bool(busy == 0)


async def test_readers_that_leave_give_back_their_connections(
    ingest: Ingesting, database_url: str, connection: Connection
) -> None:
    await store_much(ingest)
    async with exporting(database_url, database_connections=2) as export:
        for _ in range(6):
            stream = export.export.ExportEvents(REQUEST)
            # The header and a chunk: pages are being read.
            await stream.read()
            await stream.read()
            stream.cancel()
        await eventually(lambda: is_idle(connection), what="all connections are idle")
        # With as many leaks as connections this one would wait for ever.
        assert (await exported(export.export, "acme", NDJSON)).trailer.rows == 36


async def test_a_reader_that_stalls_holds_no_connection(
    ingest: Ingesting, database_url: str, connection: Connection
) -> None:
    await store_much(ingest)
    async with exporting(database_url, database_connections=2) as export:
        stalled = [export.export.ExportEvents(REQUEST) for _ in range(3)]
        for stream in stalled:
            await stream.read()
        await eventually(lambda: is_idle(connection), what="all connections are idle")
        assert (await exported(export.export, "acme", NDJSON)).trailer.rows == 36
        for stream in stalled:
            rows = 0
            while (part := await stream.read()) is not grpc.aio.EOF:
                assert isinstance(part, pb.ExportEventsResponse)
                rows = part.trailer.rows
            assert rows == 36
