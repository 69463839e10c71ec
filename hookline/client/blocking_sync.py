"""The part of the client for ordinary code that talks to the sync service."""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

import grpc

from hookline.client import runs
from hookline.client.blocking_calls import Calls
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
from hookline.sync.v1.sync_service_pb2_grpc import SyncServiceStub


class SyncCalls(Calls):
    """What `Client` does with sources and runs."""

    _sync_service: Service
    _sync_stub: SyncServiceStub

    def create_source(
        self,
        company: str,
        source: str,
        *,
        platform: str,
        base_url: str,
        credential: str,
        parameters: Mapping[str, str] | None = None,
    ) -> Source:
        """Makes a source: a place that events come from, with what it takes to pull its history.

        Raises InvalidRequest, of reason SOURCE_EXISTS, when there is one of that name; also when this very call made
        it, but the answer did not get through.
        """
        request = runs.create_source(company, source, platform, base_url, credential, parameters)
        return self._call(self._sync_service, self._sync_stub.CreateSource, request).source

    def list_sources(self, company: str) -> Sequence[Source]:
        """Gives all of the company's sources, by name."""
        request = ListSourcesRequest(company_id=company)
        return self._call(self._sync_service, self._sync_stub.ListSources, request).sources

    def delete_source(self, company: str, source: str) -> None:
        """Removes a source with its schedule and its runs' history; its events stay.

        Raises InvalidRequest while a run of it is active. Raises NotFound when there is none of that name; also when
        this very call removed it, but the answer did not get through.
        """
        request = DeleteSourceRequest(company_id=company, source=source)
        self._call(self._sync_service, self._sync_stub.DeleteSource, request)

    def check_source(self, company: str, source: str) -> CheckSourceResponse:
        """Fetches one page of a source's last day and stores nothing. See the response for what was wrong, if not
        `ok`: that raises nothing."""
        request = CheckSourceRequest(company_id=company, source=source)
        return self._call(self._sync_service, self._sync_stub.CheckSource, request)

    def start_schedule(self, company: str, source: str, every: timedelta | None = None) -> Source:
        """Starts, or changes, a source's schedule: the first run is due at once. `every` None is every 6 hours."""
        request = runs.start_schedule(company, source, every)
        return self._call(self._sync_service, self._sync_stub.StartSchedule, request).source

    def stop_schedule(self, company: str, source: str) -> Source:
        """Stops a source's schedule. A run under way goes on."""
        request = StopScheduleRequest(company_id=company, source=source)
        return self._call(self._sync_service, self._sync_stub.StopSchedule, request).source

    def trigger_sync(
        self, company: str, source: str = "", days_back: int = 0, request_id: str = ""
    ) -> TriggerSyncResponse:
        """Asks for a run now, and gives it; or the active run of the source, if there is one, which it joins.

        `source` may be left out when the company has one only. `days_back` 0 goes on from where the last run that
        succeeded began, or 30 days back. The same `request_id` again gives the same run; without one, the client makes
        one up for this call, so that trying again makes no second run.
        """
        request = runs.trigger_sync(company, source, days_back, request_id)
        return self._call(self._sync_service, self._sync_stub.TriggerSync, request)

    def sync_status(self, company: str) -> Sequence[SourceStatus]:
        """Says how the syncs of each of the company's sources stand."""
        request = GetSyncStatusRequest(company_id=company)
        return self._call(self._sync_service, self._sync_stub.GetSyncStatus, request).sources

    def get_run(self, company: str, run_id: str) -> SyncRun:
        """Gives one run. Raises NotFound when the company has none of that id."""
        request = GetSyncRunRequest(company_id=company, run_id=run_id)
        return self._call(self._sync_service, self._sync_stub.GetSyncRun, request).run

    def list_runs(self, company: str, source: str = "", *, page_size: int = 0) -> Iterator[SyncRun]:
        """Goes through the runs of a source, or of all, newest first, asking for each page when it is needed."""
        request = ListSyncRunsRequest(company_id=company, source=source, page_size=page_size)
        return self._items(self._sync_service, self._sync_stub.ListSyncRuns, request, lambda page: page.runs)

    def cancel_run(self, company: str, run_id: str) -> SyncRun:
        """Cancels a run, and gives it as it is now: it may take a moment more to end. What it stored stays."""
        request = CancelSyncRunRequest(company_id=company, run_id=run_id)
        return self._call(self._sync_service, self._sync_stub.CancelSyncRun, request).run

    def watch_run(self, company: str, run_id: str) -> Iterator[SyncRun]:
        """Gives a run as it is now, then after each change, until it has ended. There is no time limit.

        A broken stream is opened again. What happened meanwhile comes as one change.
        """
        request = WatchSyncRunRequest(company_id=company, run_id=run_id)
        watch, retry = runs.Watch(), Retry(self._sync_service)
        while True:
            call = self._sync_stub.WatchSyncRun(request)
            try:
                for message in call:
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
            time.sleep(delay)
