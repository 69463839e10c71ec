"""A run while it goes on: the line, the bar, and when it will have ended."""

import io
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.spinner import Spinner

from hookline.cli.live import Estimate, Live
from hookline.cli.output import View
from hookline.cli.terminal import rendered
from hookline.client import SyncCounts, SyncProgress, SyncRun
from tests.unit.scripted import Script, Shell, serving
from tests.unit.sync_samples import COUNTS, QUEUED, RUNNING, WAITING, ended, run, stream

DAY_1 = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at

    def now(self) -> datetime:
        """The time of day that goes with it."""
        return DAY_1 + timedelta(seconds=self.at)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def live(clock: Clock) -> Live:
    return Live(clock, clock.now)


def time(days: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(DAY_1 + timedelta(days=days))
    return stamp


def at_window(done: int, of: int, fetched: int = 0, said: int | None = None, **fields: Timestamp) -> SyncRun:
    progress = SyncProgress(windows=of, windows_done=done, window_start_time=time(done), said=said)
    if done < of - 1:
        progress.window_until_time.CopyFrom(time(done + 1))
    return run(RUNNING, attempt=1, counts=SyncCounts(fetched=fetched), progress=progress, **fields)


def test_the_line_that_is_alive(live: Live, clock: Clock) -> None:
    assert live.take(run(QUEUED))
    nothing = "0 pages · 0 fetched · 0 new · 0 duplicates · 0 quarantined · 0 retries"
    assert live.line() == f"shop-1 queued · {nothing}"
    clock.at = 110.0
    # Joined midway: the rate is that of what is seen.
    assert live.take(run(RUNNING, attempt=1, counts=SyncCounts(pages=1, fetched=500)))
    assert live.line().endswith(" · 0/s")
    clock.at = 112.0
    assert not live.take(run(RUNNING, attempt=1, counts=COUNTS))
    known = "3 pages · 1,500 fetched · 1,390 new · 100 duplicates · 7 quarantined · 1 retry"
    assert live.line() == f"shop-1 running · {known} · 500/s"
    clock.at = 114.0
    assert live.line() == f"shop-1 running · {known} · 250/s"
    clock.at = 122.0
    # Only what is new counts.
    assert live.line() == f"shop-1 running · {known} · 0/s"
    clock.at = 130.0
    assert not live.take(run(RUNNING, attempt=1, counts=COUNTS))
    clock.at = 131.0
    more = SyncCounts(pages=4, fetched=3300)
    assert not live.take(run(RUNNING, attempt=1, counts=more))
    nothing_new = "4 pages · 3,300 fetched · 0 new · 0 duplicates · 0 quarantined · 0 retries"
    assert live.line() == f"shop-1 running · {nothing_new} · 95/s"
    again = Timestamp()
    again.FromDatetime(clock.now() + timedelta(seconds=12))
    assert live.take(run(WAITING, attempt=1, counts=COUNTS, next_attempt_time=again, error="HTTP 503"))
    assert live.line() == f"shop-1 waiting, again in 12 s · {known} · HTTP 503"
    clock.at += 20
    assert live.line() == f"shop-1 waiting, again in 0 s · {known} · HTTP 503"
    assert live.take(run(RUNNING, attempt=2, counts=COUNTS))
    assert not live.take(run(RUNNING, attempt=2, counts=COUNTS))
    assert live.take(run(RUNNING, attempt=3, counts=COUNTS))
    assert live.take(run(QUEUED, behind=True))
    assert live.view().head == "shop-1 queued behind another run"


def test_windows_and_their_end(live: Live, clock: Clock) -> None:
    live.take(run(QUEUED))
    assert live.view().part is None
    live.take(at_window(0, 4))
    view = live.view()
    assert (view.head, view.part, view.eta) == ("shop-1 running · window 1/4 from 2026-01-01 to 2026-01-02", 0.0, "")
    clock.at += 60
    live.take(at_window(1, 4))
    assert (live.view().part, live.view().eta) == (0.25, "ETA 3m")
    clock.at += 45
    # Nothing has come since; it is nearer all the same.
    assert live.view().eta == "ETA 2m15s"
    clock.at += 135
    # It should have ended by now, so that nothing is known.
    assert live.view().eta == ""
    live.take(at_window(3, 4))
    assert live.view().head == "shop-1 running · window 4/4 from 2026-01-04"
    assert (live.view().part, live.view().eta) == (0.75, "ETA 1m20s")
    assert "from 2026-01-04 · 75 % · ETA 1m20s · 0 pages" in live.line()
    live.take(at_window(4, 4))
    assert (live.view().head, live.view().part) == ("shop-1 running · window 4/4 from 2026-01-05", 1.0)
    assert live.view().eta == ""


def test_a_window_of_hours(live: Live) -> None:
    progress = SyncProgress(windows=9, windows_done=2, window_start_time=time(0.5), window_until_time=time(0.75))
    live.take(run(RUNNING, progress=progress))
    assert live.view().head.endswith("window 3/9 from 2026-01-01T12:00:00Z to 2026-01-01T18:00:00Z")


def test_one_window_is_not_told_of(live: Live) -> None:
    live.take(at_window(0, 1, fetched=25, said=100))
    assert (live.view().head, live.view().part) == ("shop-1 running", 0.25)


def test_what_the_source_says_divides_a_window(live: Live) -> None:
    live.take(at_window(0, 2))
    assert live.view().part == 0.0
    live.take(at_window(0, 2, fetched=50, said=100))
    assert live.view().part == 0.25
    live.take(at_window(1, 2, fetched=100, said=100))
    # Of the second window nothing is said yet.
    assert live.view().part == 0.5
    live.take(at_window(1, 2, fetched=150, said=200))
    assert live.view().part == 0.75
    # Pages overlap: more is fetched than there is.
    live.take(at_window(1, 2, fetched=900, said=200))
    assert live.view().part == 1.0


def test_the_times_that_are_read_divide_a_window(live: Live, clock: Clock) -> None:
    live.take(at_window(0, 2, synced_time=time(0.5)))
    assert live.view().part == 0.25
    # Seen in the window before.
    live.take(at_window(1, 2, synced_time=time(0.9)))
    assert live.view().part == 0.5
    # The last one ends now, and now is a day after it has begun.
    clock.at = 2 * 86400.0
    live.take(at_window(1, 2, synced_time=time(1.5)))
    assert live.view().part == 0.75
    # A window that begins now has no length.
    clock.at = 86400.0
    live.take(at_window(1, 2, synced_time=time(1.5)))
    assert live.view().part == 0.5


def test_a_wait_is_none_of_the_time_that_the_rest_takes(live: Live, clock: Clock) -> None:
    live.take(at_window(0, 4))
    clock.at += 60
    live.take(at_window(1, 4))
    clock.at += 1
    waiting = at_window(1, 4)
    waiting.state = WAITING
    live.take(waiting)
    assert (live.view().part, live.view().eta) == (0.25, "")
    clock.at += 3600
    live.take(at_window(1, 4))
    assert live.view().eta == ""
    clock.at += 60
    live.take(at_window(2, 4))
    assert live.view().eta == "ETA 2m"


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6), st.integers(0, 500), st.integers(0, 300)), max_size=20))
def test_whatever_a_run_says_the_estimate_is_sound(said: list[tuple[int, int, int, int]]) -> None:
    estimate = Estimate(lambda: DAY_1)
    for number, (windows, done, fetched, source_says) in enumerate(said):
        estimate.take(at_window(done, windows, fetched, source_says or None, synced_time=time(done)), float(number))
        left = estimate.left(number + 0.5)
        assert estimate.part is None or 0 <= estimate.part <= 1
        assert left is None or left >= timedelta(0)


def shown(view: View, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False, legacy_windows=False)
    console.print(rendered(view, Spinner("line")))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


COUNTED = "120 pages · 60,000 fetched · 59,000 new · 1,000 duplicates · 0 quarantined · 3 retries · 812/s"


def test_the_bar() -> None:
    head = "shop-1 running · window 13/30 from 2026-01-13 to 2026-01-14"
    first, bar, counts = shown(View(head, 0.4, "ETA 3m10s", COUNTED, ""), 100)
    assert first[2:] == head
    assert counts == f"  {COUNTED}"
    assert bar.startswith("  ━━━")
    assert bar.endswith(" 40 % · ETA 3m10s")
    assert len(bar) == 100


def test_the_bar_where_it_is_narrow() -> None:
    view = View("shop-1 running · window 13/30 from 2026-01-13", 0.5, "ETA 3m", COUNTED, "HTTP 503 [bold]\x1b[2J")
    first, second, bar, *others = shown(view, 40)
    assert f"{first[2:]} {second[2:]}" == view.head
    assert bar.endswith(" 50 % · ETA 3m")
    assert all(len(line) <= 40 for line in (first, second, bar, *others))
    words = " ".join(" ".join(others).split())
    # Nothing is left out, is read as markup, or is obeyed.
    assert words == f"{COUNTED} HTTP 503 [bold]\N{REPLACEMENT CHARACTER}[2J"


def test_no_bar_where_no_part_is_known() -> None:
    first, counts = shown(View("shop-1 queued", None, "", "0 pages", ""), 80)
    assert (first[2:], counts) == ("shop-1 queued", "  0 pages")


def test_without_a_terminal_a_line_is_said_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    script = Script()

    def ticking() -> float:
        clock.at += 2.0
        return clock.at

    monkeypatch.setattr("hookline.cli.sync_watch.Live", lambda: Live(ticking, clock.now))
    script.answers = [stream(*(at_window(number, 40) for number in range(40)), ended("succeeded"))]
    with serving(script) as server:
        result = Shell(script, server)("sync", "watch", "r-1")
    assert result.exit_code == 0
    first, *others = result.stderr.splitlines()
    assert first == "shop-1: running"
    assert 3 < len(others) < 20
    assert all(line.startswith("shop-1 running · window ") and " % · ETA " in line for line in others)
