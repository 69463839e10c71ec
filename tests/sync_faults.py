"""The suite as processes, a shop to pull from, and what can happen to them: for the end-to-end tests and the soak.

What is verified is always the same: the run ends by itself, once, and what is stored is exactly what the shop lists.
"""

import asyncio
import itertools
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg
import grpc
import msgspec
import redis.asyncio
from google.protobuf.duration_pb2 import Duration

from hookline.ingest.v1.ingest_service_pb2 import PutPlatformMappingRequest
from hookline.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub
from hookline.sync.v1 import sync_service_pb2 as pb
from hookline.sync.v1.sync_service_pb2_grpc import SyncServiceStub
from services.sandbox.faults import Fault, Faults
from services.sandbox.shop import SandboxShop
from services.suite.embedded_postgres import EmbeddedPostgres
from services.suite.ports import free_address
from services.suite.samples import grapfy_payloads
from services.suite.supervisor import Suite
from shared.settings import Settings
from tests.ledger import check_ledger
from tests.shop_sources import SHOP_SOURCES, ShopSource
from tests.waiting import eventually

if TYPE_CHECKING:
    from hookline.ingest.v1.ingest_service_pb2_grpc import IngestServiceAsyncStub
    from hookline.sync.v1.sync_service_pb2_grpc import SyncServiceAsyncStub

VICTIMS = ("sync-worker", "sync-scheduler", "sync", "ingest", "postgres", "valkey")
SOURCE = "loja"
ENDED = (
    pb.SYNC_RUN_STATE_SUCCEEDED,
    pb.SYNC_RUN_STATE_INCOMPLETE,
    pb.SYNC_RUN_STATE_FAILED,
    pb.SYNC_RUN_STATE_CANCELLED,
)
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
    ingest: "IngestServiceAsyncStub"
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
    async def pulled(
        self, *, seed: int, events: int = 1500, form: str = "grapfy", look_back: timedelta | None = None, **shop: Any
    ) -> AsyncIterator["Pulled"]:
        """A company with one source: a shop of its own in that form, with 1 % duplicates and 5 % of its pages
        failing."""
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
            pulled = Pulled(self, f"company{next(self._companies)}", made, SHOP_SOURCES[form])
            await pulled.create_source(look_back)
            yield pulled


@dataclass
class Pulled:
    """A source that is pulled."""

    stage: Stage
    company: str
    shop: SandboxShop
    form: ShopSource = SHOP_SOURCES["grapfy"]

    async def create_source(self, look_back: timedelta | None = None) -> None:
        if self.form.mapping:
            put = PutPlatformMappingRequest(company_id=self.company, mapping=self.form.mapping)
            await patiently(lambda: self.stage.ingest.PutPlatformMapping(put, timeout=10))
        request = pb.CreateSourceRequest(
            company_id=self.company,
            source=SOURCE,
            platform=self.form.platform,
            base_url=self.shop.url,
            credential=self.form.credential,
            parameters=self.form.parameters,
        )
        if look_back is not None:
            request.look_back.FromTimedelta(look_back)
        await patiently(lambda: self.stage.stub.CreateSource(request, timeout=10))

    async def trigger(self, **fields: Any) -> pb.SyncRun:
        """Asks for a run, of 30 days unless told, however often that takes while something is away."""
        request = pb.TriggerSyncRequest(
            **{"company_id": self.company, "days_back": 30, "request_id": "the-only-one", **fields}
        )
        return (await patiently(lambda: self.stage.stub.TriggerSync(request, timeout=30))).run

    async def start_schedule(self) -> None:
        """Due at once, and then every six hours."""
        request = pb.StartScheduleRequest(company_id=self.company, source=SOURCE, jitter=Duration())
        await patiently(lambda: self.stage.stub.StartSchedule(request, timeout=10))

    async def runs(self) -> list[pb.SyncRun]:
        """Newest first."""
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

    async def ended(self, timeout: float = 60, runs: int = 1) -> pb.SyncRun:
        """Waits for the end of the run, the last of so many, and verifies it: good, complete, exact, and no other."""
        await self.ended_well(runs, timeout)
        await self.verify(runs)
        return (await self.runs())[0]

    async def ended_well(self, runs: int = 1, timeout: float = 60) -> pb.SyncRun:
        """The same, without a look at what the shop says."""

        async def have_ended() -> bool:
            return all(run.state in ENDED for run in await self.runs())

        await eventually(have_ended, timeout, f"the run of {self.company} has ended")
        found = await self.runs()
        assert len(found) == runs
        run = found[0]
        log = await self.log(run)
        assert run.state == pb.SYNC_RUN_STATE_SUCCEEDED, (run, log)
        codes = [entry.code for entry in log]
        assert codes[0] == "RUN_CREATED"
        assert codes[-1] == "RUN_ENDED"
        assert codes.count("RUN_ENDED") == 1
        return run

    async def verify(self, runs: int = 1) -> None:
        """Of the last of so many runs, and of all that they have stored."""
        run = await self.ended_well(runs)
        found, served = await self.runs(), self.shop.served
        counts = run.counts
        assert counts.fetched == counts.accepted + counts.duplicates
        assert (counts.quarantined, counts.rejected) == (0, 0)
        # Whatever was lost on the way was fetched again; nothing was taken for new twice.
        assert counts.fetched >= served.items, (counts, served)
        assert sum(one.counts.accepted for one in found) <= served.events == served.published, (counts, served)
        assert served.too_early == 0
        told = run.reconciliation
        assert (told.listed, told.stored, told.missing) == (served.items, served.items, 0), (told, served)
        await self._verify_stored(run)

    async def log(self, run: pb.SyncRun) -> list[pb.SyncRunLogEntry]:
        """What happened in a run, in order."""
        request = pb.ListSyncRunLogRequest(company_id=self.company, run_id=run.run_id, page_size=1000)
        entries: list[pb.SyncRunLogEntry] = []
        while True:
            answer = await patiently(lambda: self.stage.stub.ListSyncRunLog(request, timeout=10))
            entries += answer.entries
            request.page_token = answer.next_page_token
            if not answer.next_page_token:
                return entries

    async def _verify_stored(self, run: pb.SyncRun) -> None:
        async with self.stage.database() as connection:
            rows = await connection.fetch(
                "SELECT dedup_key, payload FROM hookline.events WHERE company_id = $1 AND source = $2",
                self.company,
                SOURCE,
            )
            stored = {row["dedup_key"]: msgspec.json.decode(row["payload"]) for row in rows}
            listed = {number: msgspec.json.decode(payload) for number, payload in self.shop.payloads.items()}
            if self.form.number is None:
                assert stored == {payload["eventId"]: payload for payload in listed.values()}
            else:
                assert sorted(map(self.form.number, stored.values())) == sorted(listed)
            assert len(rows) == len(stored) == self.shop.served.published
            await check_ledger(connection, company=self.company)
            row = await connection.fetchrow(
                "SELECT pages, fetched, accepted, duplicates, retries, late FROM hookline.sync_runs WHERE run_id = $1",
                run.run_id,
            )
            assert dict(row) == {name: getattr(run.counts, name) for name in row.keys()}  # noqa: SIM118  # a record gives its values
            left = await connection.fetchval(
                "SELECT count(*) FROM hookline.sync_pages WHERE company_id = $1", self.company
            )
            assert left == 0


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
            async with (
                grpc.aio.insecure_channel(suite.addresses["sync"], options) as sync,
                grpc.aio.insecure_channel(suite.addresses["ingest"], options) as ingest,
            ):
                yield Stage(suite, SyncServiceStub(sync), IngestServiceStub(ingest), folder)
    finally:
        await EmbeddedPostgres(told.data_dir).destroy()


@dataclass
class Another:
    """One more process than the suite's own; its output is kept."""

    process: asyncio.subprocess.Process
    output: Path

    def has_said(self, words: str) -> bool:
        return f'"{words}"' in self.output.read_text()


@asynccontextmanager
async def another(stage: Stage, kind: str, ready: str) -> AsyncIterator[Another]:
    """Starts a process of `services.sync` with the suite's environment; it has said `ready` when the block is
    entered."""
    output = stage.folder / f"{kind}-{next(stage._companies)}.log"
    with output.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            f"services.sync.{kind}",
            env=stage.suite._environment() | {"HOOKLINE_LOG_LEVEL": "info"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    made = Another(process, output)
    try:
        await eventually(lambda: made.has_said(ready), what=f"the other {kind} is ready")
        yield made
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def another_worker(stage: Stage) -> AbstractAsyncContextManager[Another]:
    """A worker: it listens when the block is entered."""
    return another(stage, "worker", "listening")


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
