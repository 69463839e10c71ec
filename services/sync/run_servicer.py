"""The part of SyncService that deals with runs."""

import asyncio
import uuid
from collections.abc import AsyncIterator

from hookline.sync.v1 import sync_service_pb2 as pb
from services.sync import conversion, reaper_store, run_store, source_store
from services.sync.doorbell import Doorbell
from services.sync.run_store import Run
from shared import db, page_tokens, requests
from shared.errors import InvalidField, ServerStopping, SourceNotFound, SyncRunNotFound, Violation
from shared.interceptors import Context

WATCH_SECONDS = 0.5


class RunServicer:
    """See protos/hookline/sync/v1/sync_service.proto."""

    _pool: db.Pool
    _doorbell: Doorbell
    _stopping: asyncio.Event

    async def TriggerSync(self, request: pb.TriggerSyncRequest, context: Context) -> pb.TriggerSyncResponse:
        company_id = requests.company(request.company_id)
        conversion.check_trigger(request)
        async with db.acquired(self._pool) as connection:
            name = await self._only_source(connection, company_id) if not request.source else request.source
            requests.source(name)
            run, created = await self._run_for(connection, company_id, name, request)
        if created and await self._doorbell.ring(company_id, run.run_id):
            async with db.acquired(self._pool) as connection:
                await reaper_store.note_kick(connection, company_id, run.run_id)
        return pb.TriggerSyncResponse(run=conversion.from_run(run), created=created)

    async def GetSyncStatus(self, request: pb.GetSyncStatusRequest, context: Context) -> pb.GetSyncStatusResponse:
        company_id = requests.company(request.company_id)
        async with (
            db.acquired(self._pool) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            sources = await source_store.list_sources(connection, company_id)
            runs = await run_store.source_runs(connection, company_id)
            health = await run_store.source_health(connection, company_id)
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
            runs = await run_store.list_runs(connection, company_id, source, before, page_size + 1)
        page = runs[:page_size]
        return pb.ListSyncRunsResponse(
            runs=[conversion.from_run(run) for run in page],
            next_page_token=page_tokens.encode(page[-1].run_id, *tie) if len(runs) > page_size else "",
        )

    async def CancelSyncRun(self, request: pb.CancelSyncRunRequest, context: Context) -> pb.CancelSyncRunResponse:
        company_id, run_id = requests.company(request.company_id), requests.uuid_of(request.run_id, "run_id")
        async with db.acquired(self._pool) as connection:
            run = await run_store.cancel_run(connection, company_id, run_id)
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
        sources = await source_store.list_sources(connection, company_id)
        if len(sources) != 1:
            raise InvalidField(Violation("source", f"is required: the company has {len(sources)} sources"))
        return sources[0].source

    async def _run_for(
        self, connection: db.Connection, company_id: str, source: str, request: pb.TriggerSyncRequest
    ) -> tuple[Run, bool]:
        # Nothing made and nothing found: a run ended in between, or there is no source.
        for _ in range(10):
            found = await run_store.create_run(
                connection, company_id, source, request.request_id or None, request.days_back
            )
            if found is not None:
                return found
            if await source_store.source_secret(connection, company_id, source) is None:
                break
        raise SourceNotFound(source)

    async def _get_run(self, company_id: str, run_id: uuid.UUID) -> Run:
        async with db.acquired(self._pool) as connection:
            run = await run_store.get_run(connection, company_id, run_id)
        if run is None:
            raise SyncRunNotFound(str(run_id))
        return run
