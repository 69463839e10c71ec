"""Exports that are broken off again and again while events are written and marked: the file is that of an undisturbed
export all the same, and its rows are those of the moment that it began."""

import asyncio
import csv
import hashlib
import io
import json
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from hookline.client import AsyncClient, ExportProgress, ExportSummary, Filter
from hookline.client.export_request import ExportOptions, FileFormat, Format
from hookline.events.v1 import events_pb2
from hookline.ingest.v1.ingest_service_pb2 import MarkEventsRequest
from shared.db import Connection
from tests.export_process import ExportProcess, TrappedRelay, export_process, relayed
from tests.proxy import Proxy, proxied
from tests.samples import grapfy, send

if TYPE_CHECKING:
    from hookline.ingest.v1.ingest_service_pb2_grpc import IngestServiceAsyncStub

COMPANY = "acme"
EVENTS = 2500
FAULTS = ("connection cut", "export killed", "database connections cut")
# More than a chunk and its frames: by then the export has its mark.
_FIRST_CHUNK_BYTES = 300_000
FORMATS: tuple[FileFormat, ...] = ("csv", "parquet", "json", "ndjson")
Rows = list[tuple[str, str]]


class AbandonedError(Exception):
    """What a caller ends an export with by itself, to resume it later."""


@dataclass(frozen=True)
class Asked:
    """An export's arguments."""

    format: FileFormat
    where: Filter | None
    options: ExportOptions
    resume: bool

    @property
    def streamed(self) -> Format:
        """The format of the stream that the file is made of."""
        return "ndjson" if self.format == "parquet" else self.format

    def read(self, data: bytes) -> Rows:
        """Event and status of each row of a file."""
        match self.format:
            case "parquet":
                rows: list[Any] = pq.read_table(io.BytesIO(data)).to_pylist()
            case "csv":
                rows = list(csv.DictReader(io.StringIO(data.decode(), newline=""), strict=True))
            case "json":
                rows = json.loads(data)
            case "ndjson":
                rows = [json.loads(line) for line in data.splitlines()]
        return [(row["event_id"], row["status"]) for row in rows]


async def check_broken_exports(
    stub: "IngestServiceAsyncStub", connection: Connection, database_url: str, folder: Path, seed: str, rounds: int
) -> Counter[str]:
    """Breaks so many exports of an empty database that `stub` writes to. Raises AssertionError for a file that is not
    as it should be; gives what has happened, and how often."""
    rng = random.Random(seed)
    happened: Counter[str] = Counter()
    async with (
        proxied(database_url) as proxy,
        export_process(proxy.url, folder) as process,
        relayed(process.address) as (relay, address),
    ):
        busy = Busy(stub, rng.randrange(2**32))
        await busy.fill(EVENTS)
        first = rng.randrange(len(FORMATS))
        async with busy.writing():
            for number in range(rounds):
                file_format = FORMATS[(first + number) % len(FORMATS)]
                broken = Broken(process, relay, proxy, happened, random.Random(f"{seed}/{number}"), file_format)
                await broken.check(busy, connection, address, folder / f"file{number}")
    return happened


class Busy:
    """Stores and marks events for as long as it may: `pause` is held while nothing may change."""

    def __init__(self, stub: "IngestServiceAsyncStub", seed: int) -> None:
        self._stub = stub
        self._rng = random.Random(seed)
        self._ids: list[str] = []
        self.pause = asyncio.Lock()
        self.writes = 0

    async def fill(self, count: int) -> None:
        """Stores more events, of all sizes."""
        first = len(self._ids)
        for start in range(first, first + count, 500):
            numbers = range(start, min(start + 500, first + count))
            events = [
                grapfy(
                    number,
                    eventType=self._rng.choice(["order_approved", "order_approved", "pix_created"]),
                    x=self._rng.randbytes(self._rng.randrange(900)).hex(),
                )
                for number in numbers
            ]
            self._ids += [result.event_id for result in await send(self._stub, COMPANY, events)]

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Writes until the block ends."""
        task = asyncio.create_task(self._write())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled():
            task.result()

    async def _write(self) -> None:
        while True:
            async with self.pause:
                await self.fill(3)
                status = self._rng.choice([events_pb2.PROCESSING_STATUS_PROCESSED, events_pb2.PROCESSING_STATUS_FAILED])
                marks = [MarkEventsRequest.Mark(event_id=one, status=status) for one in self._rng.sample(self._ids, 20)]
                await self._stub.MarkEvents(MarkEventsRequest(company_id=COMPANY, marks=marks))
                self.writes += 1
            await asyncio.sleep(0.02)


class Broken:
    """One export, and what happens to it."""

    def __init__(
        self,
        process: ExportProcess,
        relay: TrappedRelay,
        proxy: Proxy,
        happened: Counter[str],
        rng: random.Random,
        file_format: FileFormat,
    ) -> None:
        self._format = file_format
        self._process = process
        self._relay = relay
        self._proxy = proxy
        self._happened = happened
        self._rng = rng
        self._has_begun = asyncio.Event()
        self._abandon_at: list[int] = []

    async def check(self, busy: Busy, connection: Connection, address: str, path: Path) -> None:
        asked = self._choose()
        # Nothing is written until both exports have their mark: it is the same one.
        await busy.pause.acquire()
        try:
            async with AsyncClient(export=self._process.address) as client:
                whole = b"".join(
                    [piece async for piece in client.export(COMPANY, asked.streamed, asked.where, **asked.options)]
                )
            rows = await _stored(connection, asked)
            writes = busy.writes
            self._set_traps(len(whole))
            if asked.resume:
                self._abandon_at = sorted(self._rng.randrange(_FIRST_CHUNK_BYTES, len(whole)) for _ in range(2))
            export = asyncio.create_task(self._export(address, asked, path))
            begun = asyncio.create_task(self._has_begun.wait())
            await asyncio.wait([export, begun], return_when=asyncio.FIRST_COMPLETED)
            begun.cancel()
        finally:
            busy.pause.release()
        summary = await export
        self._relay.disarm()
        data = await asyncio.to_thread(path.read_bytes)
        told = f"{asked}, after {dict(self._happened)}"
        if asked.format == asked.streamed:
            assert hashlib.sha256(data).digest() == hashlib.sha256(whole).digest(), told
        assert (summary.sha256, summary.bytes) == (hashlib.sha256(data).hexdigest(), len(data)), told
        assert asked.read(data) == rows, told
        assert summary.rows == len(rows), told
        assert [one.name for one in path.parent.glob(f"*{path.name}*")] == [path.name], told
        self._happened["written meanwhile"] += busy.writes - writes
        self._happened[f"exported as {asked.format}"] += 1

    def _choose(self) -> Asked:
        rng = self._rng
        where = rng.choice([None, None, Filter(statuses=["pending"]), Filter(types=["order_approved"])])
        options = ExportOptions(
            order=rng.choice(["newest_first", "oldest_first"]), compression=rng.choice(["none", "gzip", "zstd"])
        )
        if self._format == "csv":
            options["columns"] = ["event_id", "status", "payload", "customer_name"]
        # Parquet can't be gone on with by another process.
        resume = self._format != "parquet" and rng.random() < 0.75
        return Asked(self._format, where, options, resume=resume)

    def _set_traps(self, size: int) -> None:
        faults = list(FAULTS)
        self._rng.shuffle(faults)
        gap = max(1, size // 8)

        def next_trap(least: int) -> None:
            if faults:
                fault = faults.pop()
                self._relay.trap(least + self._rng.randrange(gap), lambda: spring(fault))

        async def spring(fault: str) -> None:
            self._happened[fault] += 1
            next_trap(1)
            match fault:
                case "connection cut":
                    await self._relay.cut()
                case "database connections cut":
                    self._proxy.break_connections()
                case _:
                    await self._process.end(signal.SIGKILL)
                    await self._process.start()

        next_trap(_FIRST_CHUNK_BYTES)

    async def _export(self, address: str, asked: Asked, path: Path) -> ExportSummary:
        while True:
            # A client of its own each time, as another process would have.
            async with AsyncClient(export=address) as client:
                try:
                    return await client.export_to_file(
                        COMPANY,
                        asked.format,
                        path,
                        asked.where,
                        resume=asked.resume,
                        progress=self._progressed,
                        **asked.options,
                    )
                except AbandonedError:
                    self._happened["abandoned and resumed"] += 1

    def _progressed(self, progress: ExportProgress) -> None:
        if progress.bytes:
            self._has_begun.set()
        if self._abandon_at and progress.bytes >= self._abandon_at[0]:
            self._abandon_at = [one for one in self._abandon_at if one > progress.bytes]
            raise AbandonedError


async def _stored(connection: Connection, asked: Asked) -> Rows:
    """What SQL says that the export must hold now."""
    rows = await connection.fetch(
        """
        SELECT event_id::text, type, status FROM (
            SELECT event_id, sequence, type, coalesce(
                (SELECT s.status FROM hookline.event_status s
                 WHERE s.company_id = e.company_id AND s.sequence = e.sequence ORDER BY change DESC LIMIT 1),
                'pending') AS status
            FROM hookline.events e WHERE company_id = $1
        ) now ORDER BY sequence
        """,
        COMPANY,
    )
    where = asked.where or Filter()
    found = [
        (row["event_id"], row["status"])
        for row in rows
        if row["type"] in (where.types or [row["type"]]) and row["status"] in (where.statuses or [row["status"]])
    ]
    return found[::-1] if asked.options["order"] == "newest_first" else found
