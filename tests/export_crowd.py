"""Many exports at a time, most of them of callers that take nothing, and others' calls beside them."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc

from hookline.export.v1 import export_service_pb2 as pb
from hookline.export.v1.event_query_service_pb2 import ListEventsRequest
from shared.db import Connection
from tests.exports import NDJSON, exported
from tests.in_process import Exporting, exporting
from tests.samples import grapfy, send
from tests.waiting import eventually

if TYPE_CHECKING:
    from hookline.ingest.v1.ingest_service_pb2_grpc import IngestServiceAsyncStub

COMPANY = "acme"
# Far more than flows ahead of a reader that has stopped.
EVENTS, EVENT_BYTES = 6_000, 3_000
QUERY_CONNECTIONS, EXPORT_CONNECTIONS = 2, 2
REQUEST = pb.ExportEventsRequest(company_id=COMPANY, format=NDJSON)
Stream = grpc.aio.UnaryStreamCall[pb.ExportEventsRequest, pb.ExportEventsResponse]


async def fill(stub: "IngestServiceAsyncStub") -> None:
    """Stores what the crowd exports."""
    for start in range(0, EVENTS, 1000):
        await send(stub, COMPANY, [grapfy(number, x="x" * EVENT_BYTES) for number in range(start, start + 1000)])


async def check_crowd(
    stub: "IngestServiceAsyncStub",
    connection: Connection,
    database_url: str,
    *,
    stalled: int = 10,
    live: int = 4,
    lists: int = 60,
    seconds: float = 0,
) -> tuple[int, int]:
    """Lists that often, and for so long, beside such exports of a database that has been filled, while events are
    written. Raises AssertionError when a list is not as it should be, when a connection goes on seeing a state of long
    ago, or when one does not come back in the end. Gives how many lists and whole exports there were."""
    until = time.monotonic() + seconds
    listed = 0
    connections: dict[str, Any] = {"database_connections": QUERY_CONNECTIONS, "export_connections": EXPORT_CONNECTIONS}
    async with exporting(database_url, **connections) as export:
        streams = [await _begun(export) for _ in range(stalled)]
        # Nobody takes anything, so nothing is read, and nothing is held.
        await eventually(lambda: is_idle(connection), what="stalled exports hold no connection")
        async with _exporting_again_and_again(export, live) as counts:
            while listed < lists or time.monotonic() < until or not all(counts):
                request = ListEventsRequest(company_id=COMPANY, page_size=20)
                answer = await export.query.ListEvents(request, timeout=30)
                assert len(answer.events) == 20
                listed += 1
                if listed % 10 == 0:
                    await send(stub, COMPANY, [grapfy(f"late {listed}")])
                    await _nobody_looks_back(connection)
        await eventually(lambda: is_idle(connection), what="exports that were left hold no connection")
        # They stall to the end, and are whole all the same: had their callers gone on, they would have got everything.
        await _finish(streams[: stalled // 2])
        for stream in streams[stalled // 2 :]:
            stream.cancel()
        await eventually(lambda: is_idle(connection), what="all connections are idle")
        # With a connection less these would take turns at what is left, with none they would wait for ever.
        again = await asyncio.gather(*(exported(export.export, COMPANY, NDJSON) for _ in range(2 * EXPORT_CONNECTIONS)))
        assert len({one.trailer.sha256 for one in again}) == 1
    return listed, sum(counts)


async def is_idle(connection: Connection) -> bool:
    """Whether no service is doing anything in the database, nor holding on to a state of it."""
    busy = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'hookline'"
        " AND (state <> 'idle' OR backend_xmin IS NOT NULL)"
    )
    return bool(busy == 0)


async def _begun(export: Exporting) -> Stream:
    stream = export.export.ExportEvents(REQUEST)
    header, chunk = await stream.read(), await stream.read()
    assert isinstance(header, pb.ExportEventsResponse)
    assert isinstance(chunk, pb.ExportEventsResponse)
    assert (header.WhichOneof("part"), chunk.chunk.number) == ("header", 1)
    return stream


async def _finish(streams: Iterable[Stream]) -> None:
    for stream in streams:
        rows = 0
        while (part := await stream.read()) is not grpc.aio.EOF:
            assert isinstance(part, pb.ExportEventsResponse)
            rows = part.trailer.rows
        assert rows == EVENTS


@asynccontextmanager
async def _exporting_again_and_again(export: Exporting, count: int) -> AsyncIterator[list[int]]:
    """So many callers that export one file after the other; gives how many each has. Leaves them where they are."""
    counts = [0] * count

    async def go_on(number: int) -> None:
        while True:
            file = await exported(export.export, COMPANY, NDJSON)
            assert file.trailer.rows == file.header.last_sequence
            counts[number] += 1

    tasks = [asyncio.create_task(go_on(number)) for number in range(count)]
    try:
        yield counts
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended


async def _nobody_looks_back(connection: Connection) -> None:
    """Every connection comes to see what is committed now: no old row version is kept for it."""
    now = await connection.fetchval("SELECT pg_current_xact_id()::text::bigint")
    # Only the lower half of a transaction's number is in xmin; a test's numbers never get beyond it.
    await eventually(
        lambda: _none_before(connection, now), what="no connection of a service sees a state of before this moment"
    )


async def _none_before(connection: Connection, moment: int) -> bool:
    old = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'hookline'"
        " AND backend_xmin::text::bigint < $1",
        moment,
    )
    return bool(old == 0)
