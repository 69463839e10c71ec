"""A run as it is shown while it goes on: what changes between the changes of the run, too."""

import math
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from hookline.cli.messages import cell, time_words
from hookline.cli.output import View, counted, percent
from hookline.cli.runs import where
from hookline.client import SyncProgress, SyncRun, SyncRunState

_RATE_SECONDS = 10.0
_PLAIN_SECONDS = 10.0
"""How often a run is told of at most where no line can be alive."""
_RUNNING, _WAITING = SyncRunState.SYNC_RUN_STATE_RUNNING, SyncRunState.SYNC_RUN_STATE_WAITING


class Live:
    """A run as a bar, or a line, that changes by itself."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._clock = clock
        self._now = now
        self._run = SyncRun(state=SyncRunState.SYNC_RUN_STATE_QUEUED)
        self._fetched: deque[tuple[float, int]] = deque()
        self._estimate = Estimate(now)
        self._told = clock()

    def take(self, run: SyncRun) -> bool:
        """Notes how the run is now; says whether it has come to another state or attempt."""
        if self._run.state != _RUNNING:
            # Of a run that is joined midway, too, the rate is that of what is seen.
            self._fetched.clear()
        now = self._clock()
        while len(self._fetched) > 1 and self._fetched[1][0] <= now - _RATE_SECONDS:
            self._fetched.popleft()
        self._fetched.append((now, run.counts.fetched))
        self._estimate.take(run, now)
        turned = (run.state, run.attempt, run.run_id) != (self._run.state, self._run.attempt, self._run.run_id)
        self._run = run
        return turned

    def is_due(self) -> bool:
        """Whether nothing was told for some time; if so, something is to be told now."""
        if self._clock() - self._told < _PLAIN_SECONDS:
            return False
        self._told = self._clock()
        return True

    def view(self) -> View:
        """The current run."""
        run, counts, estimate = self._run, self._run.counts, self._estimate
        head = f"{run.source} {where(run)}".strip()
        if run.state == _WAITING:
            head += self._wait()
        if run.HasField("progress") and run.progress.windows > 1:
            head += f" · {window(run.progress)}"
        known = [
            counted(counts.pages, "page", "pages"),
            f"{counts.fetched:,} fetched",
            f"{counts.accepted:,} new",
            counted(counts.duplicates, "duplicate", "duplicates"),
            f"{counts.quarantined:,} quarantined",
            counted(counts.retries, "retry", "retries"),
        ]
        left = None
        if run.state == _RUNNING:
            known.append(f"{self._rate():,.0f}/s")
            left = estimate.left(self._clock())
        eta = "" if left is None else f"ETA {time_words(left, 2)}"
        return View(head, estimate.part, eta, " · ".join(known), run.error)

    def line(self) -> str:
        """The same as a line."""
        view = self.view()
        part = "" if view.part is None else percent(view.part)
        return " · ".join(each for each in (view.head, part, view.eta, view.counts, view.error) if each)

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


class Estimate:
    """How much of a run is done, and when all will be, as far as can be known: a run knows its windows, and at times
    how many events the source says they have, or up to what time they are read."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._run = SyncRun()
        # When the part was what: at the first sight of the run running, and at the last that it grew.
        self._first = self._last = (0.0, 0.0)
        # What was said before the window of the moment. -1: not known, as the run was joined midway.
        self._said_before = -1
        self.part: float | None = None

    def take(self, run: SyncRun, at: float) -> None:
        """Notes how the run is at a time of the clock."""
        before = self._run
        if before.HasField("progress") and before.progress.windows_done != run.progress.windows_done:
            self._said_before = before.progress.said
        self.part = self._part(run)
        part = self.part or 0.0
        if run.state != _RUNNING or before.state != _RUNNING or part < self._first[1]:
            # A wait is none of the time that the rest will take.
            self._first = self._last = (at, part)
        elif part > self._last[1]:
            self._last = (at, part)
        self._run = run

    def left(self, at: float) -> timedelta | None:
        """How long it will take yet, if all of it goes on as what was seen; None while that can't be told."""
        (since, from_part), (until, part) = self._first, self._last
        if part <= from_part:
            return None
        left = (1 - part) * (until - since) / (part - from_part) - (at - until)
        # Past the time that was expected, none is known that would be better.
        return timedelta(seconds=math.ceil(left)) if left > 0 else None

    def _part(self, run: SyncRun) -> float | None:
        progress = run.progress
        if progress.windows <= 0:
            return None
        return min((progress.windows_done + self._within(run)) / progress.windows, 1.0)

    def _within(self, run: SyncRun) -> float:
        """How much of the window of the moment is done."""
        progress = run.progress
        if progress.said > 0:
            if progress.said == self._said_before:
                # Not yet said of this window.
                return 0.0
            # Of the windows before, everything is fetched.
            of_all = (progress.windows_done + 1) * run.counts.fetched / progress.said
            return min(max(of_all - progress.windows_done, 0.0), 1.0)
        if run.HasField("synced_time") and progress.HasField("window_start_time"):
            start = progress.window_start_time.ToDatetime(UTC)
            ends = progress.HasField("window_until_time")
            end = progress.window_until_time.ToDatetime(UTC) if ends else self._now()
            read = run.synced_time.ToDatetime(UTC) - start
            return min(max(read / (end - start), 0.0), 1.0) if end > start else 0.0
        return 0.0


def window(progress: SyncProgress) -> str:
    """Which window of how many a run is at, with its dates."""
    number = min(progress.windows_done + 1, progress.windows)
    start, until = (_date(progress, f"window_{end}_time") for end in ("start", "until"))
    return f"window {number}/{progress.windows} from {start}" + (f" to {until}" if until else "")


def _date(progress: SyncProgress, field: str) -> str:
    return cell(progress, field).removesuffix("T00:00:00Z")
