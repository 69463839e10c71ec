"""Sources and runs as a server may give them, and what `hookline sync` makes of them as JSON."""

import json
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from hookline.client import Schedule, Source, SyncCounts, SyncRun, SyncRunState, SyncTrigger
from hookline.sync.v1 import sync_service_pb2 as pb
from tests.unit.scripted import Answer

QUEUED = SyncRunState.SYNC_RUN_STATE_QUEUED
RUNNING = SyncRunState.SYNC_RUN_STATE_RUNNING
WAITING = SyncRunState.SYNC_RUN_STATE_WAITING
TIME, TIME_TEXT = Timestamp(seconds=1767225600), "2026-01-01T00:00:00Z"
SOURCE = Source(
    company_id="acme",
    source="shop-1",
    platform="grapfy",
    base_url="https://shop.test",
    parameters={"webhookSettingId": "7", "a": "b"},
    create_time=TIME,
    schedule=Schedule(interval=Duration(seconds=21600), jitter=Duration(seconds=600), next_run_time=TIME),
    look_back=Duration(seconds=3600),
    run_deadline=Duration(seconds=86400, nanos=500_000_000),
    synced_time=TIME,
)
SOURCE_FIELDS: dict[str, Any] = {
    "source": "shop-1",
    "platform": "grapfy",
    "base_url": "https://shop.test",
    "parameters": {"a": "b", "webhookSettingId": "7"},
    "create_time": TIME_TEXT,
    "schedule": {
        "interval_seconds": 21600,
        "cron": None,
        "time_zone": None,
        "jitter_seconds": 600,
        "paused": False,
        "next_run_time": TIME_TEXT,
    },
    "look_back_seconds": 3600,
    "run_deadline_seconds": 86400.5,
    "synced_time": TIME_TEXT,
}
BARE = Source(company_id="acme", source="shop-2", platform="grapfy", base_url="https://shop.test")
BARE_FIELDS = SOURCE_FIELDS | {
    "source": "shop-2",
    "parameters": {},
    "create_time": None,
    "schedule": None,
    "look_back_seconds": None,
    "run_deadline_seconds": None,
    "synced_time": None,
}
COUNTS = SyncCounts(pages=3, fetched=1500, accepted=1390, late=20, duplicates=100, quarantined=7, rejected=3, retries=1)
COUNTED = "1,500 events on 3 pages: 1,390 new (20 late), 100 duplicate, 7 quarantined, 3 rejected; 1 retry."
NO_COUNTS = dict.fromkeys(
    ("pages", "fetched", "accepted", "late", "duplicates", "quarantined", "rejected", "retries"), 0
)
ALL_COUNTS = {"pages": 3, "fetched": 1500, "accepted": 1390, "late": 20, "duplicates": 100}
ALL_COUNTS |= {"quarantined": 7, "rejected": 3, "retries": 1}
ENDED_FIELDS = {"attempt": 2, "end_time": TIME_TEXT, "counts": ALL_COUNTS}
STATUSES = {"succeeded": 0, "failed": 10, "cancelled": 11, "incomplete": 13}


def run(state: SyncRunState.ValueType, **fields: Any) -> SyncRun:
    """A run in that state."""
    trigger = SyncTrigger.SYNC_TRIGGER_REQUEST
    return SyncRun(company_id="acme", run_id="r-1", source="shop-1", state=state, trigger=trigger, **fields)


def ended(name: str, error: str = "", **fields: Any) -> SyncRun:
    """A run that has ended like this."""
    state = SyncRunState.Value(f"SYNC_RUN_STATE_{name.upper()}")
    return run(state, counts=COUNTS, end_time=TIME, error=error, attempt=2, **fields)


def run_fields(name: str, **fields: Any) -> dict[str, Any]:
    """A run as JSON."""
    times = ("start_time", "until_time", "create_time", "end_time", "deadline_time", "next_attempt_time")
    nothing = dict.fromkeys((*times, "error", "progress", "synced_time", "reconciliation"))
    known = {"run_id": "r-1", "source": "shop-1", "state": name, "trigger": "request", "behind": False, "attempt": 0}
    return nothing | known | {"counts": NO_COUNTS} | fields


def stream(*runs: SyncRun) -> list[Answer]:
    """A watch."""
    return [pb.WatchSyncRunResponse(run=run) for run in runs]


def lines(text: str) -> list[Any]:
    """What is said as JSON, an object a line."""
    return [json.loads(line) for line in text.splitlines()]
