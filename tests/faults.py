"""Processes killed under load, and what must hold afterwards: one episode, for the tests and for the soak."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import grpc
import psutil

from hookline.export.v1.export_service_pb2_grpc import ExportServiceStub
from services.suite.embedded_postgres import EmbeddedPostgres
from services.suite.ports import free_address
from services.suite.supervisor import Suite
from shared.settings import Settings
from tests.exports import NDJSON, exported
from tests.load import COMPANIES, Load
from tests.waiting import eventually

POSTGRES_SETTINGS = {"shared_buffers": "64MB", "max_connections": "50"}
STOP_SECONDS = 10


@dataclass(frozen=True)
class Episode:
    """What happened: the kills, the events acknowledged, the statuses that callers saw, how long the stop took."""

    kills: Sequence[str]
    acknowledged: int
    refusals: Counter[str]
    stop_seconds: float


async def kill_ingest(suite: Suite, rng: random.Random) -> None:
    # Its children may answer for a while after it has died.
    await eventually(lambda: suite.process("ingest").returncode is None, what="ingest runs")
    process = suite.process("ingest")
    process.kill()
    await process.wait()


async def kill_postgres(suite: Suite, rng: random.Random) -> None:
    assert suite.postgres is not None
    assert suite.postgres.process is not None
    suite.postgres.process.send_signal(signal.SIGKILL)


async def kill_a_child(suite: Suite, rng: random.Random) -> None:
    """One of the processes as which ingest runs; of those of the moment, for one may not be back yet."""
    assert suite.settings.processes > 1, "ingest has no children"

    def children() -> Sequence[psutil.Process]:
        try:
            return psutil.Process(suite.process("ingest").pid).children()
        except psutil.NoSuchProcess:
            return []

    rng.choice(await eventually(children, what="ingest has children")).kill()


async def kill_a_backend(suite: Suite, rng: random.Random) -> None:
    """Makes PostgreSQL restart all of its sessions, as after any crash of one."""
    assert suite.postgres is not None
    assert suite.postgres.process is not None
    for process in rng.sample(children := psutil.Process(suite.postgres.process.pid).children(), len(children)):
        if "postgres: hookline" in " ".join(process.cmdline()):
            os.kill(process.pid, signal.SIGKILL)
            return
    raise AssertionError("PostgreSQL has no sessions")


KILLS: dict[str, Callable[[Suite, random.Random], Awaitable[None]]] = {
    "ingest": kill_ingest,
    "postgres": kill_postgres,
    "backend": kill_a_backend,
    "child": kill_a_child,
}


async def run_episode(data_dir: Path, seed: str, kills: Sequence[str], processes: int = 1) -> Episode:
    """Brings a suite up, ingest as so many processes, kills some of it under load at random moments, stops it under
    load, and brings it up again. Raises AssertionError when an acknowledged event is lost, one is stored twice, a log
    has a gap, calls no longer get through, PostgreSQL has found a deadlock, or the stop takes too long."""
    rng = random.Random(seed)
    load = Load(seed)
    try:
        async with _suite(data_dir, processes) as suite:
            async with load.running(suite.addresses["ingest"], suite.settings.http_address):
                for kill in kills:
                    await load.answered()
                    # Any moment will do: that it is a random one is the point.
                    await asyncio.sleep(rng.uniform(0, 0.3))
                    await KILLS[kill](suite, rng)
                    await load.answered()
            await _verify(load, suite)
            stopped, stop_seconds = await _stop_under_load(load, suite)
        assert not [process for process in stopped if process.is_running()], "processes are left"
        assert stop_seconds < STOP_SECONDS, f"the stop took {stop_seconds:.1f} s"
        async with _suite(data_dir, processes) as suite:
            await _verify(load, suite)
        assert "deadlock detected" not in (data_dir / "postgres" / "postgres.log").read_text(errors="replace")
    finally:
        await EmbeddedPostgres(data_dir).destroy()
    return Episode(kills, len(load.acknowledged), load.refusals, stop_seconds)


def _suite(data_dir: Path, processes: int) -> Suite:
    settings = Settings(
        data_dir=data_dir,
        ingest_address=free_address(),
        export_address=free_address(),
        sync_address=free_address(),
        http_address=free_address(),
        processes=processes,
        log_level="error",
    )
    return Suite(settings, embedded=True, postgres_settings=POSTGRES_SETTINGS)


async def _stop_under_load(load: Load, suite: Suite) -> tuple[Sequence[psutil.Process], float]:
    assert suite.postgres is not None
    assert suite.postgres.process is not None
    pids = [suite.process(service.name).pid for service in suite.services] + [suite.postgres.process.pid]
    processes = [psutil.Process(pid) for pid in pids]
    async with load.running(suite.addresses["ingest"], suite.settings.http_address):
        await load.answered()
        began = time.monotonic()
        await suite.stop()
        return processes, time.monotonic() - began


async def _verify(load: Load, suite: Suite) -> None:
    # PostgreSQL may be on its way back once more.
    connection = await eventually(lambda: _connected(suite), what="PostgreSQL takes connections")
    assert connection is not None
    try:
        await load.verify(connection)
        ids = {
            company: await connection.fetch(
                "SELECT event_id::text FROM hookline.events WHERE company_id = $1 ORDER BY sequence", company
            )
            for company in COMPANIES
        }
    finally:
        await connection.close()
    await suite.healthy("export")
    async with grpc.aio.insecure_channel(suite.addresses["export"]) as channel:
        for company, rows in ids.items():
            file = await exported(ExportServiceStub(channel), company, NDJSON)
            assert [one["event_id"] for one in file.json()] == [row["event_id"] for row in rows]


async def _connected(suite: Suite) -> "asyncpg.Connection[asyncpg.Record] | None":
    try:
        return await asyncpg.connect(suite.database_url)
    except (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError):
        return None
