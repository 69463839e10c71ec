"""The part of the client for asyncio that talks to the sync service. Each method is documented in `blocking_sync`."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc

from hookline.client import runs
from hookline.client.aio_calls import Calls
from hookline.client.retry import Retry, Service
from hookline.sync.v1.sync_service_pb2 import (
    CancelSyncRunRequest,
    CheckSourceRequest,
    CheckSourceResponse,
    DeleteSourceRequest,
    GetSyncRunRequest,
    GetSyncStatusRequest,
    ListSourcesRequest,
    ListSyncRunsRequest,
    Source,
    SourceStatus,
    StopScheduleRequest,
    SyncRun,
    TriggerSyncResponse,
    WatchSyncRunRequest,
)

if TYPE_CHECKING:
    # The name is in the type stubs only.
    from hookline.sync.v1.sync_service_pb2_grpc import SyncServiceAsyncStub


class SyncCalls(Calls):
    """What `AsyncClient` does with sources and runs."""

    _sync_service: Service
    _sync_stub: "SyncServiceAsyncStub"

    async def create_source(
        self,
        company: str,
        source: str,
        *,
        platform: str,
        base_url: str,
        credential: str,
        parameters: Mapping[str, str] | None = None,
    ) -> Source:
        """Makes a source: see `Client.create_source`."""
        request = runs.create_source(company, source, platform, base_url, credential, parameters)
        return (await self._call(self._sync_service, self._sync_stub.CreateSource, request)).source

    async def list_sources(self, company: str) -> Sequence[Source]:
        """Gives all of the company's sources: see `Client.list_sources`."""
        request = ListSourcesRequest(company_id=company)
        return (await self._call(self._sync_service, self._sync_stub.ListSources, request)).sources

    async def delete_source(self, company: str, source: str) -> None:
        """Removes a source: see `Client.delete_source`."""
        request = DeleteSourceRequest(company_id=company, source=source)
        await self._call(self._sync_service, self._sync_stub.DeleteSource, request)

    async def check_source(self, company: str, source: str) -> CheckSourceResponse:
        """Tries a source: see `Client.check_source`."""
        request = CheckSourceRequest(company_id=company, source=source)
        return await self._call(self._sync_service, self._sync_stub.CheckSource, request)

    async def start_schedule(self, company: str, source: str, every: timedelta | None = None) -> Source:
        """Starts, or changes, a source's schedule: see `Client.start_schedule`."""
        request = runs.start_schedule(company, source, every)
        return (await self._call(self._sync_service, self._sync_stub.StartSchedule, request)).source

    async def stop_schedule(self, company: str, source: str) -> Source:
        """Stops a source's schedule: see `Client.stop_schedule`."""
        request = StopScheduleRequest(company_id=company, source=source)
        return (await self._call(self._sync_service, self._sync_stub.StopSchedule, request)).source

    async def trigger_sync(
        self, company: str, source: str = "", days_back: int = 0, request_id: str = ""
    ) -> TriggerSyncResponse:
        """Asks for a run now: see `Client.trigger_sync`."""
        request = runs.trigger_sync(company, source, days_back, request_id)
        return await self._call(self._sync_service, self._sync_stub.TriggerSync, request)

    async def sync_status(self, company: str) -> Sequence[SourceStatus]:
        """Says how the syncs stand: see `Client.sync_status`."""
        request = GetSyncStatusRequest(company_id=company)
        return (await self._call(self._sync_service, self._sync_stub.GetSyncStatus, request)).sources

    async def get_run(self, company: str, run_id: str) -> SyncRun:
        """Gives one run: see `Client.get_run`."""
        request = GetSyncRunRequest(company_id=company, run_id=run_id)
        return (await self._call(self._sync_service, self._sync_stub.GetSyncRun, request)).run

    def list_runs(self, company: str, source: str = "", *, page_size: int = 0) -> AsyncGenerator[SyncRun, None]:
        """Goes through the runs: see `Client.list_runs`."""
        request = ListSyncRunsRequest(company_id=company, source=source, page_size=page_size)
        return self._items(self._sync_service, self._sync_stub.ListSyncRuns, request, lambda page: page.runs)

    async def cancel_run(self, company: str, run_id: str) -> SyncRun:
        """Cancels a run: see `Client.cancel_run`."""
        request = CancelSyncRunRequest(company_id=company, run_id=run_id)
        return (await self._call(self._sync_service, self._sync_stub.CancelSyncRun, request)).run

    async def watch_run(self, company: str, run_id: str) -> AsyncGenerator[SyncRun, None]:
        """Gives a run after each change, until it has ended: see `Client.watch_run`."""
        request = WatchSyncRunRequest(company_id=company, run_id=run_id)
        watch, retry = runs.Watch(), Retry(self._sync_service)
        while True:
            call = self._sync_stub.WatchSyncRun(request)
            try:
                async for message in call:
                    retry.progressed()
                    if watch.is_news(message.run):
                        yield message.run
                if watch.has_ended:
                    return
                delay = retry.delay_after(self._sync_service.ended_early("the run had ended"))
            except grpc.RpcError as error:
                if watch.has_ended:
                    return
                delay = retry.delay_after(error)
            finally:
                call.cancel()
            await asyncio.sleep(delay)
