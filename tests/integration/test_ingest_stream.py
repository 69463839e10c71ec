"""Batches over a stream: acknowledged in order, held back when the caller is too fast, ended with a status."""

import asyncio
from collections.abc import AsyncIterator, Iterable

import grpc

from hookline.ingest.v1 import ingest_service_pb2 as pb
from shared.db import Connection
from tests.blocking import blocked, is_waiting_for_a_lock
from tests.in_process import Ingesting, ingesting
from tests.ledger import check_ledger
from tests.refusals import refused
from tests.samples import grapfy, incoming, outcomes
from tests.waiting import eventually


def batch(number: int, events: Iterable[bytes], company: str = "acme") -> pb.IngestEventStreamRequest:
    return pb.IngestEventStreamRequest(
        company_id=company, batch_number=number, events=[incoming(event) for event in events]
    )


async def test_batches_are_acknowledged_in_the_order_sent(ingest: Ingesting, connection: Connection) -> None:
    # From large to small: the small ones would be done first.
    sizes = [500, 300, 100, 50, 10, 0, 1, 1]
    numbers = iter(range(10**6))
    batches = [batch(7 * place, [grapfy(next(numbers)) for _ in range(size)]) for place, size in enumerate(sizes)]
    acks = [ack async for ack in ingest.stub.IngestEventStream(iter(batches))]
    assert [(ack.batch_number, len(ack.results)) for ack in acks] == [(7 * n, size) for n, size in enumerate(sizes)]
    assert [result.sequence for ack in acks for result in ack.results] == list(range(1, sum(sizes) + 1))
    await check_ledger(connection, {"acme": sum(sizes)})


async def test_each_batch_is_acknowledged_though_the_stream_stays_open(ingest: Ingesting) -> None:
    stream = ingest.stub.IngestEventStream()
    for number in range(3):
        await stream.write(batch(number, [grapfy(number), b"{}"], company="acme" if number == 0 else ""))
        ack = await stream.read()
        assert isinstance(ack, pb.IngestEventStreamResponse)
        assert ack.batch_number == number
        assert outcomes(ack.results) == ["ACCEPTED", "QUARANTINED PLATFORM_UNRECOGNISED"]
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    assert await stream.code() == grpc.StatusCode.OK


async def test_an_empty_stream_is_fine(ingest: Ingesting) -> None:
    assert [ack async for ack in ingest.stub.IngestEventStream(iter([]))] == []


async def test_another_company_later_on_ends_the_stream_after_what_came_before(
    ingest: Ingesting, connection: Connection
) -> None:
    stream = ingest.stub.IngestEventStream(
        iter([batch(1, [grapfy(1)]), batch(2, [grapfy(2)], "bolt"), batch(3, [grapfy(3)])])
    )
    acks = []

    async def read() -> AsyncIterator[None]:
        async for ack in stream:
            acks.append(ack.batch_number)
            yield

    refusal = await refused(read())
    assert (refusal.code, list(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["company_id"])
    assert acks == [1]
    await check_ledger(connection, {"acme": 1})


async def test_a_batch_of_too_many_events_ends_the_stream(ingest: Ingesting) -> None:
    refusal = await refused(ingest.stub.IngestEventStream(iter([batch(1, [b"{}"] * 10_001)])))
    assert (refusal.code, list(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["events"])


async def test_a_caller_that_is_too_fast_is_held_back(database_url: str, connection: Connection) -> None:
    async with ingesting(database_url) as ingest, blocked(connection):
        stream = ingest.stub.IngestEventStream()
        written = 0

        async def write() -> None:
            nonlocal written
            for number in range(100):
                await stream.write(batch(number, [grapfy(number, x="x" * 1_000_000)]))
                written += 1
            await stream.done_writing()

        writing = asyncio.create_task(write())
        last = -1
        # Until a whole second has brought no progress: the only sign of waiting there is.
        while last != written:
            last = written
            await asyncio.sleep(1)
        assert 4 <= written < 50
        writing.cancel()
        stream.cancel()


async def test_what_a_stopping_server_has_read_is_acknowledged(database_url: str, connection: Connection) -> None:
    async with ingesting(database_url) as ingest:
        stream = ingest.stub.IngestEventStream()
        async with blocked(connection):
            await stream.write(batch(1, [grapfy(1)]))
            await eventually(lambda: is_waiting_for_a_lock(connection), what="the batch is under way")
            ingest.stopping.set()
        ack = await stream.read()
        assert isinstance(ack, pb.IngestEventStreamResponse)
        assert outcomes(ack.results) == ["ACCEPTED"]
        refusal = await refused(stream.read())
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_STOPPING")
        await ingest.stopped
    await check_ledger(connection, {"acme": 1})
