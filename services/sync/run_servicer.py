"""The part of SyncService that deals with runs."""

import asyncio
import uuid
from collections.abc import AsyncIterator

from hookline.sync.v1 import sync_service_pb2 as pb
from services.sync import ending, reaper_store, reconciling, run_conversion, run_log, run_store, source_store
from services.sync.doorbell import Doorbell
from services.sync.run_store import Run, Wish
from shared import db, page_tokens, requests
from shared.errors import DatabaseUnavailable, InvalidField, ServerStopping, SourceNotFound, SyncRunNotFound, Violation
from shared.interceptors import Context

WATCH_SECONDS = 0.5
"""How often a watched run is looked at."""
SHOW_SECONDS = 0.1
"""The same while it changes: as often as anyone can see."""


class RunServicer:
    """See protos/hookline/sync/v1/sync_service.proto."""

    _pool: db.Pool
    _doorbell: Doorbell
    _stopping: asyncio.Event

    async def TriggerSync(self, request: pb.TriggerSyncRequest, context: Context) -> pb.TriggerSyncResponse:
        company_id = requests.company(request.company_id)
        wish = run_conversion.to_wish(request)
        async with db.acquired(self._pool) as connection:
            name = await self._only_source(connection, company_id) if not request.source else request.source
            requests.source(name)
            run, created = await self._run_for(connection, company_id, name, request.request_id or None, wish)
        if created and not run.behind and await self._doorbell.ring(company_id, run.run_id):
            async with db.acquired(self._pool) as connection:
                await reaper_store.note_kick(connection, company_id, run.run_id)
        return pb.TriggerSyncResponse(run=run_conversion.from_run(run), created=created)

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
            sources=[run_conversion.from_status(source, runs, health.get(source.source)) for source in sources]
        )

    async def GetSyncRun(self, request: pb.GetSyncRunRequest, context: Context) -> pb.GetSyncRunResponse:
        company_id, run_id = requests.company(request.company_id), requests.uuid_of(request.run_id, "run_id")
        return pb.GetSyncRunResponse(run=run_conversion.from_run(await self._get_run(company_id, run_id)))

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
            runs=[run_conversion.from_run(run) for run in page],
            next_page_token=page_tokens.encode(page[-1].run_id, *tie) if len(runs) > page_size else "",
        )

    async def CancelSyncRun(self, request: pb.CancelSyncRunRequest, context: Context) -> pb.CancelSyncRunResponse:
        company_id, run_id = requests.company(request.company_id), requests.uuid_of(request.run_id, "run_id")
        async with db.acquired(self._pool) as connection:
            await ending.cancel_run(connection, company_id, run_id)
        return pb.CancelSyncRunResponse(run=run_conversion.from_run(await self._get_run(company_id, run_id)))

    async def WatchSyncRun(
        self, request: pb.WatchSyncRunRequest, context: Context
    ) -> AsyncIterator[pb.WatchSyncRunResponse]:
        company_id, run_id = requests.company(request.company_id), requests.uuid_of(request.run_id, "run_id")
        shown: pb.SyncRun | None = None
        has_ended = False
        while not has_ended:
            run = await self._get_run(company_id, run_id)
            message, has_ended = run_conversion.from_run(run), run.state.has_ended
            pause = WATCH_SECONDS
            if message != shown:
                shown, pause = message, SHOW_SECONDS
                yield pb.WatchSyncRunResponse(run=message)
            if not has_ended and await self._stops_within(pause):
                raise ServerStopping

    async def ListSyncRunLog(self, request: pb.ListSyncRunLogRequest, context: Context) -> pb.ListSyncRunLogResponse:
        company_id, run_id = requests.company(request.company_id), requests.uuid_of(request.run_id, "run_id")
        page_size = requests.page_size(request.page_size, default=100, most=1000)
        tie = ("ListSyncRunLog", company_id, run_id)
        after = page_tokens.decode(request.page_token, int, *tie) or 0
        await self._get_run(company_id, run_id)
        async with db.acquired(self._pool) as connection:
            entries = await run_log.list_entries(connection, company_id, run_id, after, page_size + 1)
        page = entries[:page_size]
        return pb.ListSyncRunLogResponse(
            entries=[run_conversion.from_entry(entry) for entry in page],
            next_page_token=page_tokens.encode(page[-1].entry, *tie) if len(entries) > page_size else "",
        )

    async def ListSyncDifferences(
        self, request: pb.ListSyncDifferencesRequest, context: Context
    ) -> pb.ListSyncDifferencesResponse:
        company_id, run_id = requests.company(request.company_id), requests.uuid_of(request.run_id, "run_id")
        page_size = requests.page_size(request.page_size, default=100, most=1000)
        tie = ("ListSyncDifferences", company_id, run_id)
        after = page_tokens.decode(request.page_token, int, *tie) or 0
        await self._get_run(company_id, run_id)
        async with db.acquired(self._pool) as connection:
            found = await reconciling.list_differences(connection, company_id, run_id, after, page_size + 1)
        page = found[:page_size]
        return pb.ListSyncDifferencesResponse(
            differences=[run_conversion.from_difference(difference) for _, difference in page],
            next_page_token=page_tokens.encode(page[-1][0], *tie) if len(found) > page_size else "",
        )

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
        self, connection: db.Connection, company_id: str, source: str, request_id: str | None, wish: Wish
    ) -> tuple[Run, bool]:
        # Nothing made and nothing found: a run ended in between, or there is no source.
        for _ in range(10):
            found = await run_store.create_run(connection, company_id, source, request_id, wish)
            if found is not None:
                return found
            if await source_store.get_source(connection, company_id, source) is None:
                raise SourceNotFound(source)
        # Its runs come and go as fast as they are asked for.
        raise DatabaseUnavailable

    async def _get_run(self, company_id: str, run_id: uuid.UUID) -> Run:
        async with db.acquired(self._pool) as connection:
            run = await run_store.get_run(connection, company_id, run_id)
        if run is None:
            raise SyncRunNotFound(str(run_id))
        return run
