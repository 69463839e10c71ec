"""Many exports at a time, most of them of callers that take nothing, and others' calls beside them."""

import asyncio
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import grpc

from hookline.client.requests import CHANNEL_OPTIONS
from hookline.export.v1 import export_service_pb2 as pb
from hookline.export.v1.event_query_service_pb2 import ListEventsRequest
from hookline.export.v1.event_query_service_pb2_grpc import EventQueryServiceStub
from hookline.export.v1.export_service_pb2_grpc import ExportServiceStub
from shared.db import Connection
from tests.export_process import export_process
from tests.exports import NDJSON, exported
from tests.samples import grapfy, send
from tests.waiting import eventually

if TYPE_CHECKING:
    from hookline.export.v1.event_query_service_pb2_grpc import EventQueryServiceAsyncStub
    from hookline.export.v1.export_service_pb2_grpc import ExportServiceAsyncStub
    from hookline.ingest.v1.ingest_service_pb2_grpc import IngestServiceAsyncStub

COMPANY = "acme"
# Far more than flows ahead of a reader that has stopped.
EVENTS, EVENT_BYTES = 6_000, 3_000
QUERY_CONNECTIONS, EXPORT_CONNECTIONS = 2, 2
REQUEST = pb.ExportEventsRequest(company_id=COMPANY, format=NDJSON)
# What a list may take beside the crowd, of a hundred all but one: so many times as long as alone, or so many seconds.
# Far more than it does where each process has a processor; a list that waits for an export takes seconds.
TIMES_ALONE, SECONDS = 20, 1.0
LOOK_BACK_SECONDS = 5
"""How long any connection may go on seeing a state of before."""
Stream = grpc.aio.UnaryStreamCall[pb.ExportEventsRequest, pb.ExportEventsResponse]


@dataclass(frozen=True)
class Crowded:
    """What there was beside the stalled exports: whole exports, lists, and the seconds that lists took alone and beside
    them, of a hundred all but one."""

    exports: int
    lists: int
    alone: float
    beside: float


async def fill(stub: "IngestServiceAsyncStub") -> None:
    """Stores what the crowd exports."""
    for start in range(0, EVENTS, 1000):
        await send(stub, COMPANY, [grapfy(number, x="x" * EVENT_BYTES) for number in range(start, start + 1000)])


async def check_crowd(
    stub: "IngestServiceAsyncStub",
    connection: Connection,
    database_url: str,
    folder: Path,
    *,
    stalled: int = 10,
    live: int = 4,
    lists: int = 60,
    seconds: float = 0,
) -> Crowded:
    """Lists that often, and for so long, beside such exports of a database that has been filled, while events are
    written. The service and the callers that export are processes of their own. Raises AssertionError when a list is
    not as it should be or takes far longer than alone, when a connection goes on seeing a state of long ago, or when
    one does not come back in the end."""
    connections: dict[str, Any] = {"database_connections": QUERY_CONNECTIONS, "export_connections": EXPORT_CONNECTIONS}
    async with (
        export_process(database_url, folder, **connections) as process,
        grpc.aio.insecure_channel(process.address, CHANNEL_OPTIONS) as channel,
    ):
        export, query = ExportServiceStub(channel), EventQueryServiceStub(channel)
        # The first ones open connections.
        alone = [await _list(query) for _ in range(10 + lists)][10:]
        streams = [await _begun(export) for _ in range(stalled)]
        # Nobody takes anything, so nothing is read, and nothing is held.
        await eventually(lambda: is_idle(connection), what="stalled exports hold no connection")
        beside: list[float] = []
        async with _exporting_again_and_again(process.address, live) as counts:
            until = time.monotonic() + seconds
            while len(beside) < lists or time.monotonic() < until or not all(counts):
                beside.append(await _list(query))
                if len(beside) % 10 == 0:
                    await send(stub, COMPANY, [grapfy(f"late {len(beside)}")])
                    await _nobody_looks_back(connection)
        await eventually(lambda: is_idle(connection), what="exports that were left hold no connection")
        # They stall to the end, and are whole all the same: had their callers gone on, they would have got everything.
        await _finish(streams[: stalled // 2])
        for stream in streams[stalled // 2 :]:
            stream.cancel()
        await eventually(lambda: is_idle(connection), what="all connections are idle")
        # With a connection less these would take turns at what is left, with none they would wait for ever.
        again = await asyncio.gather(*(exported(export, COMPANY, NDJSON) for _ in range(2 * EXPORT_CONNECTIONS)))
        assert len({one.trailer.sha256 for one in again}) == 1
    crowded = Crowded(sum(counts), len(beside), _all_but_one(alone), _all_but_one(beside))
    assert crowded.beside < max(SECONDS, TIMES_ALONE * crowded.alone), crowded
    return crowded


async def is_idle(connection: Connection) -> bool:
    """Whether no service is doing anything in the database, nor holding on to a state of it."""
    busy = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'hookline'"
        " AND (state <> 'idle' OR backend_xmin IS NOT NULL)"
    )
    return bool(busy == 0)


async def _list(query: "EventQueryServiceAsyncStub") -> float:
    began = time.perf_counter()
    answer = await query.ListEvents(ListEventsRequest(company_id=COMPANY, page_size=20), timeout=30)
    took = time.perf_counter() - began
    assert len(answer.events) == 20
    return took


def _all_but_one(seconds: list[float]) -> float:
    """The 99th percentile."""
    return sorted(seconds)[-1 - len(seconds) // 100]


async def _begun(export: "ExportServiceAsyncStub") -> Stream:
    stream = export.ExportEvents(REQUEST)
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
async def _exporting_again_and_again(address: str, count: int) -> AsyncIterator[list[int]]:
    """So many callers, in a process of their own, that export one file after the other; gives how many each has. Leaves
    them where they are."""
    counts = [0] * count
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.export_crowd", address, str(count), stdout=PIPE
    )
    assert process.stdout
    lines = process.stdout

    async def note() -> None:
        async for line in lines:
            counts[int(line)] += 1

    noting = asyncio.create_task(note())
    try:
        yield counts
        assert process.returncode is None, "a caller has ended: what it says stands above"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await noting


async def _go_on(address: str, count: int) -> None:
    """Exports again and again, and prints the caller's number whenever one has a whole file."""
    async with grpc.aio.insecure_channel(address, CHANNEL_OPTIONS) as channel:
        export = ExportServiceStub(channel)

        async def go_on(number: int) -> None:
            while True:
                file = await exported(export, COMPANY, NDJSON)
                assert file.trailer.rows == file.header.last_sequence
                click.echo(number)

        await asyncio.gather(*map(go_on, range(count)))


async def _nobody_looks_back(connection: Connection) -> None:
    """Every connection comes to see what is committed now: no old row version is kept for it."""
    now = await connection.fetchval("SELECT pg_current_xact_id()::text::bigint")
    # Only the lower half of a transaction's number is in xmin; a test's numbers never get beyond it.
    await eventually(
        lambda: _none_before(connection, now),
        timeout=LOOK_BACK_SECONDS,
        what="no connection of a service sees a state of before this moment",
    )


async def _none_before(connection: Connection, moment: int) -> bool:
    old = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'hookline'"
        " AND backend_xmin::text::bigint < $1",
        moment,
    )
    return bool(old == 0)


if __name__ == "__main__":
    asyncio.run(_go_on(sys.argv[1], int(sys.argv[2])))
