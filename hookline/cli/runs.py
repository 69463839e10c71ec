"""Sources and runs as commands show them: as JSON, as cells of a table, as a sentence, as a line that is alive."""

import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from hookline.cli.errors import RUN_CANCELLED, RUN_FAILED
from hookline.cli.messages import cell, enum_name, time_of
from hookline.cli.output import counted, events
from hookline.client import Source, SourceStatus, SyncRun, SyncRunState, SyncTrigger

SOURCE_TITLES = ("SOURCE", "PLATFORM", "ADDRESS", "PARAMETERS", "EVERY", "NEXT RUN")
STATUS_TITLES = ("SOURCE", "EVERY", "NEXT RUN", "NOW", "LAST RUN", "ENDED", "FAILURES", "COMPLETE UNTIL", "RUN ID")
RUN_TITLES = (
    "CREATED",
    "SOURCE",
    "TRIGGER",
    "STATE",
    "FETCHED",
    "NEW",
    "DUPLICATES",
    "QUARANTINED",
    "RETRIES",
    "RUN ID",
)
_EXIT_STATUSES = {
    SyncRunState.SYNC_RUN_STATE_SUCCEEDED: 0,
    SyncRunState.SYNC_RUN_STATE_FAILED: RUN_FAILED,
    SyncRunState.SYNC_RUN_STATE_CANCELLED: RUN_CANCELLED,
}
_RATE_SECONDS = 10.0
_RUNNING, _WAITING = SyncRunState.SYNC_RUN_STATE_RUNNING, SyncRunState.SYNC_RUN_STATE_WAITING


def state(run: SyncRun) -> str:
    """The name of the run's state."""
    return enum_name(SyncRunState, run.state, "SYNC_RUN_STATE_")


def exit_status(run: SyncRun) -> int:
    """The exit status that tells how the run has ended."""
    return _EXIT_STATUSES.get(run.state, RUN_FAILED)


def source_fields(source: Source) -> dict[str, Any]:
    """The source as JSON."""
    interval = _interval(source)
    return {
        "source": source.source,
        "platform": source.platform,
        "base_url": source.base_url,
        "parameters": dict(sorted(source.parameters.items())),
        "create_time": time_of(source, "create_time"),
        "schedule_interval_seconds": None if interval is None else _seconds(interval),
        "next_run_time": time_of(source, "next_run_time"),
    }


def source_row(source: Source) -> tuple[str, ...]:
    """The source as cells under SOURCE_TITLES."""
    parameters = " ".join(f"{name}={value}" for name, value in sorted(source.parameters.items()))
    return (source.source, source.platform, source.base_url, parameters, every(source), cell(source, "next_run_time"))


def every(source: Source) -> str:
    """How often it is synced, as one may type it, such as "6h" or "1h30m"; empty without a schedule."""
    interval = _interval(source)
    if interval is None:
        return ""
    minutes, seconds = divmod(interval.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((interval.days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number)


def status_fields(status: SourceStatus) -> dict[str, Any]:
    """How a source stands, as JSON: the source's own fields, and more."""
    return source_fields(status.source) | {
        "active_run": run_fields(status.active_run) if status.HasField("active_run") else None,
        "last_run": run_fields(status.last_run) if status.HasField("last_run") else None,
        "consecutive_failures": status.consecutive_failures,
        "complete_until_time": time_of(status, "complete_until_time"),
    }


def status_row(status: SourceStatus) -> tuple[str, ...]:
    """How a source stands, as cells under STATUS_TITLES. The run's id is that of the active one, else of the last."""
    active = status.HasField("active_run")
    return (
        status.source.source,
        every(status.source),
        cell(status.source, "next_run_time"),
        state(status.active_run) if active else "idle",
        state(status.last_run) if status.HasField("last_run") else "",
        cell(status.last_run, "end_time"),
        str(status.consecutive_failures),
        cell(status, "complete_until_time"),
        status.active_run.run_id if active else status.last_run.run_id,
    )


def run_fields(run: SyncRun) -> dict[str, Any]:
    """The run as JSON."""
    counts = run.counts
    return {
        "run_id": run.run_id,
        "source": run.source,
        "state": state(run),
        "trigger": enum_name(SyncTrigger, run.trigger, "SYNC_TRIGGER_"),
        "start_time": time_of(run, "start_time"),
        "create_time": time_of(run, "create_time"),
        "end_time": time_of(run, "end_time"),
        "attempt": run.attempt,
        "next_attempt_time": time_of(run, "next_attempt_time"),
        "error": run.error or None,
        "counts": {
            "pages": counts.pages,
            "fetched": counts.fetched,
            "accepted": counts.accepted,
            "duplicates": counts.duplicates,
            "quarantined": counts.quarantined,
            "rejected": counts.rejected,
            "retries": counts.retries,
        },
        "synced_time": time_of(run, "synced_time"),
    }


def run_row(run: SyncRun) -> tuple[str, ...]:
    """The run as cells under RUN_TITLES: what there is room for."""
    counts = run.counts
    return (
        cell(run, "create_time"),
        run.source,
        enum_name(SyncTrigger, run.trigger, "SYNC_TRIGGER_"),
        state(run),
        str(counts.fetched),
        str(counts.accepted),
        str(counts.duplicates),
        str(counts.quarantined),
        str(counts.retries),
        run.run_id,
    )


def sentence(run: SyncRun) -> str:
    """The run in a sentence or two: how it has ended, or where it is."""
    counts = run.counts
    told = (
        f"Run {run.run_id} of {run.source}: {state(run)}. "
        f"{events(counts.fetched)} on {counted(counts.pages, 'page', 'pages')}: {counts.accepted:,} new, "
        f"{counts.duplicates:,} duplicate, {counts.quarantined:,} quarantined, {counts.rejected:,} rejected; "
        f"{counted(counts.retries, 'retry', 'retries')}."
    )
    return f"{told} {run.error}" if run.error else told


class Live:
    """A run as a line that changes by itself, between the changes of the run too."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._clock = clock
        self._now = now
        self._run = SyncRun(state=SyncRunState.SYNC_RUN_STATE_QUEUED)
        self._fetched: deque[tuple[float, int]] = deque()

    def take(self, run: SyncRun) -> bool:
        """Notes how the run is now; says whether it has come to another state or attempt."""
        if self._run.state != _RUNNING:
            # Of a run that is joined midway, too, the rate is that of what is seen.
            self._fetched.clear()
        now = self._clock()
        while len(self._fetched) > 1 and self._fetched[1][0] <= now - _RATE_SECONDS:
            self._fetched.popleft()
        self._fetched.append((now, run.counts.fetched))
        turned = (run.state, run.attempt, run.run_id) != (self._run.state, self._run.attempt, self._run.run_id)
        self._run = run
        return turned

    def line(self) -> str:
        """The line as of now."""
        run, counts = self._run, self._run.counts
        parts = [
            f"{run.source} {state(run)}".strip(),
            counted(counts.pages, "page", "pages"),
            f"{counts.fetched:,} fetched",
            f"{counts.accepted:,} new",
            counted(counts.duplicates, "duplicate", "duplicates"),
            f"{counts.quarantined:,} quarantined",
            counted(counts.retries, "retry", "retries"),
        ]
        if run.state == _RUNNING:
            parts.append(f"{self._rate():,.0f}/s")
        if run.state == _WAITING:
            parts[0] += self._wait()
        if run.error:
            parts.append(run.error)
        return " · ".join(parts)

    def _rate(self) -> float:
        """Events a second, of late: the terminal asks in a thread of its own, so that this only looks."""
        now, seen = self._clock(), tuple(self._fetched)
        since, before = max((each for each in seen if each[0] <= now - _RATE_SECONDS), default=seen[0])
        return (seen[-1][1] - before) / max(now - since, 1e-9)

    def _wait(self) -> str:
        if not self._run.HasField("next_attempt_time"):
            return ""
        left = self._run.next_attempt_time.ToDatetime(UTC) - self._now()
        return f", again in {max(left.total_seconds(), 0):.0f} s"


def turn(run: SyncRun) -> str:
    """What the run has come to, in a few words, for where no line can be alive."""
    told = f"{run.source}: {state(run)}"
    if run.state == _WAITING and run.HasField("next_attempt_time"):
        told += f" until {cell(run, 'next_attempt_time')}"
    return f"{told}: {run.error}" if run.error else told


def _interval(source: Source) -> timedelta | None:
    return source.schedule_interval.ToTimedelta() if source.HasField("schedule_interval") else None


def _seconds(interval: timedelta) -> int | float:
    seconds = interval.total_seconds()
    return int(seconds) if seconds.is_integer() else seconds
