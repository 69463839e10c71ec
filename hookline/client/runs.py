"""Syncs, without the transport: how arguments become requests, and what is news of a run that is watched, or in a log
that is followed. Pure but for the random ids of requests."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from google.protobuf.field_mask_pb2 import FieldMask

from hookline.client import requests
from hookline.sync.v1.sync_service_pb2 import (
    CreateSourceRequest,
    ListSyncRunLogRequest,
    ListSyncRunLogResponse,
    StartScheduleRequest,
    SyncRun,
    SyncRunLogEntry,
    SyncRunState,
    TriggerSyncRequest,
    UpdateSourceRequest,
    WhenActive,
)

FOLLOW_SECONDS = 1.0
"""How long after a look at a log that is followed the next one comes."""

ENDED = frozenset(
    {
        SyncRunState.SYNC_RUN_STATE_SUCCEEDED,
        SyncRunState.SYNC_RUN_STATE_FAILED,
        SyncRunState.SYNC_RUN_STATE_CANCELLED,
        SyncRunState.SYNC_RUN_STATE_INCOMPLETE,
    }
)


def has_ended(run: SyncRun) -> bool:
    """Whether nothing more will come of the run; also by an end that this client does not know."""
    return run.state in ENDED or run.HasField("end_time")


def create_source(
    company: str,
    source: str,
    *,
    platform: str,
    base_url: str,
    credential: str,
    parameters: Mapping[str, str] | None,
    look_back: timedelta | None,
    run_deadline: timedelta | None,
) -> CreateSourceRequest:
    """The request for a new source. Raises ValueError for a time that no message can hold."""
    return CreateSourceRequest(
        company_id=company,
        source=source,
        platform=platform,
        base_url=base_url,
        credential=credential,
        parameters=parameters,
        look_back=requests.duration(look_back),
        run_deadline=requests.duration(run_deadline),
    )


def update_source(
    company: str,
    source: str,
    *,
    base_url: str | None,
    credential: str | None,
    parameters: Mapping[str, str] | None,
    look_back: timedelta | None,
    run_deadline: timedelta | None,
) -> UpdateSourceRequest:
    """The request that changes what is not None. Raises ValueError for a time that no message can hold."""
    given = {
        "base_url": base_url,
        "credential": credential,
        "parameters": parameters,
        "look_back": look_back,
        "run_deadline": run_deadline,
    }
    return UpdateSourceRequest(
        company_id=company,
        source=source,
        update_mask=FieldMask(paths=[name for name, value in given.items() if value is not None]),
        base_url=base_url or "",
        credential=credential or "",
        parameters=parameters,
        look_back=requests.duration(look_back),
        run_deadline=requests.duration(run_deadline),
    )


def start_schedule(
    company: str, source: str, *, interval: timedelta | None, cron: str, time_zone: str, jitter: timedelta | None
) -> StartScheduleRequest:
    """The request for a schedule. Raises ValueError for two kinds of times at once, and for a time that no message can
    hold."""
    if interval is not None and cron:
        raise ValueError("a schedule is by interval or by cron, not by both")
    request = StartScheduleRequest(
        company_id=company, source=source, time_zone=time_zone, jitter=requests.duration(jitter)
    )
    if cron:
        request.cron = cron
    elif interval is not None:
        request.interval.FromTimedelta(interval)
    return request


def trigger_sync(
    company: str,
    source: str,
    *,
    days_back: int,
    request_id: str,
    start: datetime | None,
    until: datetime | None,
    queue: bool,
) -> TriggerSyncRequest:
    """The request for a run; always with an id, so that it may be sent again. Raises ValueError for a time without a
    time zone."""
    return TriggerSyncRequest(
        company_id=company,
        source=source,
        days_back=days_back,
        request_id=request_id or str(uuid.uuid4()),
        start_time=requests.timestamp(start),
        until_time=requests.timestamp(until),
        when_active=WhenActive.WHEN_ACTIVE_QUEUE if queue else WhenActive.WHEN_ACTIVE_UNSPECIFIED,
    )


class Watch:
    """A run as it is watched, over however many streams it takes."""

    def __init__(self) -> None:
        self._seen: SyncRun | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come."""
        return self._seen is not None and has_ended(self._seen)

    def is_news(self, run: SyncRun) -> bool:
        """Takes the run as it has come; says whether it differs from what came before. A stream that is opened again
        begins with what may have been seen on the one before."""
        if run == self._seen:
            return False
        self._seen = run
        return True


class Log:
    """A run's log as it is read, also while it grows: its last page has no token of a next one, and is asked for
    again."""

    def __init__(self, company: str, run_id: str, page_size: int) -> None:
        self.request = ListSyncRunLogRequest(company_id=company, run_id=run_id, page_size=page_size)
        self._seen: set[bytes] = set()

    def take(self, page: ListSyncRunLogResponse) -> Sequence[SyncRunLogEntry]:
        """Takes the page that `request` has brought; gives what of it is new. `request` is then that for what comes
        after."""
        # Not by their number: two that are written at once may come to be seen in the wrong order.
        entries = [entry for entry in page.entries if entry.SerializeToString() not in self._seen]
        if page.next_page_token:
            self.request.page_token = page.next_page_token
            self._seen.clear()
        else:
            self._seen.update(entry.SerializeToString() for entry in entries)
        return entries
