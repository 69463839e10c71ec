"""Many writers at once, and the books on what they were told: what fault tests hold against what is stored."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import grpc

from hookline.client.requests import CHANNEL_OPTIONS
from hookline.ingest.v1 import ingest_service_pb2 as pb
from hookline.ingest.v1.endpoint_service_pb2_grpc import EndpointServiceStub
from hookline.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub
from shared.db import Connection
from tests.hooks import NotTakenNowError, open_endpoint, post
from tests.ledger import check_ledger
from tests.samples import ACCEPTED, DUPLICATE, grapfy, incoming
from tests.waiting import eventually

if TYPE_CHECKING:
    from hookline.ingest.v1.ingest_service_pb2_grpc import IngestServiceAsyncStub

WRITERS = 50
BATCH = 20
# Keys that writers choose from: far more often one that someone else is sending, too, than a new one.
WINDOW = 300
COMPANIES = ("acme", "bolt", "coil")
# What a caller has to live with while processes die.
_PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED)

Key = tuple[str, str]


def is_passing(error: BaseException) -> bool:
    """Whether a caller has to expect that of a process that dies or stops."""
    match error:
        case grpc.aio.AioRpcError():
            is_ours = any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata() or ())
            # Without our details INTERNAL is gRPC's own word for a connection that broke.
            return error.code() in _PASSING or (error.code() == grpc.StatusCode.INTERNAL and not is_ours)
        case NotTakenNowError() | aiohttp.ClientError():
            return True
    return False


class Load:
    """Writers of overlapping, unsorted batches: one by one, in batches, over streams, and through the door.

    `acknowledged` holds for each event where it was said to lie; `problems` what must never be said.
    """

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._newest: Counter[str] = Counter()
        self._answers = 0
        self._sent: set[Key] = set()
        self._accepted: set[Key] = set()
        self.acknowledged: dict[Key, tuple[str, int]] = {}
        self.refusals: Counter[str] = Counter()
        self.problems: list[str] = []
        self._endpoints: dict[str, str] = {}

    @asynccontextmanager
    async def running(self, address: str, door: str | None = None) -> AsyncIterator[None]:
        """Writes until the block ends: to the gRPC address, and with a `door` every fourth writer to that one."""
        if door and not self._endpoints:
            async with grpc.aio.insecure_channel(address) as channel:
                for company in COMPANIES:
                    path = await open_endpoint(EndpointServiceStub(channel), company, "grapfy", "grapfy")
                    self._endpoints[company] = f"http://{door}{path}"
        stopping = asyncio.Event()
        writers = [
            asyncio.create_task(
                self._post(number, stopping) if door and number % 4 == 3 else self._write(address, number, stopping)
            )
            for number in range(WRITERS)
        ]
        try:
            yield
        finally:
            stopping.set()
            await asyncio.gather(*writers)

    async def answered(self) -> None:
        """Waits until calls that began after this moment have been acknowledged."""
        # Each writer has one call under way at most.
        enough = self._answers + 2 * WRITERS
        await eventually(lambda: self._answers >= enough, timeout=60, what="writers are acknowledged")

    async def verify(self, connection: Connection) -> None:
        """Holds what is stored against what was said. Not while writers run."""
        assert not self.problems, self.problems[:20]
        await check_ledger(connection)
        rows = await connection.fetch(
            "SELECT company_id, dedup_key, event_id::text, sequence, payload FROM hookline.events"
        )
        stored = {(row[0], row[1]): (row[2], row[3]) for row in rows}
        lost = {key: place for key, place in self.acknowledged.items() if stored.get(key) != place}
        assert not lost, f"{len(lost)} acknowledged events are not stored as said, such as {next(iter(lost.items()))}"
        assert stored.keys() <= self._sent, "events are stored that no one sent"
        altered = [row[1] for row in rows if json.loads(row["payload"]) != json.loads(grapfy(row["dedup_key"]))]
        assert not altered, f"{len(altered)} events are stored with another payload, such as {altered[0]}"

    async def _write(self, address: str, number: int, stopping: asyncio.Event) -> None:
        rng = random.Random(f"{self._seed}/{number}")
        write = (self._write_one, self._write_batch, self._write_stream)[number % 3]
        options = [*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 200)]
        async with grpc.aio.insecure_channel(address, options) as channel:
            stub = IngestServiceStub(channel)
            while not stopping.is_set():
                try:
                    await write(stub, rng)
                except grpc.aio.AioRpcError as error:
                    if not self._is_borne(error, error.code().name):
                        return
                    await asyncio.sleep(0.05)

    async def _post(self, number: int, stopping: asyncio.Event) -> None:
        rng = random.Random(f"{self._seed}/{number}")
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session:
            while not stopping.is_set():
                company, [key, *_] = self._choose(rng)
                try:
                    result = await post(session, self._endpoints[company], grapfy(key))
                except (NotTakenNowError, aiohttp.ClientError, TimeoutError) as error:
                    if not self._is_borne(error, "503" if isinstance(error, NotTakenNowError) else "no answer"):
                        return
                    await asyncio.sleep(0.05)
                else:
                    self._note(company, [key], [result])

    def _is_borne(self, error: BaseException, told: str) -> bool:
        """Counts what a writer was told instead of an answer; False when it should never have been."""
        self.refusals[told] += 1
        if is_passing(error):
            return True
        self.problems.append(f"{told}: {error}")
        return False

    async def _write_one(self, stub: "IngestServiceAsyncStub", rng: random.Random) -> None:
        company, [key, *_] = self._choose(rng)
        request = pb.IngestEventRequest(company_id=company, event=incoming(grapfy(key)))
        self._note(company, [key], [(await stub.IngestEvent(request)).result])

    async def _write_batch(self, stub: "IngestServiceAsyncStub", rng: random.Random) -> None:
        company, keys = self._choose(rng)
        events = [incoming(grapfy(key)) for key in keys]
        answer = await stub.IngestEvents(pb.IngestEventsRequest(company_id=company, events=events))
        self._note(company, keys, answer.results)

    async def _write_stream(self, stub: "IngestServiceAsyncStub", rng: random.Random) -> None:
        company, _ = self._choose(rng)
        batches = [self._choose(rng, company)[1] for _ in range(5)]
        requests = [
            pb.IngestEventStreamRequest(
                company_id=company, batch_number=number, events=[incoming(grapfy(key)) for key in keys]
            )
            for number, keys in enumerate(batches)
        ]
        acknowledged = []
        async for ack in stub.IngestEventStream(iter(requests)):
            self._note(company, batches[ack.batch_number], ack.results)
            acknowledged.append(ack.batch_number)
        if acknowledged != list(range(len(batches))):
            self.problems.append(f"a stream of {len(batches)} batches ended well, and acknowledged {acknowledged}")

    def _choose(self, rng: random.Random, company: str = "") -> tuple[str, list[str]]:
        company = company or rng.choice(COMPANIES)
        self._newest[company] += BATCH // 4
        newest = self._newest[company]
        keys = [f"evt_{number}" for number in rng.sample(range(max(0, newest - WINDOW), newest + BATCH), BATCH)]
        self._sent.update((company, key) for key in keys)
        return company, keys

    def _note(self, company: str, keys: Sequence[str], results: Sequence[pb.IngestResult]) -> None:
        if len(keys) != len(results):
            self.problems.append(f"{len(results)} results for {len(keys)} events")
        for key, result in zip(keys, results, strict=False):
            event, place = (company, key), (result.event_id, result.sequence)
            if result.outcome not in (ACCEPTED, DUPLICATE) or result.payload_differs:
                self.problems.append(f"{event} was answered with {result}")
            if self.acknowledged.setdefault(event, place) != place:
                self.problems.append(f"{event} lies at {place} and at {self.acknowledged[event]}")
            if result.outcome == ACCEPTED:
                if event in self._accepted:
                    self.problems.append(f"{event} was accepted twice")
                self._accepted.add(event)
        self._answers += 1
