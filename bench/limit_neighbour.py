"""A company calls at 20 times its limit, and another one works beside it: how much longer the other's calls take."""

import asyncio
import statistics
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import grpc
import msgspec

from bench.flood import Made
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
ROUNDS = 15
_FLOOD, _CALM = "flood", "calm"


async def run() -> Measurement:
    async with running() as bench:
        await limits.put(bench.database, _FLOOD, Limits(requests_per_second=LIMIT))
        # More than are ever taken: they are made one by one.
        payloads = grapfy_payloads(10_000_000)
        await _is_limited(bench, payloads)
        alone: list[float] = []
        beside: list[float] = []
        floods: list[Made] = []
        await _calls(bench, payloads)
        async with _flood(bench) as flood:
            for number in range(ROUNDS):
                for with_flood in (False, True) if number % 2 == 0 else (True, False):
                    if with_flood:
                        await flood.start()
                        beside += await _calls(bench, payloads)
                        floods.append(await flood.stop())
                    else:
                        alone += await _calls(bench, payloads)
        await bench.check_log(_CALM, CALLS * (2 * ROUNDS + 1))
        calls, refused = sum(one.calls for one in floods), sum(one.refused for one in floods)
        seconds = ROUNDS * CALLS / CALM_PER_SECOND
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
                f"the other, limited to {LIMIT} calls a second, made {calls / seconds:,.0f} a second;"
                f" {refused / calls:.0%} of them were refused",
            ),
        )


class _Flood:
    """A process that calls far beyond its limit when told to: see `bench.flood`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._told, self._tells = process.stdin, process.stdout

    async def start(self) -> None:
        self._told.write(b"start\n")
        await self._told.drain()

    async def stop(self) -> Made:
        self._told.write(b"stop\n")
        return msgspec.json.decode(await self._tells.readline(), type=Made)

    async def close(self) -> None:
        self._told.close()
        await self._process.wait()


@asynccontextmanager
async def _flood(bench: Bench) -> AsyncIterator[_Flood]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.flood", bench.suite.addresses["ingest"], _FLOOD, str(LIMIT * TIMES)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    flood = _Flood(process)
    try:
        # Once, so that its start is over when it counts.
        await flood.start()
        await flood.stop()
        yield flood
    finally:
        await flood.close()


async def _calls(bench: Bench, payloads: Iterator[bytes]) -> list[float]:
    return await at_rate(_caller(bench, _CALM), [next(payloads) for _ in range(CALLS)], CALM_PER_SECOND)


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
