"""Webhooks by HTTP from 50 callers, each committed before its 200, against a server that does nothing."""

import asyncio
import statistics
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec

from bench.http_caller import Seen
from bench.ingest_unary import CALLERS, EVENTS, ROUNDS
from bench.measure import AtLeast, InexactError, Measurement, side_by_side, spread
from bench.suite import running
from services.suite.ports import free_address

_WARM_UP = 2_000


async def run() -> Measurement:
    async with running() as bench, _empty() as empty:
        door = bench.suite.settings.http_address
        seen: tuple[list[Seen], list[Seen]] = ([], [])

        async def ingest(company: str, events: int) -> Seen:
            made = await bench.client.create_endpoint(company, platform="grapfy")
            one = await _call(door, f"/v1/hooks/{made.token}", events, '"accepted"')
            await bench.check_log(company, events)
            return one

        async def ours(number: int) -> float:
            seen[0].append(await ingest(f"http-{number}", EVENTS))
            return EVENTS / seen[0][-1].seconds

        async def rival(number: int) -> float:
            seen[1].append(await _call(empty, f"/{number}", EVENTS, ""))
            return EVENTS / seen[1][-1].seconds

        await ingest("warm-up", _WARM_UP)
        await _call(empty, "/warm-up", _WARM_UP, "")
        door_speeds, empty_speeds = await side_by_side(ROUNDS, ours, rival)
        return Measurement(
            "ingest_http",
            statistics.median(door_speeds),
            "calls/s",
            "an empty 200 of the same HTTP server",
            statistics.median(empty_speeds),
            AtLeast(0.4),
            (
                f"{spread('door', door_speeds)}; {_times(seen[0])}",
                f"{spread('empty 200', empty_speeds)}; {_times(seen[1])}",
            ),
        )


def _times(rounds: Sequence[Seen]) -> str:
    p50, p99 = (statistics.median(getattr(one, name) * 1000 for one in rounds) for name in ("p50", "p99"))
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"


async def _call(address: str, path: str, events: int, wanted: str) -> Seen:
    """Every event once. Raises InexactError when one was not answered as wanted."""
    arguments = ["-m", "bench.http_caller", address, path, str(CALLERS), str(events), wanted]
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError("the callers did not get through")
    seen = msgspec.json.decode(said, type=Seen)
    if seen.good != events:
        raise InexactError(f"{path}: {events} events were to be answered {wanted or '200'}, and {seen.good} were")
    return seen


@asynccontextmanager
async def _empty() -> AsyncIterator[str]:
    address = free_address()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bench.empty_http_server", address),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if await process.stdout.readline() != b"serving\n":
            raise RuntimeError("the empty server did not start")
        yield address
    finally:
        process.stdin.close()
        await process.wait()
