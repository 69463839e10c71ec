"""How attempts at a run end, and what goes on beside them: cancels, changes of the source, other companies' turns,
and a database that is slow. See tests/scripted_history.py."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from services.sync import attempt_store, ending, holding, reconciling, run_store, source_store
from services.sync.connectors import TryLater
from services.sync.run_store import State
from shared.db import Connection
from tests.in_process import Ingesting
from tests.scripted_history import BEGIN, MINUTE, History, Working, items, working
from tests.sync_in_process import COMPANY, SOURCE, change_run, make_run, make_source
from tests.waiting import eventually

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
ENDED = {"lease_until": None, "ended_time": ["clock_timestamp()"]}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def work(module_database_url: str, module_ingest: Ingesting) -> AsyncIterator[Working]:
    """A worker for a source that nothing is known of."""
    async with working(module_database_url, module_ingest) as made:
        yield made


@pytest.mark.parametrize("ends", [State.WAITING, State.QUEUED])
async def test_a_run_that_is_to_be_cancelled_is_when_its_attempt_ends_first(
    work: Working, ends: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The worker's next look is not soon.
    monkeypatch.setattr(holding, "LOOK_SECONDS", 5)
    history = History(items(60), is_ordered=True)
    runner = work.runner(history)

    async def end(request: int) -> None:
        if request < 3:
            return
        await eventually(two_are_noted, what="two pages are noted")
        assert await ending.cancel_run(work.connection, COMPANY, run_id)
        if ends is State.WAITING:
            raise TryLater("The platform answers 503.")
        stopping.set()
        await asyncio.Event().wait()

    async def two_are_noted() -> bool:
        return (await work.now(run_id)).pages == 2

    history.before, stopping = end, asyncio.Event()
    run_id = await work.ask()
    attempt = asyncio.create_task(runner.run(COMPANY, run_id))
    if ends is State.QUEUED:
        await stopping.wait()
        await runner.stop()
    await attempt
    run = await work.now(run_id)
    assert (run.state, run.next_attempt_time) == (State.CANCELLED, None)
    assert run.ended_time is not None
    assert run.synced_time == await work.synced_time() == BEGIN + 19 * MINUTE
    assert (await work.codes(run_id))[-1] == "RUN_ENDED"


async def test_another_address_is_another_history(work: Working) -> None:
    old, new = History(items(60), is_ordered=True), History(items(90), is_ordered=True)
    first = await work.pull(old, start=None)
    assert await work.synced_time() == BEGIN + 59 * MINUTE

    async def fail(request: int) -> None:
        if request == 3:
            raise TryLater("The platform answers 503.")

    async def change(**columns: Any) -> None:
        changed = await source_store.update_source(work.connection, COMPANY, SOURCE, source_store.Columns(**columns))
        assert changed is not None

    # The same again changes nothing.
    await change(base_url="https://api.example.com", parameters={}, credential=b"another")
    assert await work.synced_time() == BEGIN + 59 * MINUTE
    old.requests.clear()
    old.before = fail
    run = await work.pull(old)
    assert (run.state, run.pages) == (State.WAITING, 2)
    await change(base_url="https://api.example.org")
    assert await work.synced_time() is None
    await change_run(work.connection, run.run_id, {"next_attempt_time": ["clock_timestamp()"]})
    run = await work.attempt(new, run.run_id)
    # Anew, from the start, and without a word on how far the source is read.
    assert new.requests[0] == (BEGIN, None)
    assert (run.state, run.pages, run.accepted) == (State.SUCCEEDED, 2 + 9, 30)
    assert "HISTORY_CHANGED" in await work.codes(run.run_id)
    health = (await run_store.source_health(work.connection, COMPANY))[SOURCE]
    assert (await work.synced_time(), health.complete_until_time) == (None, None)
    following = await work.pull(new, start=None)
    assert following.start_time == pytest.approx(first.start_time, abs=timedelta(minutes=5))
    assert await work.synced_time() == BEGIN + 89 * MINUTE
    # What was read up to longer ago than that is where the next run begins: nothing between is left out.
    long_ago = datetime.now(UTC) - 50 * DAY
    await work.connection.execute("UPDATE hookline.sources SET synced_time = $1", long_ago)
    await change(parameters={"source": "one"})
    assert (await work.pull(new, start=None)).start_time == long_ago - HOUR


async def test_a_run_has_its_turn_while_another_companys_waits(work: Working, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "TURN_SECONDS", 0)
    monkeypatch.setattr(holding, "LOOK_SECONDS", 0.01)
    other = "other"
    await make_source(work.connection, other)
    waits = await make_run(work.connection, other, kicked_time=["clock_timestamp() - interval '6 s'"])
    history = History(items(60))

    async def hang(request: int) -> None:
        if request == 3:
            await asyncio.Event().wait()

    history.before = hang
    run = await work.pull(history)
    assert (run.state, run.attempt, run.pages, run.accepted) == (State.QUEUED, 1, 2, 20)
    assert (await work.codes(run.run_id))[-1] == "HANDED_BACK"
    # As long as its company has a run under way, another of it is not begun before that one.
    await make_source(work.connection, source="second")
    active: dict[str, Any] = {"state": "running", "attempt": 1, "lease_until": ["clock_timestamp() + interval '1 min'"]}
    second = await make_run(work.connection, source="second", **active)
    assert (await work.attempt(history, run.run_id)).attempt == 1
    # One that has as many under way does not go before it; and one that has not waited long may yet be taken.
    await change_run(work.connection, second, {"state": "cancelled", "cancel_requested": True, **ENDED})
    history.before = History([]).before
    history.requests.clear()
    await change_run(work.connection, waits, {"kicked_time": ["clock_timestamp()"]})
    run = await work.attempt(history, run.run_id)
    assert (run.state, run.attempt, run.fetched) == (State.SUCCEEDED, 2, 60)


@pytest.mark.parametrize("what", ["count_listed", "reconcile"])
async def test_what_takes_too_long_to_compare_is_not_compared_again_and_again(
    work: Working, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole: Callable[..., Awaitable[Any]] = getattr(reconciling, what)
    tries = 0

    async def too_slow(connection: Connection, *arguments: Any) -> Any:
        nonlocal tries
        tries += 1
        async with work.pool.acquire() as other, other.transaction():
            await other.execute("LOCK TABLE hookline.sync_pages IN ACCESS EXCLUSIVE MODE")
            return await whole(connection, *arguments)

    monkeypatch.setattr(reconciling, "_PATIENCE", 0.1)
    monkeypatch.setattr(reconciling, what, too_slow)
    run = await work.pull(History(items(30), says=True))
    assert tries == 1
    assert (run.state, run.error, run.accepted) == (State.SUCCEEDED, None, 30)
    assert (await work.codes(run.run_id)).count("NOT_COMPARED") == 1
    assert (run.reconciled_time is None) == (what == "reconcile")
    assert await work.connection.fetchval("SELECT count(*) FROM hookline.alerts") == 0


async def test_what_is_about_to_be_logged_at_the_end_is(work: Working, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sign of life has taken along what happened, and is slow; all is read meanwhile."""
    history = History(items(20))
    extend, leave = attempt_store.extend_lease, attempt_store.leave_run
    taken, left = asyncio.Event(), asyncio.Event()

    async def slow(*arguments: Any) -> Any:
        if arguments[-1]:
            taken.set()
            # Time enough for an end that does not wait for it.
            await asyncio.wait([asyncio.ensure_future(left.wait())], timeout=0.3)
        return await extend(*arguments)

    async def then(*arguments: Any, **named: Any) -> Any:
        state = await leave(*arguments, **named)
        left.set()
        return state

    async def one_is_noted() -> bool:
        return (await work.now(run_id)).pages == 1

    async def again(request: int) -> None:
        if request == 2:
            # Else its note takes along what is told.
            await eventually(one_is_noted, what="the first page is noted")
            history.opened[-1].again("The platform answers 503.")
            await taken.wait()

    monkeypatch.setattr(holding, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(attempt_store, "extend_lease", slow)
    monkeypatch.setattr(attempt_store, "leave_run", then)
    history.before = again
    run_id = await work.ask()
    run = await work.attempt(history, run_id)
    assert run.state is State.SUCCEEDED
    assert [code for code in await work.codes(run.run_id) if code not in ("WINDOW_DONE", "RECONCILED")] == [
        "RUN_CREATED", "RUN_BEGUN", "PAGE_RETRIED", "RUN_ENDED",
    ]  # fmt: skip
