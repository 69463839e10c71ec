"""The part of the client for asyncio that talks to the sync service. Each method is documented in `blocking_sync`."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime, timedelta
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
    GetSourceRequest,
    GetSyncRunRequest,
    GetSyncStatusRequest,
    ListSourcesRequest,
    ListSyncDifferencesRequest,
    ListSyncRunsRequest,
    PauseScheduleRequest,
    ResumeScheduleRequest,
    Source,
    SourceStatus,
    StopScheduleRequest,
    SyncDifference,
    SyncRun,
    SyncRunLogEntry,
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
        look_back: timedelta | None = None,
        run_deadline: timedelta | None = None,
    ) -> Source:
        """Makes a source: see `Client.create_source`."""
        request = runs.create_source(
            company,
            source,
            platform=platform,
            base_url=base_url,
            credential=credential,
            parameters=parameters,
            look_back=look_back,
            run_deadline=run_deadline,
        )
        return (await self._call(self._sync_service, self._sync_stub.CreateSource, request)).source

    async def update_source(
        self,
        company: str,
        source: str,
        *,
        base_url: str | None = None,
        credential: str | None = None,
        parameters: Mapping[str, str] | None = None,
        look_back: timedelta | None = None,
        run_deadline: timedelta | None = None,
    ) -> Source:
        """Changes a source: see `Client.update_source`."""
        request = runs.update_source(
            company,
            source,
            base_url=base_url,
            credential=credential,
            parameters=parameters,
            look_back=look_back,
            run_deadline=run_deadline,
        )
        return (await self._call(self._sync_service, self._sync_stub.UpdateSource, request)).source

    async def get_source(self, company: str, source: str) -> Source:
        """Gives one source: see `Client.get_source`."""
        request = GetSourceRequest(company_id=company, source=source)
        return (await self._call(self._sync_service, self._sync_stub.GetSource, request)).source

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

    async def start_schedule(
        self,
        company: str,
        source: str,
        interval: timedelta | None = None,
        *,
        cron: str = "",
        time_zone: str = "",
        jitter: timedelta | None = None,
    ) -> Source:
        """Starts, or changes, a source's schedule: see `Client.start_schedule`."""
        request = runs.start_schedule(company, source, interval=interval, cron=cron, time_zone=time_zone, jitter=jitter)
        return (await self._call(self._sync_service, self._sync_stub.StartSchedule, request)).source

    async def pause_schedule(self, company: str, source: str) -> Source:
        """Pauses a source's schedule: see `Client.pause_schedule`."""
        request = PauseScheduleRequest(company_id=company, source=source)
        return (await self._call(self._sync_service, self._sync_stub.PauseSchedule, request)).source

    async def resume_schedule(self, company: str, source: str) -> Source:
        """Lets a paused schedule go on: see `Client.resume_schedule`."""
        request = ResumeScheduleRequest(company_id=company, source=source)
        return (await self._call(self._sync_service, self._sync_stub.ResumeSchedule, request)).source

    async def stop_schedule(self, company: str, source: str) -> Source:
        """Stops a source's schedule: see `Client.stop_schedule`."""
        request = StopScheduleRequest(company_id=company, source=source)
        return (await self._call(self._sync_service, self._sync_stub.StopSchedule, request)).source

    async def trigger_sync(
        self,
        company: str,
        source: str = "",
        days_back: int = 0,
        request_id: str = "",
        *,
        start: datetime | None = None,
        until: datetime | None = None,
        queue: bool = False,
    ) -> TriggerSyncResponse:
        """Asks for a run now: see `Client.trigger_sync`."""
        request = runs.trigger_sync(
            company, source, days_back=days_back, request_id=request_id, start=start, until=until, queue=queue
        )
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

    async def run_log(
        self, company: str, run_id: str, *, page_size: int = 0, follow: bool = False
    ) -> AsyncGenerator[SyncRunLogEntry, None]:
        """Goes through what happened in a run: see `Client.run_log`."""
        log = runs.Log(company, run_id, page_size)
        has_ended = not follow or runs.has_ended(await self.get_run(company, run_id))
        while True:
            page = await self._call(self._sync_service, self._sync_stub.ListSyncRunLog, log.request)
            for entry in log.take(page):
                yield entry
            if page.next_page_token:
                continue
            if has_ended:
                return
            await asyncio.sleep(runs.FOLLOW_SECONDS)
            # Asked before the log is: what comes with the end is read, too.
            has_ended = runs.has_ended(await self.get_run(company, run_id))

    def sync_differences(
        self, company: str, run_id: str, *, page_size: int = 0
    ) -> AsyncGenerator[SyncDifference, None]:
        """Goes through what a run's reconciliation has found: see `Client.sync_differences`."""
        request = ListSyncDifferencesRequest(company_id=company, run_id=run_id, page_size=page_size)
        return self._items(
            self._sync_service, self._sync_stub.ListSyncDifferences, request, lambda page: page.differences
        )
