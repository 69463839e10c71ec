"""Exports of a million events: their speed, the time to the first chunk, and the memory that a slow reader costs."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc
import psutil

from bench.exports import Exported, compared
from bench.filled import MILLION, Filled
from bench.many_events import BIG, SMALL
from bench.measure import AtMost, AtMostAbove, InexactError, Measurement, percentile
from bench.suite import Bench
from hookline.client.requests import CHANNEL_OPTIONS
from hookline.export.v1.export_service_pb2 import ExportEventsRequest, ExportFormat
from hookline.export.v1.export_service_pb2_grpc import ExportServiceStub

if TYPE_CHECKING:
    from hookline.export.v1.export_service_pb2_grpc import ExportServiceAsyncStub

FIRST_CHUNKS = 40
SLOW_BYTES_PER_SECOND = 1_000_000
SLOW_SECONDS = 40
SLOW_SECONDS_FULL = 120
_MIB = 1024 * 1024
_FORMATS = {"CSV": ExportFormat.EXPORT_FORMAT_CSV, "JSON": ExportFormat.EXPORT_FORMAT_JSON}


async def run_csv(filled: Filled) -> Measurement:
    return await compared(await filled.bench(), Exported(BIG, MILLION, 0), "csv", "1m", rounds=5, warm_up=1)


async def run_json(filled: Filled) -> Measurement:
    return await compared(await filled.bench(), Exported(BIG, MILLION, 0), "json", "1m", rounds=3, warm_up=1)


async def run_first_chunk(filled: Filled) -> Measurement:
    """From the call to the first data, of exports that are dropped then."""
    milliseconds: dict[str, list[float]] = {name: [] for name in _FORMATS}
    async with _stub(await filled.bench()) as stub:
        for _ in range(FIRST_CHUNKS):
            for name, file_format in _FORMATS.items():
                # A dropped export leaves its connections to be opened anew; who comes next is not to pay for that.
                async for _message in stub.ExportEvents(_request(file_format, SMALL)):
                    pass
                milliseconds[name].append(await _first_chunk(stub, file_format) * 1000)
    slower = max(milliseconds, key=lambda name: statistics.median(milliseconds[name]))
    return Measurement(
        "export_first_chunk",
        statistics.median(milliseconds[slower]),
        "ms",
        "a limit",
        20.0,
        AtMost(20, "ms"),
        [
            f"{name}: median {statistics.median(taken):.1f} ms, {min(taken):.1f} to {max(taken):.1f} ms,"
            f" p99 {percentile(taken, 99):.1f} ms"
            for name, taken in milliseconds.items()
        ],
    )


async def run_memory(filled: Filled, seconds: int = SLOW_SECONDS) -> Measurement:
    """The export service while one caller reads a megabyte a second: the most of a second, from half a second on."""
    bench = await filled.bench()
    service = psutil.Process(bench.suite.process("export").pid)
    async with _stub(bench) as stub:
        # Exports have been made before: what a first one loads and keeps is no part of it.
        await _first_chunk(stub, ExportFormat.EXPORT_FORMAT_CSV)
        await asyncio.sleep(1)
        before = service.memory_info().rss
        most, read = before, 0
        began = time.monotonic()
        async for message in stub.ExportEvents(_request(ExportFormat.EXPORT_FORMAT_CSV)):
            read += len(message.chunk.data)
            most = max(most, service.memory_info().rss)
            await asyncio.sleep(max(0.0, began + read / SLOW_BYTES_PER_SECOND - time.monotonic()))
            if time.monotonic() - began > seconds:
                break
        else:
            raise InexactError(f"the export was to last {seconds} s, and ended after {read} bytes")
    took = time.monotonic() - began
    return Measurement(
        "export_memory",
        most / _MIB,
        "MiB",
        "resident size before",
        before / _MIB,
        AtMostAbove(32, "MiB"),
        [f"{took:.0f} s of a reader of {read / took / 1e6:.2f} MB/s: + {(most - before) / _MIB:.1f} MiB at most"],
    )


async def run_memory_full(filled: Filled) -> Measurement:
    return await run_memory(filled, SLOW_SECONDS_FULL)


@asynccontextmanager
async def _stub(bench: Bench) -> AsyncIterator["ExportServiceAsyncStub"]:
    async with grpc.aio.insecure_channel(bench.suite.addresses["export"], CHANNEL_OPTIONS) as channel:
        yield ExportServiceStub(channel)


async def _first_chunk(stub: "ExportServiceAsyncStub", file_format: ExportFormat.ValueType) -> float:
    began = time.perf_counter()
    call = stub.ExportEvents(_request(file_format))
    async for message in call:
        if message.WhichOneof("part") == "chunk":
            break
    seconds = time.perf_counter() - began
    call.cancel()
    return seconds


def _request(file_format: ExportFormat.ValueType, company: str = BIG) -> ExportEventsRequest:
    return ExportEventsRequest(company_id=company, format=file_format)
