"""SyncService: converts requests, calls, converts back."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import aiohttp

from hookline.sync.v1 import sync_service_pb2 as pb
from hookline.sync.v1 import sync_service_pb2_grpc
from services.sync import conversion, store
from services.sync.connector import Connector, Endpoint, TryLater
from services.sync.doorbell import Doorbell
from services.sync.history import Cursor, Refused
from services.sync.store import Run
from shared import db, page_tokens, requests
from shared.errors import (
    InvalidField,
    ServerStopping,
    SourceExists,
    SourceNotFound,
    SyncRunActive,
    SyncRunNotFound,
    Violation,
)
from shared.interceptors import Context
from shared.platforms import platforms
from shared.vault import Vault

WATCH_SECONDS = 0.5


class SyncServicer(sync_service_pb2_grpc.SyncServiceServicer):
    """See protos/hookline/sync/v1/sync_service.proto."""

    def __init__(
        self,
        pool: db.Pool,
        doorbell: Doorbell,
        vault: Vault,
        session: aiohttp.ClientSession,
        stopping: asyncio.Event,
        *,
        allow_loopback: bool,
    ) -> None:
        self._pool = pool
        self._doorbell = doorbell
        self._vault = vault
        self._session = session
        self._stopping = stopping
        self._allow_loopback = allow_loopback

    async def CreateSource(self, request: pb.CreateSourceRequest, context: Context) -> pb.CreateSourceResponse:
        company_id, name = requests.company(request.company_id), requests.source(request.source)
        platform = conversion.check_new_source(request, allow_loopback=self._allow_loopback)
        async with db.acquired(self._pool) as connection:
            source = await store.create_source(
                connection,
                company_id,
                name,
                platform=platform.name,
                base_url=request.base_url,
                credential=self._vault.encrypt(request.credential),
                parameters=dict(request.parameters),
            )
        if source is None:
            raise SourceExists(name)
        return pb.CreateSourceResponse(source=conversion.from_source(source))

    async def ListSources(self, request: pb.ListSourcesRequest, context: Context) -> pb.ListSourcesResponse:
        company_id = requests.company(request.company_id)
        async with db.acquired(self._pool) as connection:
            sources = await store.list_sources(connection, company_id)
        return pb.ListSourcesResponse(sources=[conversion.from_source(source) for source in sources])

    async def DeleteSource(self, request: pb.DeleteSourceRequest, context: Context) -> pb.DeleteSourceResponse:
        company_id, name = requests.company(request.company_id), requests.source(request.source)
        async with db.acquired(self._pool) as connection:
            if not await store.delete_source(connection, company_id, name):
                exists = await store.source_secret(connection, company_id, name) is not None
                raise SyncRunActive(name) if exists else SourceNotFound(name)
        return pb.DeleteSourceResponse()

    async def CheckSource(self, request: pb.CheckSourceRequest, context: Context) -> pb.CheckSourceResponse:
        company_id, name = requests.company(request.company_id), requests.source(request.source)
        async with db.acquired(self._pool) as connection:
            secret = await store.source_secret(connection, company_id, name)
        if secret is None:
            raise SourceNotFound(name)
        history = platforms()[secret.platform].history
        assert history is not None
        endpoint = Endpoint(secret.base_url, self._vault.decrypt(secret.credential), secret.parameters, history)
        connector = Connector(self._session, endpoint, first_wait=1)
        try:
            page = await connector.page(Cursor.start(datetime.now(UTC) - timedelta(days=1)), attempts=1)
        except (Refused, TryLater) as error:
            return pb.CheckSourceResponse(ok=False, problem=str(error))
        return pb.CheckSourceResponse(ok=True, events=len(page.payloads))

    async def StartSchedule(self, request: pb.StartScheduleRequest, context: Context) -> pb.StartScheduleResponse:
        company_id, name = requests.company(request.company_id), requests.source(request.source)
        interval = conversion.to_interval(request)
        async with db.acquired(self._pool) as connection:
            source = await store.start_schedule(connection, company_id, name, interval)
        if source is None:
            raise SourceNotFound(name)
        return pb.StartScheduleResponse(source=conversion.from_source(source))

    async def StopSchedule(self, request: pb.StopScheduleRequest, context: Context) -> pb.StopScheduleResponse:
        company_id, name = requests.company(request.company_id), requests.source(request.source)
        async with db.acquired(self._pool) as connection:
            source = await store.stop_schedule(connection, company_id, name)
        if source is None:
            raise SourceNotFound(name)
        return pb.StopScheduleResponse(source=conversion.from_source(source))

    async def TriggerSync(self, request: pb.TriggerSyncRequest, context: Context) -> pb.TriggerSyncResponse:
        company_id = requests.company(request.company_id)
        conversion.check_trigger(request)
        async with db.acquired(self._pool) as connection:
            name = await self._only_source(connection, company_id) if not request.source else request.source
            requests.source(name)
            run, created = await self._run_for(connection, company_id, name, request)
        if created and await self._doorbell.ring(company_id, run.run_id):
            async with db.acquired(self._pool) as connection:
                await store.note_kick(connection, company_id, run.run_id)
        return pb.TriggerSyncResponse(run=conversion.from_run(run), created=created)

    async def GetSyncStatus(self, request: pb.GetSyncStatusRequest, context: Context) -> pb.GetSyncStatusResponse:
        company_id = requests.company(request.company_id)
        async with (
            db.acquired(self._pool) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            sources = await store.list_sources(connection, company_id)
            runs = await store.source_runs(connection, company_id)
            health = await store.source_health(connection, company_id)
        return pb.GetSyncStatusResponse(
            sources=[conversion.from_status(source, runs, health.get(source.source)) for source in sources]
        )

    async def GetSyncRun(self, request: pb.GetSyncRunRequest, context: Context) -> pb.GetSyncRunResponse:
        company_id, run_id = requests.company(request.company_id), requests.uuid_of(request.run_id, "run_id")
        return pb.GetSyncRunResponse(run=conversion.from_run(await self._get_run(company_id, run_id)))

    async def ListSyncRuns(self, request: pb.ListSyncRunsRequest, context: Context) -> pb.ListSyncRunsResponse:
        company_id = requests.company(request.company_id)
        source = requests.source(request.source) if request.source else None
        page_size = requests.page_size(request.page_size, default=50, most=500)
        tie = ("ListSyncRuns", company_id, source)
        before = page_tokens.decode(request.page_token, uuid.UUID, *tie)
        async with db.acquired(self._pool) as connection:
            runs = await store.list_runs(connection, company_id, source, before, page_size + 1)
        page = runs[:page_size]
        return pb.ListSyncRunsResponse(
            runs=[conversion.from_run(run) for run in page],
            next_page_token=page_tokens.encode(page[-1].run_id, *tie) if len(runs) > page_size else "",
        )

    async def CancelSyncRun(self, request: pb.CancelSyncRunRequest, context: Context) -> pb.CancelSyncRunResponse:
        company_id, run_id = requests.company(request.company_id), requests.uuid_of(request.run_id, "run_id")
        async with db.acquired(self._pool) as connection:
            run = await store.cancel_run(connection, company_id, run_id)
        return pb.CancelSyncRunResponse(run=conversion.from_run(run or await self._get_run(company_id, run_id)))

    async def WatchSyncRun(
        self, request: pb.WatchSyncRunRequest, context: Context
    ) -> AsyncIterator[pb.WatchSyncRunResponse]:
        company_id, run_id = requests.company(request.company_id), requests.uuid_of(request.run_id, "run_id")
        shown: Run | None = None
        while shown is None or not shown.state.has_ended:
            run = await self._get_run(company_id, run_id)
            if run != shown:
                shown = run
                yield pb.WatchSyncRunResponse(run=conversion.from_run(run))
            elif await self._stops_within(WATCH_SECONDS):
                raise ServerStopping

    async def _stops_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._stopping.wait()
        except TimeoutError:
            return False

    async def _only_source(self, connection: db.Connection, company_id: str) -> str:
        sources = await store.list_sources(connection, company_id)
        if len(sources) != 1:
            raise InvalidField(Violation("source", f"is required: the company has {len(sources)} sources"))
        return sources[0].source

    async def _run_for(
        self, connection: db.Connection, company_id: str, source: str, request: pb.TriggerSyncRequest
    ) -> tuple[Run, bool]:
        # Nothing made and nothing found: a run ended in between, or there is no source.
        for _ in range(10):
            found = await store.create_run(
                connection, company_id, source, request.request_id or None, request.days_back
            )
            if found is not None:
                return found
            if await store.source_secret(connection, company_id, source) is None:
                break
        raise SourceNotFound(source)

    async def _get_run(self, company_id: str, run_id: uuid.UUID) -> Run:
        async with db.acquired(self._pool) as connection:
            run = await store.get_run(connection, company_id, run_id)
        if run is None:
            raise SyncRunNotFound(str(run_id))
        return run
