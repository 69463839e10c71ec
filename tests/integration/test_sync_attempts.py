"""What may happen to attempts at a run: budgets, deadlines, leases, cancels, queues. See tests/scripted_history.py."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from services.sync import cursor, ending, pulling, reconciling, run_store, runner
from services.sync.connectors import TryLater
from services.sync.run_store import State, Wish
from tests.in_process import Ingesting
from tests.ledger import check_ledger
from tests.scripted_history import BEGIN, MINUTE, History, Working, items, until_asked, working
from tests.sync_in_process import COMPANY, SOURCE, change_run

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
OVER = {"lease_until": ["clock_timestamp() - interval '1 ms'"]}


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def work(module_database_url: str, module_ingest: Ingesting) -> AsyncIterator[Working]:
    """A worker for a source that nothing is known of."""
    async with working(module_database_url, module_ingest) as made:
        yield made


async def open_alerts(work: Working) -> list[str]:
    rows = await work.connection.fetch("SELECT kind FROM hookline.alerts WHERE resolve_time IS NULL ORDER BY kind")
    return [row["kind"] for row in rows]


async def test_more_retries_than_its_budget_end_the_attempt(work: Working, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulling, "RETRIES", 3)
    history = History(items(100))
    again = asyncio.Event()

    async def retry(request: int) -> None:
        if request > 3:
            # Ten pages of budget for each two that were read.
            for _ in range(3 + 3 // 2 + 1):
                history.opened[-1].again("The platform answers 429.")
            again.set()
            await asyncio.Event().wait()

    history.before = retry
    run = await work.pull(history)
    assert again.is_set()
    assert run.state is State.WAITING
    assert run.error is not None
    assert run.error.endswith("requests of this attempt had to be made again; the last: The platform answers 429.")
    assert run.retries == 5
    assert (await work.codes(run.run_id)).count("RATE_LIMITED") == 5


async def test_what_is_read_is_not_read_again_only_because_comparing_failed(
    work: Working, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = reconciling.reconcile

    async def broken(*_: object) -> None:
        monkeypatch.setattr(reconciling, "reconcile", whole)
        raise ZeroDivisionError

    monkeypatch.setattr(reconciling, "reconcile", broken)
    history = History(items(150), window=HOUR)
    run = await work.pull(history, until=BEGIN + 3 * HOUR)
    assert (run.state, run.error) == (State.WAITING, runner.DEFECT)
    assert (run.pages, run.windows_done) == (15, 3)
    asked = len(history.requests)
    await change_run(work.connection, run.run_id, {"next_attempt_time": ["clock_timestamp()"]})
    run = await work.attempt(history, run.run_id)
    assert (run.state, run.attempt, run.pages, run.listed, run.unlisted) == (State.SUCCEEDED, 2, 15, 150, 0)
    assert len(history.requests) == asked


async def test_a_cursor_of_another_version_begins_anew(work: Working) -> None:
    history = History(items(30))
    run_id = await work.ask()
    await change_run(work.connection, run_id, {"cursor": '["2026-10-01T00:00:00.000Z",["i-1"]]'})
    assert (await work.attempt(history, run_id)).accepted == 30
    # One whose windows are no longer cut as they were goes on from the window that it was in.
    again = await work.ask()
    known = cursor.Cursor(BEGIN + DAY, BEGIN + 65 * MINUTE, "7", said=3, newest=BEGIN + 64 * MINUTE)
    await change_run(work.connection, again, {"cursor": known.encode()})
    other = History(items(150), window=HOUR)
    assert (await work.attempt(other, again)).accepted == 90
    assert other.requests[0] == (BEGIN + HOUR, None)


async def test_the_next_attempt_is_no_sooner_than_the_platform_asks_for(work: Working) -> None:
    history = History(items(30))

    async def not_now(request: int) -> None:
        raise TryLater("The platform answers 429: too many requests.", 120)

    history.before = not_now
    run = await work.pull(history)
    assert run.state is State.WAITING
    assert run.next_attempt_time is not None
    assert timedelta(seconds=110) < run.next_attempt_time - datetime.now(UTC) <= timedelta(seconds=120)


async def test_eight_attempts_without_a_page_are_the_end(work: Working) -> None:
    history = History(items(30))
    ok = 0

    async def fail(request: int) -> None:
        nonlocal ok
        if ok:
            ok -= 1
            return
        raise TryLater("The platform answers 500.")

    history.before = fail
    run_id = await work.ask()
    for attempt in range(1, 8 + 3):
        # A page in between, at the fourth: failures are counted from there.
        ok = int(attempt == 3)
        run = await work.attempt(history, run_id)
        assert run.state is State.WAITING or attempt == 10, attempt
        if attempt < 10:
            await change_run(work.connection, run_id, {"next_attempt_time": ["clock_timestamp()"]})
    assert (run.state, run.pages, run.attempt) == (State.FAILED, 1, 10)


async def test_a_run_is_over_at_its_deadline(work: Working) -> None:
    await work.connection.execute("UPDATE hookline.sources SET run_deadline = interval '1 minute'")
    history = History(items(30))

    async def hang(request: int) -> None:
        if request == 2:
            await asyncio.Event().wait()

    history.before = hang
    run_id = await work.ask()
    first = asyncio.create_task(work.attempt(history, run_id))
    await until_asked(history, 2)
    deadline = (await work.now(run_id)).deadline_time
    assert deadline is not None
    first.cancel()
    assert timedelta(seconds=50) < deadline - datetime.now(UTC) <= timedelta(minutes=1)
    # Taken by another, while the first one has yet to notice that: the deadline is that of the first attempt.
    await change_run(work.connection, run_id, {"deadline_time": ["clock_timestamp() + interval '0.3 s'"], **OVER})
    again = History(items(30))
    again.before = hang
    run = await work.attempt(again, run_id)
    assert (run.state, run.error) == (State.FAILED, "It has not ended by its deadline.")
    assert await open_alerts(work) == ["run_failed"]


async def test_whoever_lost_a_run_notes_nothing_more(work: Working) -> None:
    history = History(items(60))
    go = asyncio.Event()

    async def hold(request: int) -> None:
        if request == 3:
            await go.wait()

    history.before = hold
    run_id = await work.ask()
    frozen = asyncio.create_task(work.runner(history).run(COMPANY, run_id))
    await until_asked(history, 3)
    await change_run(work.connection, run_id, OVER)
    run = await work.attempt(History(items(60)), run_id)
    assert (run.state, run.attempt, run.pages, run.fetched) == (State.SUCCEEDED, 2, 6, 60)
    go.set()
    await frozen
    assert await work.now(run_id) == run
    assert "WORKER_LOST" in await work.codes(run_id)
    await check_ledger(work.connection, {COMPANY: 60})


async def test_a_cancel_ends_a_run_in_the_middle_of_a_page(work: Working) -> None:
    history = History(items(60), is_ordered=True)

    async def hang(request: int) -> None:
        if request == 3:
            await asyncio.Event().wait()

    history.before = hang
    run_id = await work.ask()
    task = asyncio.create_task(work.runner(history).run(COMPANY, run_id))
    await until_asked(history, 3)
    assert await ending.cancel_run(work.connection, COMPANY, run_id)
    assert await ending.cancel_run(work.connection, COMPANY, run_id)
    async with asyncio.timeout(10):
        await task
    run = await work.now(run_id)
    assert run.state is State.CANCELLED
    assert run.synced_time == await work.synced_time()
    assert await work.pages() == 0
    assert (await work.codes(run_id))[-2:] == ["CANCEL_REQUESTED", "RUN_ENDED"]


async def test_a_run_that_waits_is_ended_by_whoever_cancels_it(work: Working) -> None:
    history = History(items(30), is_ordered=True)

    async def fail(request: int) -> None:
        if request == 3:
            raise TryLater("The platform answers 503.")

    history.before = fail
    run = await work.pull(history)
    assert run.state is State.WAITING
    assert await ending.cancel_run(work.connection, COMPANY, run.run_id)
    cancelled = await work.now(run.run_id)
    assert cancelled.state is State.CANCELLED
    assert await work.synced_time() == BEGIN + 19 * MINUTE
    assert await work.pages() == 0


async def test_runs_wait_behind_the_active_one_and_not_more_than_100(work: Working) -> None:
    active = await work.ask()
    queue = Wish(BEGIN, queue=True)
    behind = []
    for _ in range(run_store.MAX_BEHIND):
        found = await run_store.create_run(work.connection, COMPANY, SOURCE, None, queue)
        assert found is not None
        assert (found[1], found[0].behind, found[0].state) == (True, True, State.QUEUED)
        behind.append(found[0].run_id)
    with pytest.raises(Exception, match="100 runs of loja are queued already"):
        await run_store.create_run(work.connection, COMPANY, SOURCE, None, queue)
    joined = await run_store.create_run(work.connection, COMPANY, SOURCE, None, Wish(BEGIN))
    assert joined is not None
    assert (joined[0].run_id, joined[1]) == (active, False)
    # No worker takes one that waits behind another.
    before = await work.now(behind[0])
    assert await work.attempt(History([]), behind[0]) == before
    assert await ending.cancel_run(work.connection, COMPANY, behind[0])
    assert (await work.now(behind[0])).state is State.CANCELLED
    await work.attempt(History([]), active)
    # The active one has ended, and nobody has let go the next one yet: those who come wait behind it.
    found = await run_store.create_run(work.connection, COMPANY, SOURCE, None, queue)
    assert found is not None
    assert found[0].behind


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_to_the_attempts_what_is_noted_is_exact(
    work: Working, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages fail, attempts are handed back, leases run out: what the run counts is what its pages hold, and all ends
    complete."""
    rng = random.Random(seed)
    count = rng.randrange(50, 400)
    history = History(
        items(count),
        page_size=rng.randrange(5, 40),
        window=rng.choice([None, HOUR]),
        says=rng.random() < 0.5,
        is_ordered=rng.random() < 0.5,
        is_newest_first=rng.random() < 0.5,
    )
    until = BEGIN + 7 * HOUR
    run_id = await work.ask(until=until)
    happenings: Counter[str] = Counter()
    stop: asyncio.Event = asyncio.Event()

    async def happen(request: int) -> None:
        if sum(happenings.values()) >= 12:
            return
        what = rng.choice(["nothing"] * 4 + ["fails", "is handed back", "is lost"])
        if what != "nothing":
            happenings[what] += 1
        if what == "fails":
            raise TryLater("The platform answers 503.")
        if what == "is handed back":
            stop.set()
            await asyncio.Event().wait()
        if what == "is lost":
            await change_run(work.connection, run_id, OVER)
            stop.set()
            await asyncio.Event().wait()

    history.before = happen
    while not (run := await work.now(run_id)).state.has_ended:
        await work.connection.execute(
            "UPDATE hookline.sync_runs SET next_attempt_time = clock_timestamp() WHERE state = 'waiting'"
        )
        stop.clear()
        runner = work.runner(history)
        tasks = [asyncio.create_task(runner.run(COMPANY, run_id)), asyncio.create_task(stop.wait())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        await runner.stop()
        tasks[1].cancel()
        noted = await work.connection.fetchrow(
            "SELECT coalesce(sum(cardinality(item_ids)), 0) AS items, count(DISTINCT page) AS pages"
            " FROM hookline.sync_pages"
        )
        now = await work.now(run_id)
        if not now.state.has_ended:
            assert noted["items"] == now.fetched
            assert now.fetched == now.accepted + now.duplicates
    assert (run.state, run.listed, run.stored, run.missing) == (State.SUCCEEDED, count, count, 0), run.error
    assert run.fetched == count
    assert run.unlisted == 0
    await check_ledger(work.connection, {COMPANY: count})
