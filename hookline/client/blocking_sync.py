"""The part of the client for ordinary code that talks to the sync service."""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import grpc

from hookline.client import runs
from hookline.client.blocking_calls import Calls
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
        look_back: timedelta | None = None,
        run_deadline: timedelta | None = None,
    ) -> Source:
        """Makes a source: a place that events come from, with what it takes to pull its history.

        Raises InvalidRequest, of reason SOURCE_EXISTS, when there is one of that name; also when this very call made
        it, but the answer did not get through. `look_back`: how far before what was read last a run begins, by default
        one hour. `run_deadline`: how long a run may take, by default 24 hours.
        """
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
        return self._call(self._sync_service, self._sync_stub.CreateSource, request).source

    def update_source(
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
        """Changes what is given of a source, and leaves the rest. A change holds for runs that begin afterwards, and
        from the next attempt on for runs under way.

        `parameters` are all of them: those left out are removed. A `base_url` of another scheme, host or port takes the
        credential, too. Raises InvalidRequest when nothing is given.
        """
        request = runs.update_source(
            company,
            source,
            base_url=base_url,
            credential=credential,
            parameters=parameters,
            look_back=look_back,
            run_deadline=run_deadline,
        )
        return self._call(self._sync_service, self._sync_stub.UpdateSource, request).source

    def get_source(self, company: str, source: str) -> Source:
        """Gives one source. Raises NotFound when there is none of that name."""
        request = GetSourceRequest(company_id=company, source=source)
        return self._call(self._sync_service, self._sync_stub.GetSource, request).source

    def list_sources(self, company: str) -> Sequence[Source]:
        """Gives all of the company's sources, by name."""
        request = ListSourcesRequest(company_id=company)
        return self._call(self._sync_service, self._sync_stub.ListSources, request).sources

    def delete_source(self, company: str, source: str) -> None:
        """Removes a source with its schedule, its runs' history and its alerts; its events stay.

        Raises InvalidRequest while a run of it is active or waits behind one. Raises NotFound when there is none of
        that name; also when this very call removed it, but the answer did not get through.
        """
        request = DeleteSourceRequest(company_id=company, source=source)
        self._call(self._sync_service, self._sync_stub.DeleteSource, request)

    def check_source(self, company: str, source: str) -> CheckSourceResponse:
        """Fetches one page of a source's newest days and stores nothing. The response has samples of what would be made
        of it, and says what was wrong, if not `ok`: that raises nothing."""
        request = CheckSourceRequest(company_id=company, source=source)
        return self._call(self._sync_service, self._sync_stub.CheckSource, request)

    def start_schedule(
        self,
        company: str,
        source: str,
        interval: timedelta | None = None,
        *,
        cron: str = "",
        time_zone: str = "",
        jitter: timedelta | None = None,
    ) -> Source:
        """Starts, or changes, a source's schedule; one that was paused goes on.

        Either every `interval`, from one minute to 30 days, the first run being due at once; or at the times of a
        `cron` expression of five fields, such as "0 3 * * *", in an IANA `time_zone`, by default UTC. Without either,
        every 6 hours. ValueError for both. Each source is late by its own part of `jitter`, by default a tenth of the
        time between two runs, and at most 10 minutes.
        """
        request = runs.start_schedule(company, source, interval=interval, cron=cron, time_zone=time_zone, jitter=jitter)
        return self._call(self._sync_service, self._sync_stub.StartSchedule, request).source

    def pause_schedule(self, company: str, source: str) -> Source:
        """Pauses a source's schedule, keeping its settings. A run under way goes on.

        Raises NotFound, of reason SCHEDULE_NOT_FOUND, when it has none.
        """
        request = PauseScheduleRequest(company_id=company, source=source)
        return self._call(self._sync_service, self._sync_stub.PauseSchedule, request).source

    def resume_schedule(self, company: str, source: str) -> Source:
        """Lets a paused schedule go on; what was due meanwhile is not caught up. Raises as `pause_schedule`."""
        request = ResumeScheduleRequest(company_id=company, source=source)
        return self._call(self._sync_service, self._sync_stub.ResumeSchedule, request).source

    def stop_schedule(self, company: str, source: str) -> Source:
        """Stops a source's schedule. A run under way goes on."""
        request = StopScheduleRequest(company_id=company, source=source)
        return self._call(self._sync_service, self._sync_stub.StopSchedule, request).source

    def trigger_sync(
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
        """Asks for a run now, and gives it; or the active run of the source, if there is one, which it joins.

        `source` may be left out when the company has one only. The run pulls from `days_back` days ago on, or from
        `start` on; with `until`, only what is dated before that. Without either it goes on from where the history was
        read up to, less the source's look-back, or begins 30 days back. Times need a time zone, else ValueError.

        `queue`: rather than joining the active run, whatever its span, a run of its own waits until that has ended.
        Raises Unavailable, of reason SYNC_QUEUE_FULL, when 100 wait already.

        The same `request_id` again gives the same run; without one, the client makes one up for this call, so that
        trying again makes no second run.
        """
        request = runs.trigger_sync(
            company, source, days_back=days_back, request_id=request_id, start=start, until=until, queue=queue
        )
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

    def run_log(
        self, company: str, run_id: str, *, page_size: int = 0, follow: bool = False
    ) -> Iterator[SyncRunLogEntry]:
        """Goes through what happened in a run, in order, asking for each page when it is needed.

        `follow`: of a run that has not ended, what happens further is given as it comes, until it has.
        """
        log = runs.Log(company, run_id, page_size)
        has_ended = not follow or runs.has_ended(self.get_run(company, run_id))
        while True:
            page = self._call(self._sync_service, self._sync_stub.ListSyncRunLog, log.request)
            yield from log.take(page)
            if page.next_page_token:
                continue
            if has_ended:
                return
            time.sleep(runs.FOLLOW_SECONDS)
            # Asked before the log is: what comes with the end is read, too.
            has_ended = runs.has_ended(self.get_run(company, run_id))

    def sync_differences(self, company: str, run_id: str, *, page_size: int = 0) -> Iterator[SyncDifference]:
        """Goes through what a run's reconciliation has found on one side only, at most 10,000; nothing, too, when the
        run has not been reconciled: see `SyncRun.reconciliation`."""
        request = ListSyncDifferencesRequest(company_id=company, run_id=run_id, page_size=page_size)
        return self._items(
            self._sync_service, self._sync_stub.ListSyncDifferences, request, lambda page: page.differences
        )
