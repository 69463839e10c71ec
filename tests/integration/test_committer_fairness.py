"""A company that floods the service takes nothing from another: room in the queue, turns at PostgreSQL."""

import asyncio
import itertools
import statistics
from collections.abc import AsyncIterator, Iterator

import grpc

from hookline.ingest.v1 import ingest_service_pb2 as pb
from shared.db import Connection
from tests.blocking import blocked, is_waiting_for_a_lock
from tests.in_process import Ingesting, ingesting
from tests.ledger import check_ledger
from tests.refusals import refused
from tests.samples import grapfy, incoming, outcomes, send
from tests.waiting import eventually

STREAMS = 4
BATCH = 1000
CALLS = 20
# Its own share of the queue is full with some of these batches.
QUEUED_BYTES = 16 * 1024 * 1024


class Flood:
    """Streams of big batches, sent as fast as they are taken, until the block ends."""

    def __init__(self, ingest: Ingesting, company: str) -> None:
        self._ingest = ingest
        self._company = company
        self._numbers: Iterator[int] = itertools.count()
        self._stopping = False
        self.accepted = 0

    async def __aenter__(self) -> "Flood":
        self._streams = [asyncio.create_task(self._send()) for _ in range(STREAMS)]
        await eventually(lambda: self.accepted > 2 * BATCH, what="the flood is under way")
        return self

    async def __aexit__(self, *error: object) -> None:
        self._stopping = True
        await asyncio.gather(*self._streams)

    async def _send(self) -> None:
        async for ack in self._ingest.stub.IngestEventStream(self._batches()):
            assert outcomes(ack.results) == ["ACCEPTED"] * BATCH
            self.accepted += BATCH

    async def _batches(self) -> AsyncIterator[pb.IngestEventStreamRequest]:
        while not self._stopping:
            # Prepared a little at a time: the service shares this process.
            events = []
            for _ in range(BATCH):
                events.append(incoming(grapfy(next(self._numbers), x="x" * 500), platform="grapfy"))
                if len(events) % 50 == 0:
                    await asyncio.sleep(0)
            yield pb.IngestEventStreamRequest(company_id=self._company, events=events)


async def test_single_calls_get_through_the_flood_of_another_company(database_url: str, connection: Connection) -> None:
    passed = []
    async with ingesting(database_url, max_queued_bytes=QUEUED_BYTES) as ingest, Flood(ingest, "flood") as flood:
        # What is done for a company once, is done.
        await send(ingest.stub, "acme", [grapfy(0)])
        for number in range(1, CALLS):
            before = await connection.fetchval(
                "SELECT last_sequence FROM hookline.companies WHERE company_id = 'flood'"
            )
            # Raises when it is refused.
            request = pb.IngestEventRequest(company_id="acme", event=incoming(grapfy(number)))
            answer = await ingest.stub.IngestEvent(request)
            assert (outcomes([answer.result]), answer.result.sequence) == (["ACCEPTED"], number + 1)
            passed.append((number + 1, before))
    # Batches of the flood that were committed between a call and its event. Events committed together have one time of
    # receipt, and these times follow the order of commits.
    batches = [
        await connection.fetchval(
            "SELECT count(DISTINCT e.received_time) FROM hookline.events e"
            " WHERE e.company_id = 'flood' AND e.sequence > $2 AND e.received_time <"
            " (SELECT received_time FROM hookline.events WHERE company_id = 'acme' AND sequence = $1)",
            sequence,
            before,
        )
        for sequence, before in passed
    ]
    assert statistics.median(batches) <= 2
    assert max(batches) <= 6
    await check_ledger(connection, {"acme": CALLS, "flood": flood.accepted})


async def test_single_calls_get_into_the_queue_beside_the_streams_of_their_own_company(
    database_url: str, connection: Connection
) -> None:
    async with ingesting(database_url, max_queued_bytes=QUEUED_BYTES) as ingest, Flood(ingest, "flood") as flood:
        for number in range(3):
            assert outcomes(await send(ingest.stub, "flood", [grapfy(f"single-{number}")])) == ["ACCEPTED"]
    await check_ledger(connection, {"flood": flood.accepted + 3})


async def test_a_company_whose_commits_are_stuck_holds_up_no_other(database_url: str, connection: Connection) -> None:
    batches = [[grapfy(f"{batch}-{number}") for number in range(600)] for batch in range(3)]
    async with ingesting(database_url, max_queued_bytes=4 * 1024 * 1024) as ingest:
        async with blocked(connection, "acme"):
            # Two fill its share of the queue, and are all that it may have under way.
            taken = [asyncio.ensure_future(send(ingest.stub, "acme", batch)) for batch in batches[:2]]
            await eventually(lambda: is_waiting_for_a_lock(connection), what="the first batch waits for the row")
            refusal = await refused(send(ingest.stub, "acme", batches[2]))
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "INGEST_QUEUE_FULL")
            assert refusal.retry_seconds
            for number in range(50):
                [result] = await send(ingest.stub, "bolt", [grapfy(number)])
                assert (outcomes([result]), result.sequence) == (["ACCEPTED"], number + 1)
        for results in await asyncio.gather(*taken):
            assert outcomes(results) == ["ACCEPTED"] * 600
    await check_ledger(connection, {"acme": 1200, "bolt": 50})
