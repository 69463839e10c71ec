"""The state machine: who may move a run where, and what the table refuses whoever asks."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from hookline.sync.v1 import sync_service_pb2 as pb
from services.sync import attempt_store, ending, run_store, source_store
from services.sync.attempt_store import End, Progress, Stored
from services.sync.run_log import Line
from services.sync.run_store import State, Trigger, Wish
from shared.db import Connection
from tests.sync_in_process import COMPANY, SOURCE, change_run, claimed, make_run, make_source

NOW = ["clock_timestamp()"]
PAST, FUTURE = ["clock_timestamp() - interval '1 ms'"], ["clock_timestamp() + interval '1 min'"]
RUNNING: Mapping[str, Any] = {"state": "running", "attempt": 1, "lease_until": FUTURE}
ABANDONED = {**RUNNING, "lease_until": PAST}
WAITING = {"state": "waiting", "attempt": 1, "next_attempt_time": FUTURE, "error": "away"}
DUE = {**WAITING, "next_attempt_time": PAST}
SUCCEEDED = {"state": "succeeded", "attempt": 1, "ended_time": NOW}
INCOMPLETE = {"state": "incomplete", "attempt": 1, "ended_time": NOW, "error": "two lack"}
FAILED = {"state": "failed", "attempt": 1, "ended_time": NOW, "error": "refused"}
CANCELLED = {"state": "cancelled", "ended_time": NOW, "cancel_requested": True}
QUEUED: Mapping[str, Any] = {}
BEHIND: Mapping[str, Any] = {"behind": True}
MINUTE = timedelta(minutes=1)
BEGIN = datetime(2026, 10, 1, tzinfo=UTC)
SPENT = [Line("warning", "PAGE_RETRIED", "one"), Line("info", "WINDOW_DONE", "two")]


def page(number: int, count: int = 3) -> Stored:
    """Of `count` items, one of each fate but for the duplicates."""
    events = [str(uuid.UUID(int=number * 100 + place)) for place in range(count)]
    return Stored(
        fetched=count + 2,
        accepted=1,
        duplicates=count - 1,
        quarantined=1,
        rejected=1,
        late=1,
        item_ids=[f"{number}/{place}" for place in range(count + 2)],
        event_ids=[*events, None, None],
        problems={"1/3": {"reason": "TYPE_MISSING", "message": "no type"}},
    )


def progress(cursor: str, synced: datetime | None = None, **fields: Any) -> Progress:
    return Progress(
        **{
            "cursor": cursor,
            "windows_done": 0,
            "window_start_time": BEGIN,
            "window_until_time": None,
            "synced_time": synced,
            "said": None,
            "retries": 0,
            **fields,
        }
    )


@pytest.fixture
async def runs(connection: Connection) -> Connection:
    """A connection to a database with one source."""
    await make_source(connection)
    return connection


async def row(connection: Connection, run_id: uuid.UUID) -> Mapping[str, Any]:
    found: Mapping[str, Any] = await connection.fetchrow("SELECT * FROM hookline.sync_runs WHERE run_id = $1", run_id)
    return found


async def test_a_run_is_claimed_when_it_is_there_to_be_taken(runs: Connection) -> None:
    cases: list[tuple[Mapping[str, Any], bool]] = [
        (QUEUED, True),
        (DUE, True),
        (ABANDONED, True),
        (RUNNING, False),
        (WAITING, False),
        (SUCCEEDED, False),
        (INCOMPLETE, False),
        (FAILED, False),
        (CANCELLED, False),
        (BEHIND, False),
        ({**ABANDONED, "cancel_requested": True}, False),
    ]
    for number, (columns, taken) in enumerate(cases):
        await make_source(runs, source=f"s{number}")
        run_id = await make_run(runs, source=f"s{number}", **columns)
        before = await row(runs, run_id)
        claim = await attempt_store.claim_run(runs, COMPANY, run_id, MINUTE)
        after = await row(runs, run_id)
        if taken:
            # Taken from a worker that has died: that is a failure too.
            failures = int(before["state"] == "running")
            assert claim is not None
            assert (claim.company_id, claim.run_id, claim.source) == (COMPANY, run_id, f"s{number}")
            assert (claim.start_time, claim.until_time, claim.cursor) == (before["start_time"], None, None)
            assert (claim.attempt, claim.failures, claim.pages) == (before["attempt"] + 1, failures, 0)
            assert (after["state"], after["attempt"]) == ("running", before["attempt"] + 1)
            assert timedelta(seconds=50) < after["lease_until"] - datetime.now(UTC) <= MINUTE
            assert after["next_attempt_time"] is None
        else:
            assert claim is None
            assert dict(after) == dict(before)


async def test_another_companys_run_is_not_claimed(runs: Connection) -> None:
    run_id = await make_run(runs)
    assert await attempt_store.claim_run(runs, "bolt", run_id, MINUTE) is None
    assert await attempt_store.claim_run(runs, COMPANY, uuid.uuid4(), MINUTE) is None


async def test_the_first_attempt_sets_the_deadline(runs: Connection) -> None:
    await runs.execute("UPDATE hookline.sources SET run_deadline = interval '2 hours'")
    run_id = await make_run(runs)
    first = await claimed(runs, run_id)
    assert timedelta(hours=1, minutes=59) < first.time_left <= timedelta(hours=2)
    deadline = (await row(runs, run_id))["deadline_time"]
    await runs.execute("UPDATE hookline.sources SET run_deadline = interval '3 hours'")
    await change_run(runs, run_id, {"lease_until": PAST})
    second = await claimed(runs, run_id)
    assert second.time_left < first.time_left
    assert (await row(runs, run_id))["deadline_time"] == deadline


async def test_a_worker_leaves_a_run_in_a_state_that_is_true(runs: Connection) -> None:
    for state in State:
        await make_source(runs, source=state.value)
        run_id = await make_run(runs, source=state.value)
        claim = await claimed(runs, run_id)
        await change_run(runs, run_id, {"kicked_time": NOW, "cancel_requested": state is State.CANCELLED})
        end = End(state, "so it was", MINUTE if state is State.WAITING else None)
        if state is State.RUNNING:
            # Leaving is not staying.
            with pytest.raises(asyncpg.CheckViolationError, match="sync_runs_lease"):
                await attempt_store.leave_run(runs, claim, end)
            continue
        assert await attempt_store.leave_run(runs, claim, end, 3, SPENT) is state
        left = await row(runs, run_id)
        assert (left["state"], left["lease_until"], left["error"], left["retries"]) == (state, None, "so it was", 3)
        assert (left["ended_time"] is not None) == state.has_ended
        assert (left["next_attempt_time"] is not None) == (state is State.WAITING)
        # Where someone else is to go on, the reaper need not think that they were told.
        assert (left["kicked_time"] is None) == (not state.has_ended)
        assert not await attempt_store.leave_run(runs, claim, end, 4, SPENT)
        codes = ["RUN_CREATED", "RUN_BEGUN", "PAGE_RETRIED", "WINDOW_DONE", *["RUN_ENDED"] * state.has_ended]
        assert await log(runs, run_id) == codes


async def test_a_run_that_was_to_be_cancelled_is_left_for_no_other_worker(runs: Connection) -> None:
    for state in (State.WAITING, State.QUEUED):
        claim = await claimed(runs, await make_run(runs))
        assert await ending.cancel_run(runs, COMPANY, claim.run_id)
        end = End(state, "away" if state is State.WAITING else None, MINUTE if state is State.WAITING else None)
        assert await attempt_store.leave_run(runs, claim, end, 0, SPENT) is State.CANCELLED
        left = await row(runs, claim.run_id)
        assert (left["state"], left["lease_until"], left["next_attempt_time"]) == ("cancelled", None, None)
        assert left["ended_time"] is not None
        assert (await log(runs, claim.run_id))[-3:] == ["PAGE_RETRIED", "WINDOW_DONE", "RUN_ENDED"]
    # One that has come to its end has come to it.
    claim = await claimed(runs, await make_run(runs))
    assert await ending.cancel_run(runs, COMPANY, claim.run_id)
    assert await attempt_store.leave_run(runs, claim, End(State.SUCCEEDED)) is State.SUCCEEDED


async def log(connection: Connection, run_id: uuid.UUID) -> list[str]:
    rows = await connection.fetch("SELECT code FROM hookline.sync_log WHERE run_id = $1 ORDER BY entry", run_id)
    return [found["code"] for found in rows]


async def test_pages_add_up_and_never_move_backwards(runs: Connection) -> None:
    claim = await claimed(runs, await make_run(runs))
    first, second = BEGIN + MINUTE, BEGIN
    changes = {"windows_done": 1, "window_start_time": BEGIN + MINUTE, "window_until_time": BEGIN + 2 * MINUTE}
    assert await attempt_store.note_windows(runs, claim, 2, 0, BEGIN, BEGIN + MINUTE)
    assert await attempt_store.checkpoint(runs, claim, 1, progress("one", first, retries=2, said=7), page(1), SPENT)
    assert await attempt_store.checkpoint(runs, claim, 2, progress("two", second, retries=1, said=9), page(2))
    assert await attempt_store.checkpoint(runs, claim, 3, progress("three", None, said=9, **changes), Stored())
    both = Stored.together([page(4), page(5)])
    assert await attempt_store.checkpoint(runs, claim, 5, progress("five", None, said=9, **changes), both)
    now = await row(runs, claim.run_id)
    assert (now["cursor"], now["synced_time"], now["pages"], now["retries"]) == ("five", first, 5, 2)
    counts = [now[name] for name in ("fetched", "accepted", "duplicates", "quarantined", "rejected", "late")]
    assert counts == [20, 4, 8, 4, 4, 4]
    assert {name: now[name] for name in changes} == changes
    assert (now["windows"], now["said"]) == (2, 9)
    # What each page held, until the run is reconciled. An empty one held nothing.
    pages = await runs.fetch("SELECT page, item_ids, event_ids FROM hookline.sync_pages ORDER BY page")
    assert [(found["page"], found["item_ids"][0], found["event_ids"][3:5]) for found in pages] == [
        (1, "1/0", [None, None]),
        (2, "2/0", [None, None]),
        (5, "4/0", [None, None]),
    ]
    assert [len(found["item_ids"]) for found in pages] == [5, 5, 10]
    assert await attempt_store.leave_run(runs, claim, End(State.QUEUED))
    again = await claimed(runs, claim.run_id)
    assert (again.cursor, again.pages, again.retries) == ("five", 5, 2)
    assert again.logged == 4


async def test_a_page_that_is_noted_twice_since_the_answer_was_lost_counts_once(runs: Connection) -> None:
    claim = await claimed(runs, await make_run(runs))

    async def everything() -> list[Any]:
        logged = await runs.fetch("SELECT entry FROM hookline.sync_log")
        return [dict(await row(runs, claim.run_id)), await runs.fetch("SELECT page FROM hookline.sync_pages"), logged]

    assert await attempt_store.checkpoint(runs, claim, 1, progress("one"), page(1), SPENT)
    before = await everything()
    assert await attempt_store.checkpoint(runs, claim, 1, progress("one"), page(1), SPENT)
    assert await everything() == before
    assert await attempt_store.checkpoint(runs, claim, 2, progress("two"), page(2))
    assert (await row(runs, claim.run_id))["pages"] == 2
    # Neither one that is long past, nor one that is too far ahead.
    assert not await attempt_store.checkpoint(runs, claim, 1, progress("one"), page(1))
    assert not await attempt_store.checkpoint(runs, claim, 4, progress("four"), page(4))
    await change_run(runs, claim.run_id, {"lease_until": PAST})
    assert not await attempt_store.checkpoint(runs, claim, 2, progress("two"), page(2))


async def test_whoever_lost_a_run_writes_nothing_more(runs: Connection) -> None:
    run_id = await make_run(runs)
    first = await claimed(runs, run_id)
    await change_run(runs, run_id, {"lease_until": PAST})
    second = await claimed(runs, run_id)
    assert (first.attempt, second.attempt) == (1, 2)
    before = dict(await row(runs, run_id))
    assert not await attempt_store.checkpoint(runs, first, 1, progress("mine", BEGIN), page(1), SPENT)
    assert not await attempt_store.note_windows(runs, first, 7, 0, BEGIN, None)
    assert await attempt_store.extend_lease(runs, first, first.lease_until, MINUTE, 5, SPENT) is None
    for state in State:
        assert not await attempt_store.leave_run(runs, first, End(state, "x", MINUTE), 1, SPENT)
    assert dict(await row(runs, run_id)) == before
    assert await runs.fetchval("SELECT count(*) FROM hookline.sync_pages") == 0
    assert await log(runs, run_id) == ["RUN_CREATED", "RUN_BEGUN", "WORKER_LOST", "RUN_BEGUN"]
    assert await attempt_store.extend_lease(runs, second, second.lease_until, MINUTE) is not None
    assert await attempt_store.checkpoint(runs, second, 1, progress("mine", BEGIN), page(1))
    assert await attempt_store.leave_run(runs, second, End(State.SUCCEEDED))


async def test_a_lease_that_is_over_is_not_extended_even_before_another_has_the_run(runs: Connection) -> None:
    claim = await claimed(runs, await make_run(runs))
    await change_run(runs, claim.run_id, {"lease_until": PAST})
    assert await attempt_store.extend_lease(runs, claim, claim.lease_until, MINUTE) is None
    assert not await attempt_store.checkpoint(runs, claim, 1, progress("mine"), page(1))


async def test_a_sign_of_life_brings_the_wish_to_cancel(runs: Connection) -> None:
    claim = await claimed(runs, await make_run(runs), lease=5)
    held = await attempt_store.extend_lease(runs, claim, claim.lease_until, MINUTE, 4, SPENT)
    assert held is not None
    assert not held.cancel_requested
    # The answer was lost: the same again is a sign of life, and tells nothing twice.
    again = await attempt_store.extend_lease(runs, claim, claim.lease_until, MINUTE, 4, SPENT)
    assert again is not None
    assert again.lease_until > held.lease_until
    assert (await row(runs, claim.run_id))["retries"] == 4
    assert (await log(runs, claim.run_id))[2:] == ["PAGE_RETRIED", "WINDOW_DONE"]
    assert (await row(runs, claim.run_id))["lease_until"] > datetime.now(UTC) + timedelta(seconds=50)
    assert await ending.cancel_run(runs, COMPANY, claim.run_id)
    cancelled = await run_store.get_run(runs, COMPANY, claim.run_id)
    assert cancelled is not None
    assert (cancelled.state, cancelled.cancel_requested) == (State.RUNNING, True)
    last = await attempt_store.extend_lease(runs, claim, again.lease_until, MINUTE)
    assert last is not None
    assert last.cancel_requested
    assert await attempt_store.leave_run(runs, claim, End(State.CANCELLED))
    # Ended: it stays as it is.
    assert not await ending.cancel_run(runs, COMPANY, claim.run_id)


async def test_a_run_that_no_worker_is_at_is_cancelled_at_once(runs: Connection) -> None:
    for columns in (QUEUED, BEHIND, WAITING, DUE):
        run_id = await make_run(runs, **columns)
        assert not await ending.cancel_run(runs, "bolt", run_id)
        assert await ending.cancel_run(runs, COMPANY, run_id)
        run = await run_store.get_run(runs, COMPANY, run_id)
        assert run is not None
        assert (run.state, run.next_attempt_time) == (State.CANCELLED, None)
        assert run.ended_time is not None


async def test_the_table_refuses_what_can_not_be(runs: Connection) -> None:
    run_id = await make_run(runs)
    cases: list[tuple[Mapping[str, Any], str]] = [
        ({**RUNNING, "lease_until": None}, "sync_runs_lease"),
        ({"lease_until": FUTURE}, "sync_runs_lease"),
        ({**SUCCEEDED, "lease_until": FUTURE}, "sync_runs_lease"),
        ({**WAITING, "next_attempt_time": None}, "sync_runs_waiting"),
        ({"next_attempt_time": FUTURE}, "sync_runs_waiting"),
        ({**RUNNING, "next_attempt_time": FUTURE}, "sync_runs_waiting"),
        ({**SUCCEEDED, "ended_time": None}, "sync_runs_ended"),
        ({**FAILED, "ended_time": None}, "sync_runs_ended"),
        ({**INCOMPLETE, "ended_time": None}, "sync_runs_ended"),
        ({**CANCELLED, "ended_time": None}, "sync_runs_ended"),
        ({"ended_time": NOW}, "sync_runs_ended"),
        ({**RUNNING, "ended_time": NOW}, "sync_runs_ended"),
        ({**RUNNING, "attempt": 0}, "sync_runs_begun"),
        ({**WAITING, "attempt": 0}, "sync_runs_begun"),
        ({**SUCCEEDED, "attempt": 0}, "sync_runs_begun"),
        ({**FAILED, "attempt": 0}, "sync_runs_begun"),
        ({**WAITING, "error": None}, "sync_runs_error"),
        ({**FAILED, "error": None}, "sync_runs_error"),
        ({**INCOMPLETE, "error": None}, "sync_runs_error"),
        ({**CANCELLED, "cancel_requested": False}, "sync_runs_cancelled"),
        ({**RUNNING, "behind": True}, "sync_runs_behind"),
        ({**SUCCEEDED, "behind": True}, "sync_runs_behind"),
        ({"windows": 0}, "sync_runs_windows_check"),
        ({"windows_done": 2}, "sync_runs_windows"),
        ({"late": 1}, "sync_runs_late"),
        ({"until_time": ["start_time"]}, "sync_runs_check"),
        ({"fetched": 1}, "sync_runs_counts"),
        ({"fetched": 1, "accepted": 1, "duplicates": 1}, "sync_runs_counts"),
        ({"attempt": -1}, "sync_runs_attempt_check"),
    ]
    for columns, constraint in cases:
        with pytest.raises(asyncpg.CheckViolationError) as caught:
            await change_run(runs, run_id, columns)
        assert caught.value.constraint_name == constraint, columns


async def test_a_source_has_one_active_run(runs: Connection) -> None:
    for columns in (QUEUED, RUNNING, ABANDONED, WAITING, DUE):
        run_id = await make_run(runs, **columns)
        found = await run_store.create_run(runs, COMPANY, SOURCE, "another", Wish(BEGIN))
        assert found is not None
        assert (found[0].run_id, found[1]) == (run_id, False)
        with pytest.raises(asyncpg.UniqueViolationError, match="sync_runs_active"):
            await runs.execute(
                "INSERT INTO hookline.sync_runs (company_id, run_id, source, trigger, start_time)"
                " SELECT company_id, gen_random_uuid(), source, trigger, start_time FROM hookline.sync_runs"
            )
        assert not await source_store.delete_source(runs, COMPANY, SOURCE)
        await runs.execute("DELETE FROM hookline.sync_runs")


async def test_a_run_that_has_ended_is_in_no_ones_way(runs: Connection) -> None:
    ended: list[Mapping[str, Any]] = [SUCCEEDED, INCOMPLETE, FAILED, CANCELLED]
    made = [await make_run(runs, **columns) for columns in ended]
    assert await make_run(runs) not in made


async def test_the_databases_enums_are_those_of_the_code_and_of_the_contract(connection: Connection) -> None:
    for name, enum, prefix, values in (
        ("sync_run_state", State, "SYNC_RUN_STATE_", pb.SyncRunState.keys()),
        ("sync_trigger", Trigger, "SYNC_TRIGGER_", pb.SyncTrigger.keys()),
    ):
        labels = await connection.fetchval(f"SELECT enum_range(NULL::hookline.{name})::text[]")
        assert labels == [member.value for member in enum]
        assert set(values) == {f"{prefix}UNSPECIFIED", *(f"{prefix}{member.name}" for member in enum)}
