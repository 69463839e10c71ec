"""The sync service, its worker and its scheduler in this process, with a real Valkey, and the sandbox shop to pull."""

import asyncio
import tempfile
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hookline.sync.v1 import sync_service_pb2 as pb
from hookline.sync.v1.sync_service_pb2_grpc import SyncServiceStub
from services.sandbox.shop import TOKEN, WEBHOOK_SETTING_ID, SandboxShop
from services.suite.embedded_valkey import EmbeddedValkey
from services.suite.ports import free_address
from services.suite.samples import grapfy_payloads
from services.sync import attempt_store, run_store, source_store
from services.sync.__main__ import main as sync_main
from services.sync.scheduler import main as scheduler_main
from services.sync.worker import main as worker_main
from shared.db import Connection
from shared.settings import Settings
from tests.in_process import SECRET_KEY, Ingesting, Main, Running, _running, ingesting
from tests.waiting import eventually

if TYPE_CHECKING:
    from hookline.sync.v1.sync_service_pb2_grpc import SyncServiceAsyncStub

COMPANY, SOURCE = "acme", "loja"
ENDED = (
    pb.SYNC_RUN_STATE_SUCCEEDED,
    pb.SYNC_RUN_STATE_INCOMPLETE,
    pb.SYNC_RUN_STATE_FAILED,
    pb.SYNC_RUN_STATE_CANCELLED,
)
NOWHERE = "redis://127.0.0.1:1/0"
"""A Redis that is away."""
AWAY = "127.0.0.1:1"
"""An ingest that is."""


@dataclass(frozen=True)
class Syncing(Running):
    stub: "SyncServiceAsyncStub"


@asynccontextmanager
async def valkey() -> AsyncIterator[EmbeddedValkey]:
    """A Valkey of this block's own."""
    with tempfile.TemporaryDirectory(prefix="hookline-") as folder:
        server = EmbeddedValkey(Path(folder))
        try:
            await server.start()
            yield server
        finally:
            await server.stop()


@asynccontextmanager
async def syncing(database_url: str, redis_url: str = NOWHERE, **settings: Any) -> AsyncIterator[Syncing]:
    """Runs a sync service until the block ends. No worker and no scheduler."""
    address = free_address()
    settings = {"redis_url": redis_url, "allow_loopback_sources": True, "ingest_address": AWAY, **settings}
    async with _running(sync_main, address, database_url, sync_address=address, **settings) as running:
        yield Syncing(*running, stub=SyncServiceStub(running[1]))


@asynccontextmanager
async def ingesting_at(address: str, database_url: str) -> AsyncIterator[None]:
    """Runs an ingest service where another one was, until the block ends."""
    async with ingesting(database_url, ingest_address=address):
        yield


@asynccontextmanager
async def process(main: Main, settings: Settings) -> AsyncIterator[asyncio.Event]:
    """Runs a worker or a scheduler until the block ends, as its process would; gives what a SIGTERM sets."""
    stopping = asyncio.Event()
    running = asyncio.ensure_future(main(settings, stopping))
    try:
        yield stopping
    finally:
        stopping.set()
        async with asyncio.timeout(10):
            await running


@dataclass(frozen=True)
class Whole:
    """All that it takes for a run to come to its end."""

    shop: SandboxShop
    ingest: Ingesting
    sync: Syncing
    worker: asyncio.Event
    """What makes the worker stop."""
    settings: Settings

    async def trigger(self, **fields: Any) -> pb.SyncRun:
        return await trigger(self.sync.stub, **fields)

    async def run(self, run: pb.SyncRun) -> pb.SyncRun:
        """The run as it is now."""
        return await run_now(self.sync.stub, run)

    async def ended(self, run: pb.SyncRun, timeout: float = 30) -> pb.SyncRun:
        return await run_ended(self.sync.stub, run, timeout)

    async def in_state(self, run: pb.SyncRun, state: pb.SyncRunState.ValueType, timeout: float = 30) -> pb.SyncRun:
        async def is_there() -> bool:
            return (await self.run(run)).state == state

        await eventually(is_there, timeout, f"the run is {pb.SyncRunState.Name(state)}")
        return await self.run(run)


@asynccontextmanager
async def whole(database_url: str, shop: SandboxShop, **settings: Any) -> AsyncIterator[Whole]:
    """Everything, and a source of the shop. Leases of 5 s, waits a hundredth of what they usually are."""
    settings = {"sync_lease": 5, "sync_retry_seconds": 0.005, "allow_loopback_sources": True, **settings}
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(shop)
        server = await stack.enter_async_context(valkey())
        ingest = await stack.enter_async_context(ingesting(database_url))
        served = syncing(database_url, server.url, ingest_address=ingest.address, **settings)
        sync = await stack.enter_async_context(served)
        told = Settings(
            database_url=database_url,
            redis_url=server.url,
            secret_key=SECRET_KEY,
            ingest_address=ingest.address,
            **settings,
        )
        worker = await stack.enter_async_context(process(worker_main, told))
        await stack.enter_async_context(process(scheduler_main, told))
        await create_source(sync.stub, shop.url)
        yield Whole(shop, ingest, sync, worker, told)


def shop(events: int = 450, **arguments: Any) -> SandboxShop:
    """A shop with pages of 100: not entered yet."""
    return SandboxShop(grapfy_payloads(events + 100), **{"events": events, **arguments})


async def create_source(
    stub: "SyncServiceAsyncStub",
    base_url: str = "https://api.example.com",
    company: str = COMPANY,
    source: str = SOURCE,
    **fields: Any,
) -> pb.Source:
    request = pb.CreateSourceRequest(
        company_id=company,
        source=source,
        **{
            "platform": "grapfy",
            "base_url": base_url,
            "credential": TOKEN,
            "parameters": {"webhookSettingId": WEBHOOK_SETTING_ID},
            **fields,
        },
    )
    return (await stub.CreateSource(request)).source


async def trigger(stub: "SyncServiceAsyncStub", **fields: Any) -> pb.SyncRun:
    """Asks for a run; of the last 30 days unless told."""
    request = pb.TriggerSyncRequest(**{"company_id": COMPANY, "source": SOURCE, "days_back": 30, **fields})
    return (await stub.TriggerSync(request)).run


async def run_now(stub: "SyncServiceAsyncStub", run: pb.SyncRun) -> pb.SyncRun:
    return (await stub.GetSyncRun(pb.GetSyncRunRequest(company_id=run.company_id, run_id=run.run_id))).run


async def run_ended(stub: "SyncServiceAsyncStub", run: pb.SyncRun, timeout: float = 30) -> pb.SyncRun:
    """The run, once it has ended."""

    async def has_ended() -> bool:
        return (await run_now(stub, run)).state in ENDED

    await eventually(has_ended, timeout, "the run has ended")
    return await run_now(stub, run)


async def runs_of(stub: "SyncServiceAsyncStub", company: str = COMPANY) -> list[pb.SyncRun]:
    return list((await stub.ListSyncRuns(pb.ListSyncRunsRequest(company_id=company, page_size=500))).runs)


async def make_source(connection: Connection, company: str = COMPANY, source: str = SOURCE) -> None:
    """A source, straight into the table."""
    made = await source_store.create_source(
        connection,
        company,
        source,
        platform="grapfy",
        base_url="https://api.example.com",
        credential=b"encrypted",
        parameters={},
    )
    assert made is not None


async def make_run(connection: Connection, company: str = COMPANY, source: str = SOURCE, **columns: Any) -> uuid.UUID:
    """A run, made as the service does and then given other columns: values, or SQL in a one-element list."""
    wish = run_store.Wish(start_time=datetime.now(UTC) - timedelta(days=1))
    found = await run_store.create_run(connection, company, source, None, wish)
    assert found is not None
    run, created = found
    assert created
    if columns:
        await change_run(connection, run.run_id, columns)
    return run.run_id


async def change_run(connection: Connection, run_id: uuid.UUID, columns: Mapping[str, Any]) -> None:
    texts, values = [], []
    for name, value in columns.items():
        if isinstance(value, list):
            texts.append(f"{name} = {value[0]}")
        else:
            values.append(value)
            texts.append(f"{name} = ${len(values) + 1}")
    await connection.execute(f"UPDATE hookline.sync_runs SET {', '.join(texts)} WHERE run_id = $1", run_id, *values)


async def claimed(connection: Connection, run_id: uuid.UUID, lease: float = 60) -> attempt_store.Claim:
    claim = await attempt_store.claim_run(connection, COMPANY, run_id, timedelta(seconds=lease))
    assert claim is not None
    return claim
