"""Exports of a million events, and of ten: their speed, the time to the first chunk, and the memory that a slow reader
costs."""

import asyncio
import dataclasses
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal

import grpc
import psutil
from cryptography.fernet import Fernet

from bench.exports import Exported, compared
from bench.filled import MILLION, Filled
from bench.many_events import BIG, SMALL
from bench.measure import AtMost, AtMostAbove, InexactError, Measurement, percentile
from bench.suite import Bench
from hookline.client import AsyncClient
from hookline.client.requests import CHANNEL_OPTIONS
from hookline.export.v1.export_service_pb2 import ExportEventsRequest, ExportFormat
from hookline.export.v1.export_service_pb2_grpc import ExportServiceStub
from services.suite.ports import free_address

if TYPE_CHECKING:
    from hookline.export.v1.export_service_pb2_grpc import ExportServiceAsyncStub

TEN_MILLION = 10_000_000
FIRST_CHUNKS = 60
SLOW_BYTES_PER_SECOND = 1_000_000
SLOW_SECONDS = 30
SLOW_SECONDS_FULL = 120
_MIB = 1024 * 1024
_FORMATS = {"CSV": ExportFormat.EXPORT_FORMAT_CSV, "JSON": ExportFormat.EXPORT_FORMAT_JSON}


async def run_csv(filled: Filled) -> Measurement:
    return await compared(await filled.bench(), Exported(BIG, MILLION, MILLION // 2), "csv", "1m", rounds=5, warm_up=1)


async def run_json(filled: Filled) -> Measurement:
    return await compared(await filled.bench(), Exported(BIG, MILLION, MILLION // 2), "json", "1m", rounds=3, warm_up=1)


async def run_csv_10m(filled: Filled) -> Measurement:
    return await _compared_10m(filled, "csv")


async def run_json_10m(filled: Filled) -> Measurement:
    return await _compared_10m(filled, "json")


async def _compared_10m(
    filled: Filled, file_format: Literal["csv", "json"], events: int = TEN_MILLION, name: str = "10m"
) -> Measurement:
    async with _on(filled, events) as bench:
        return await compared(bench, Exported(BIG, events, events // 2), file_format, name, rounds=2, warm_up=0)


@asynccontextmanager
async def _on(filled: Filled, events: int) -> AsyncIterator[Bench]:
    """The suite's server, with an export service on the database with so many events."""
    bench, url, address = await filled.bench(), await filled.database_url(events), free_address()
    told = {
        "HOOKLINE_DATABASE_URL": url,
        "HOOKLINE_EXPORT_ADDRESS": address,
        "HOOKLINE_SECRET_KEY": Fernet.generate_key().decode(),
        "HOOKLINE_LOG_LEVEL": "warning",
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "services.export", env={**os.environ, **told})
    try:
        async with AsyncClient(export=address) as client:
            # Waits until the service answers.
            await client.list_page(BIG)
            yield dataclasses.replace(bench, client=client, database_url=url)
    finally:
        process.terminate()
        await process.wait()


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
    return Measurement(
        "export_first_chunk",
        max(percentile(taken, 99) for taken in milliseconds.values()),
        "ms, p99",
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
