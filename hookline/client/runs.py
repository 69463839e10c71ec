"""Syncs, without the transport: how arguments become requests, and what is news of a run that is watched. Pure but for
the random ids of requests."""

import uuid
from collections.abc import Mapping
from datetime import timedelta

from hookline.client import requests
from hookline.sync.v1.sync_service_pb2 import (
    CreateSourceRequest,
    StartScheduleRequest,
    SyncRun,
    SyncRunState,
    TriggerSyncRequest,
)

ENDED = frozenset(
    {
        SyncRunState.SYNC_RUN_STATE_SUCCEEDED,
        SyncRunState.SYNC_RUN_STATE_FAILED,
        SyncRunState.SYNC_RUN_STATE_CANCELLED,
    }
)


def create_source(
    company: str, source: str, platform: str, base_url: str, credential: str, parameters: Mapping[str, str] | None
) -> CreateSourceRequest:
    """The request for a new source."""
    return CreateSourceRequest(
        company_id=company,
        source=source,
        platform=platform,
        base_url=base_url,
        credential=credential,
        parameters=parameters,
    )


def start_schedule(company: str, source: str, every: timedelta | None) -> StartScheduleRequest:
    """The request for a schedule. Raises ValueError for a time that no message can hold."""
    return StartScheduleRequest(company_id=company, source=source, interval=requests.duration(every))


def trigger_sync(company: str, source: str, days_back: int, request_id: str) -> TriggerSyncRequest:
    """The request for a run; always with an id, so that it may be sent again."""
    return TriggerSyncRequest(
        company_id=company, source=source, days_back=days_back, request_id=request_id or str(uuid.uuid4())
    )


class Watch:
    """A run as it is watched, over however many streams it takes."""

    def __init__(self) -> None:
        self._seen: SyncRun | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come."""
        return self._seen is not None and (self._seen.state in ENDED or self._seen.HasField("end_time"))

    def is_news(self, run: SyncRun) -> bool:
        """Takes the run as it has come; says whether it differs from what came before. A stream that is opened again
        begins with what may have been seen on the one before."""
        if run == self._seen:
            return False
        self._seen = run
        return True
