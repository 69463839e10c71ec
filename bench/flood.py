"""A company that calls far beyond its limit: `python -m bench.flood <host:port> <company> <calls a second>`.

A process of its own. With a line on its standard input it begins to call at that rate, whatever the answers; with the
next it stops, and prints how many calls it made and how many of them were refused, as JSON; and so on until the end."""

import asyncio
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import grpc
import msgspec

from hookline.ingest.v1.ingest_service_pb2 import IncomingEvent, IngestEventRequest
from hookline.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub
from services.suite.samples import grapfy_payloads

if TYPE_CHECKING:
    from hookline.ingest.v1.ingest_service_pb2_grpc import IngestServiceAsyncStub

# More than are ever taken: they are made one by one.
_PAYLOADS = 10_000_000


class Made(msgspec.Struct, frozen=True):
    """What it prints."""

    calls: int
    refused: int


async def main(address: str, company: str, per_second: str) -> None:
    # It stands for a caller of another machine's: what making the calls costs is not to be the server's.
    os.nice(19)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    payloads = grapfy_payloads(_PAYLOADS)
    async with grpc.aio.insecure_channel(address) as channel:
        stub = IngestServiceStub(channel)
        while await lines.readline():
            stopped = asyncio.create_task(lines.readline())
            made = await _flood(stub, company, payloads, float(per_second), stopped)
            print(msgspec.json.encode(made).decode(), flush=True)


async def _flood(
    stub: "IngestServiceAsyncStub",
    company: str,
    payloads: Iterator[bytes],
    per_second: float,
    stopped: "asyncio.Task[bytes]",
) -> Made:
    made = refused = 0

    async def call() -> None:
        nonlocal refused
        event = IncomingEvent(platform="grapfy", payload=next(payloads))
        try:
            await stub.IngestEvent(IngestEventRequest(company_id=company, event=event))
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            refused += 1

    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.TaskGroup() as calls:
        while not stopped.done():
            # As many as are due by now: a sleep that takes longer makes it no slower.
            while made < (loop.time() - began) * per_second:
                calls.create_task(call())
                made += 1
            await asyncio.sleep(0.001)
    return Made(made, refused)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
