"""The suite as processes, a shop to pull from, and what can happen to them: for the end-to-end tests and the soak.

What is verified is always the same: the run ends by itself, once, and what is stored is exactly what the shop lists.
"""

import asyncio
import itertools
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg
import grpc
import redis.asyncio

from hookline.sync.v1 import sync_service_pb2 as pb
from hookline.sync.v1.sync_service_pb2_grpc import SyncServiceStub
from services.sandbox.faults import Fault, Faults
from services.sandbox.shop import TOKEN, WEBHOOK_SETTING_ID, SandboxShop
from services.suite.embedded_postgres import EmbeddedPostgres
from services.suite.ports import free_address
from services.suite.samples import grapfy_payloads
from services.suite.supervisor import Suite
from shared.settings import Settings
from tests.ledger import check_ledger
from tests.waiting import eventually

if TYPE_CHECKING:
    from hookline.sync.v1.sync_service_pb2_grpc import SyncServiceAsyncStub

VICTIMS = ("sync-worker", "sync-scheduler", "sync", "ingest", "postgres", "valkey")
SOURCE = "loja"
ENDED = (pb.SYNC_RUN_STATE_SUCCEEDED, pb.SYNC_RUN_STATE_FAILED, pb.SYNC_RUN_STATE_CANCELLED)
PASSING = (Fault.TOO_MANY_REQUESTS, Fault.INTERNAL_ERROR, Fault.UNAVAILABLE, Fault.TRUNCATED, Fault.DROPPED)
"""What gets better by itself: a 200 that is no page needs a person."""

T = TypeVar("T")
_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
# Not the back-off meant for servers far away.
_CHANNEL_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
]


@dataclass
class Stage:
    """The suite with everything brought along: leases of 2 s, waits of a platform's failures from 20 ms on."""

    suite: Suite
    stub: "SyncServiceAsyncStub"
    folder: Path
    _companies: "itertools.count[int]" = field(default_factory=itertools.count)

    def process(self, name: str) -> asyncio.subprocess.Process:
        """The process of the moment of one of the victims."""
        server = {"postgres": self.suite.postgres, "valkey": self.suite.valkey}.get(name)
        found = server.process if server else self.suite.process(name)
        assert found is not None
        return found

    async def kill(self, name: str) -> None:
        """`kill -9`, once it runs; returns when it is dead. The suite starts it again."""
        victim = await self._running(name)
        victim.kill()
        await victim.wait()

    @asynccontextmanager
    async def frozen(self, name: str) -> AsyncIterator[None]:
        """Inside the block the process is stopped (SIGSTOP)."""
        process = await self._running(name)
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGCONT)

    async def _running(self, name: str) -> asyncio.subprocess.Process:
        await eventually(lambda: self.process(name).returncode is None, what=f"{name} runs")
        return self.process(name)

    @asynccontextmanager
    async def redis(self) -> AsyncIterator["redis.asyncio.Redis"]:
        """A client of Valkey, once it answers: it may have been killed a moment ago."""
        assert self.suite.valkey
        async with redis.asyncio.from_url(self.suite.valkey.url) as client:

            async def answers() -> bool:
                try:
                    return bool(await client.ping())
                except redis.exceptions.RedisError:
                    return False

            await eventually(answers, what="Valkey answers")
            yield client

    async def alone_listens(self) -> None:
        """Breaks everyone's connection to Valkey, then waits until one worker has come back: the one that can."""
        async with self.redis() as client:
            await client.client_kill_filter(_type="normal", skipme=True)

            async def one_listens() -> bool:
                return sum("b" in one["flags"] for one in await client.client_list()) == 1

            await eventually(one_listens, what="one worker listens")

    @asynccontextmanager
    async def database(self) -> AsyncIterator["asyncpg.Connection[Any]"]:
        connection = await asyncpg.connect(self.suite.database_url)
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def pulled(self, *, seed: int, events: int = 1500, **shop: Any) -> AsyncIterator["Pulled"]:
        """A company with one source: a shop of its own, with 1 % duplicates and 5 % of its pages failing."""
        made = SandboxShop(
            grapfy_payloads(events + 100, seed=seed),
            **{
                "events": events,
                "seed": seed,
                "duplicates": 0.01,
                "faults": Faults(fraction=0.05, kinds=PASSING),
                **shop,
            },
        )
        async with made:
            company = f"company{next(self._companies)}"
            source = pb.CreateSourceRequest(
                company_id=company,
                source=SOURCE,
                platform="grapfy",
                base_url=made.url,
                credential=TOKEN,
                parameters={"webhookSettingId": WEBHOOK_SETTING_ID},
            )
            await patiently(lambda: self.stub.CreateSource(source, timeout=10))
            yield Pulled(self, company, made)


@dataclass
class Pulled:
    """A source that is pulled."""

    stage: Stage
    company: str
    shop: SandboxShop

    async def trigger(self) -> pb.SyncRun:
        """Asks for a run of 30 days, however often that takes while something is away."""
        request = pb.TriggerSyncRequest(company_id=self.company, days_back=30, request_id="the-only-one")
        return (await patiently(lambda: self.stage.stub.TriggerSync(request, timeout=30))).run

    async def runs(self) -> list[pb.SyncRun]:
        request = pb.ListSyncRunsRequest(company_id=self.company)
        return list((await patiently(lambda: self.stage.stub.ListSyncRuns(request, timeout=10))).runs)

    async def run(self) -> pb.SyncRun:
        """The only run, as it is now."""
        [run] = await self.runs()
        return run

    async def held(self, requests: int = 1) -> None:
        """Waits until so many requests wait at the shop's gate: a worker is in the middle of the run."""
        await eventually(lambda: self.shop.served.held == requests, what=f"{requests} requests are held")

    async def begun(self, attempt: int) -> None:
        """Waits until a worker has the run for that attempt, or a later one."""

        async def is_begun() -> bool:
            return (await self.run()).attempt >= attempt

        await eventually(is_begun, what=f"attempt {attempt} is begun")

    async def ended(self, timeout: float = 60) -> pb.SyncRun:
        """Waits for the end of the only run, and verifies it: good, complete, exact, and the only one."""

        async def has_ended() -> bool:
            return (await self.run()).state in ENDED

        await eventually(has_ended, timeout, f"the run of {self.company} has ended")
        await self.verify()
        return await self.run()

    async def verify(self) -> None:
        run, served = await self.run(), self.shop.served
        assert run.state == pb.SYNC_RUN_STATE_SUCCEEDED, run
        counts = run.counts
        assert counts.fetched == counts.accepted + counts.duplicates
        assert (counts.quarantined, counts.rejected) == (0, 0)
        # Whatever was lost on the way was fetched again; nothing was taken for new twice.
        assert counts.fetched >= served.items, (counts, served)
        assert counts.accepted <= served.events == served.published, (counts, served)
        assert served.too_early == 0
        async with self.stage.database() as connection:
            stored = await connection.fetchval(
                "SELECT count(DISTINCT dedup_key) FROM hookline.events WHERE company_id = $1 AND source = $2",
                self.company,
                SOURCE,
            )
            assert stored == served.published
            await check_ledger(connection)
            row = await connection.fetchrow(
                "SELECT pages, fetched, accepted, duplicates, retries FROM hookline.sync_runs WHERE company_id = $1",
                self.company,
            )
            assert [row[name] for name in row.keys()] == [getattr(counts, name) for name in row.keys()]  # noqa: SIM118


@asynccontextmanager
async def stage(folder: Path, **settings: Any) -> AsyncIterator[Stage]:
    """Brings the suite up in the folder, and leaves nothing behind."""
    told = Settings(
        **{
            "data_dir": folder / "data",
            "ingest_address": free_address(),
            "sync_address": free_address(),
            "export_address": free_address(),
            "http_address": free_address(),
            "sync_lease": 2,
            "sync_retry_seconds": 0.02,
            "allow_loopback_sources": True,
            "drain_seconds": 2,
            **settings,
        }
    )
    try:
        async with Suite(told, embedded=True) as suite:
            options = _CHANNEL_OPTIONS
            async with grpc.aio.insecure_channel(suite.addresses["sync"], options) as channel:
                yield Stage(suite, SyncServiceStub(channel), folder)
    finally:
        await EmbeddedPostgres(told.data_dir).destroy()


@dataclass
class Worker:
    """One more worker than the suite's own; its output is kept."""

    process: asyncio.subprocess.Process
    output: Path

    def has_said(self, words: str) -> bool:
        return f'"{words}"' in self.output.read_text()


@asynccontextmanager
async def another_worker(stage: Stage) -> AsyncIterator[Worker]:
    """Starts a worker with the suite's environment; it listens when the block is entered."""
    output = stage.folder / f"worker-{next(stage._companies)}.log"
    with output.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.sync.worker",
            env=stage.suite._environment() | {"HOOKLINE_LOG_LEVEL": "info"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    worker = Worker(process, output)
    try:
        await eventually(lambda: worker.has_said("listening"), what="the other worker listens")
        yield worker
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def patiently(call: Callable[[], Awaitable[T]], timeout: float = 60) -> T:
    """Makes a call again while something that it takes is away."""
    answers: list[T] = []

    async def is_answered() -> bool:
        try:
            answers.append(await call())
        except grpc.aio.AioRpcError as error:
            if error.code() not in _AWAY:
                raise
            return False
        return True

    await eventually(is_answered, timeout, "the call is answered")
    return answers[0]
