"""Unary ingest by 50 callers, each event committed before it is acknowledged, against a server that does nothing."""

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc

from bench.measure import AtLeast, InexactError, Measurement, side_by_side, spread
from bench.open_loop import at_rate
from bench.suite import running
from hookline.client.requests import CHANNEL_OPTIONS
from hookline.ingest.v1.ingest_service_pb2 import IncomingEvent, IngestEventRequest, Outcome
from hookline.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub
from services.suite.ports import free_address
from services.suite.samples import grapfy_payloads

if TYPE_CHECKING:
    from hookline.ingest.v1.ingest_service_pb2_grpc import IngestServiceAsyncStub


CALLERS = 50
EVENTS = 10_000
ROUNDS = 5
_PERCENTILES = {"p50": 500, "p99": 990, "p99.9": 999}


async def run() -> Measurement:
    requests = [
        IngestEventRequest(event=IncomingEvent(platform="grapfy", payload=payload))
        for payload in grapfy_payloads(EVENTS)
    ]
    async with running() as bench, _echo() as echo:
        await _call(bench.ingest, "warm-up", requests)
        await _call(echo, "warm-up", requests)
        latencies: tuple[list[float], list[float]] = ([], [])

        async def ingest(number: int) -> float:
            company = f"ingest-{number}"
            speed, seconds = await _call(bench.ingest, company, requests)
            await bench.check_log(company, EVENTS)
            latencies[0].extend(seconds)
            return speed

        async def nothing(number: int) -> float:
            speed, seconds = await _call(echo, f"echo-{number}", requests)
            latencies[1].extend(seconds)
            return speed

        ours, rival = await side_by_side(ROUNDS, ingest, nothing)
        half = statistics.median(ours) / 2
        calm = [
            percentiles(await at_rate(_caller(stub, f"half-{name}"), requests, half))
            for name, stub in (("ingest", bench.ingest), ("echo", echo))
        ]
        await bench.check_log("half-ingest", EVENTS)
        return Measurement(
            "ingest_unary",
            statistics.median(ours),
            "calls/s",
            "an empty unary gRPC echo",
            statistics.median(rival),
            AtLeast(0.7),
            (
                f"{spread('ingest', ours)}; {percentiles(latencies[0])}",
                f"{spread('echo', rival)}; {percentiles(latencies[1])}",
                f"at half load, {half:,.0f} calls a second that come at random: ingest {calm[0]}; echo {calm[1]}",
            ),
        )


async def _call(
    stub: "IngestServiceAsyncStub", company: str, requests: list[IngestEventRequest]
) -> tuple[float, list[float]]:
    """Every request once, by 50 callers who each wait for their answer. Gives calls per second, and each one's time."""
    left: Iterator[IngestEventRequest] = iter(requests)
    call = _caller(stub, company)
    seconds: list[float] = []

    async def caller() -> None:
        for request in left:
            began = time.perf_counter()
            await call(request)
            seconds.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return len(requests) / (time.perf_counter() - began), seconds


def _caller(stub: "IngestServiceAsyncStub", company: str) -> Callable[[IngestEventRequest], Awaitable[None]]:
    async def call(request: IngestEventRequest) -> None:
        request.company_id = company
        response = await stub.IngestEvent(request)
        if response.result.outcome != Outcome.OUTCOME_ACCEPTED:
            raise InexactError(f"{company}: an event was to be accepted, not {response.result}")

    return call


def percentiles(seconds: list[float]) -> str:
    """The usual and the worst times of a call, for the details."""
    cuts = statistics.quantiles(seconds, n=1000)
    return ", ".join(f"{name} {cuts[cut - 1] * 1000:.1f} ms" for name, cut in _PERCENTILES.items())


@asynccontextmanager
async def _echo() -> "AsyncIterator[IngestServiceAsyncStub]":
    address = free_address()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.echo_server",
        address,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if await process.stdout.readline() != b"serving\n":
            raise RuntimeError("the echo server did not start")
        async with grpc.aio.insecure_channel(address, CHANNEL_OPTIONS) as channel:
            yield IngestServiceStub(channel)
    finally:
        process.stdin.close()
        await process.wait()
