"""A company calls at 20 times its limit, and another one works beside it: how much longer the other's calls take."""

import asyncio
import statistics
from collections.abc import Awaitable, Callable, Iterator

import grpc

from bench.ingest_unary import percentiles
from bench.measure import Below, InexactError, Measurement, percentile
from bench.open_loop import at_rate
from bench.suite import Bench, running
from hookline.ingest.v1.ingest_service_pb2 import IncomingEvent, IngestEventRequest
from services.suite.samples import grapfy_payloads
from shared import limits
from shared.limits import Limits

LIMIT = 20
TIMES = 20
CALM_PER_SECOND = 100
# Short turns: what else goes on on the machine meets both alike.
CALLS = 100
ROUNDS = 25
_FLOOD, _CALM = "flood", "calm"


async def run() -> Measurement:
    async with running() as bench:
        await limits.put(bench.database, _FLOOD, Limits(requests_per_second=LIMIT))
        # More than are ever taken: they are made one by one.
        payloads = grapfy_payloads(10_000_000)
        await _is_limited(bench, payloads)
        alone: list[float] = []
        beside: list[float] = []
        refused = made = 0
        await _calls(bench, payloads)
        for number in range(ROUNDS):
            for with_flood in (False, True) if number % 2 == 0 else (True, False):
                if with_flood:
                    seconds, counts = await _beside_a_flood(bench, payloads)
                    beside += seconds
                    made, refused = made + counts[0], refused + counts[1]
                else:
                    alone += await _calls(bench, payloads)
        await bench.check_log(_CALM, CALLS * (2 * ROUNDS + 1))
        return Measurement(
            "limit_neighbour",
            percentile(beside, 99) * 1000,
            "ms, p99",
            "the same calls with nobody beside them",
            percentile(alone, 99) * 1000,
            Below(1.5),
            (
                f"alone: {percentiles(alone)}; mean {statistics.fmean(alone) * 1000:.2f} ms",
                f"beside: {percentiles(beside)}; mean {statistics.fmean(beside) * 1000:.2f} ms",
                f"the other, limited to {LIMIT} a second, made {made:,} calls; {refused:,} were refused",
            ),
        )


async def _beside_a_flood(bench: Bench, payloads: Iterator[bytes]) -> tuple[list[float], tuple[int, int]]:
    stop = asyncio.Event()
    flood = asyncio.create_task(_flood(bench, payloads, stop))
    seconds = await _calls(bench, payloads)
    stop.set()
    return seconds, await flood


async def _calls(bench: Bench, payloads: Iterator[bytes]) -> list[float]:
    return await at_rate(_caller(bench, _CALM), [next(payloads) for _ in range(CALLS)], CALM_PER_SECOND)


async def _flood(bench: Bench, payloads: Iterator[bytes], stop: asyncio.Event) -> tuple[int, int]:
    """Calls at so many times the limit, whatever the answers, until told to stop; gives how many, and how many of them
    were refused."""
    call, made, refused = _caller(bench, _FLOOD), 0, 0

    async def one() -> None:
        nonlocal refused
        try:
            await call(next(payloads))
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            refused += 1

    async with asyncio.TaskGroup() as calls:
        while not stop.is_set():
            calls.create_task(one())
            made += 1
            await asyncio.sleep(1 / (LIMIT * TIMES))
    return made, refused


async def _is_limited(bench: Bench, payloads: Iterator[bytes]) -> None:
    """Until the limit holds: it is read every few seconds."""
    for _ in range(100):
        results = await asyncio.gather(
            *(_caller(bench, _FLOOD)(next(payloads)) for _ in range(2 * LIMIT)), return_exceptions=True
        )
        if any(isinstance(result, grpc.aio.AioRpcError) for result in results):
            return
        await asyncio.sleep(0.2)
    raise InexactError("the limit does not hold")


def _caller(bench: Bench, company: str) -> Callable[[bytes], Awaitable[None]]:
    async def call(payload: bytes) -> None:
        event = IncomingEvent(platform="grapfy", payload=payload)
        await bench.ingest.IngestEvent(IngestEventRequest(company_id=company, event=event))

    return call
