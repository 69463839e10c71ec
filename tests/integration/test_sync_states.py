"""The state machine: who may move a run where, and what the table refuses whoever asks."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from hookline.sync.v1 import sync_service_pb2 as pb
from services.sync import attempt_store, reaper_store, run_store, schedule_store, source_store
from services.sync.attempt_store import Claim, Counts
from services.sync.run_store import State, Trigger
from shared.db import Connection
from tests.sync_in_process import COMPANY, SOURCE, change_run, claimed, make_run, make_source

NOW = ["clock_timestamp()"]
PAST, FUTURE = ["clock_timestamp() - interval '1 ms'"], ["clock_timestamp() + interval '1 min'"]
RUNNING: Mapping[str, Any] = {"state": "running", "attempt": 1, "lease_until": FUTURE}
ABANDONED = {**RUNNING, "lease_until": PAST}
WAITING = {"state": "waiting", "attempt": 1, "next_attempt_time": FUTURE, "error": "away"}
DUE = {**WAITING, "next_attempt_time": PAST}
SUCCEEDED = {"state": "succeeded", "attempt": 1, "ended_time": NOW}
FAILED = {"state": "failed", "attempt": 1, "ended_time": NOW, "error": "refused"}
CANCELLED = {"state": "cancelled", "ended_time": NOW, "cancel_requested": True}
QUEUED: Mapping[str, Any] = {}
MINUTE = timedelta(minutes=1)
PAGE = Counts(fetched=100, accepted=90, duplicates=8, quarantined=1, rejected=1)


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
        (FAILED, False),
        (CANCELLED, False),
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
            assert claim == Claim(
                COMPANY, run_id, f"s{number}", before["start_time"], before["attempt"] + 1, failures, None
            )
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


async def test_a_worker_leaves_a_run_in_a_state_that_is_true(runs: Connection) -> None:
    for state in State:
        await make_source(runs, source=state.value)
        run_id = await make_run(runs, source=state.value, cancel_requested=state is State.CANCELLED)
        await change_run(runs, run_id, {**RUNNING, "kicked_time": NOW})
        claim = Claim(COMPANY, run_id, state.value, datetime.now(UTC), 1, 0, None)
        leave = {"error": "so it was", "retry_in": MINUTE if state is State.WAITING else None, "retries": 3}
        if state is State.RUNNING:
            # Leaving is not staying.
            with pytest.raises(asyncpg.CheckViolationError, match="sync_runs_lease"):
                await attempt_store.leave_run(runs, claim, state, **leave)  # type: ignore[arg-type]
            continue
        assert await attempt_store.leave_run(runs, claim, state, **leave)  # type: ignore[arg-type]
        left = await row(runs, run_id)
        assert (left["state"], left["lease_until"], left["error"], left["retries"]) == (state, None, "so it was", 3)
        assert (left["ended_time"] is not None) == state.has_ended
        assert (left["next_attempt_time"] is not None) == (state is State.WAITING)
        # Where someone else is to go on, the reaper need not think that they were told.
        assert (left["kicked_time"] is None) == (not state.has_ended)
        assert not await attempt_store.leave_run(runs, claim, state, **leave)  # type: ignore[arg-type]


async def test_pages_add_up_and_never_move_backwards(runs: Connection) -> None:
    claim = await claimed(runs, await make_run(runs))
    first, second = datetime(2026, 10, 2, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)
    assert await attempt_store.checkpoint(runs, claim, "one", first, PAGE, 2)
    assert await attempt_store.checkpoint(runs, claim, "two", second, PAGE, 0)
    assert await attempt_store.checkpoint(runs, claim, "three", None, PAGE, 1)
    now = await row(runs, claim.run_id)
    assert (now["cursor"], now["synced_time"], now["pages"], now["retries"]) == ("three", first, 3, 3)
    assert [now[name] for name in ("fetched", "accepted", "duplicates", "quarantined", "rejected")] == [
        300, 270, 24, 3, 3,
    ]  # fmt: skip
    assert await attempt_store.leave_run(runs, claim, State.QUEUED)
    assert (await claimed(runs, claim.run_id)).cursor == "three"


async def test_a_page_that_is_noted_twice_since_the_answer_was_lost_counts_once(runs: Connection) -> None:
    claim = await claimed(runs, await make_run(runs))
    assert await attempt_store.checkpoint(runs, claim, "one", None, PAGE, 1)
    before = dict(await row(runs, claim.run_id))
    assert await attempt_store.checkpoint(runs, claim, "one", None, PAGE, 1)
    assert dict(await row(runs, claim.run_id)) == before
    assert await attempt_store.checkpoint(runs, claim, "two", None, PAGE, 1)
    assert (await row(runs, claim.run_id))["pages"] == 2
    await change_run(runs, claim.run_id, {"lease_until": PAST})
    assert not await attempt_store.checkpoint(runs, claim, "two", None, PAGE, 1)


async def test_whoever_lost_a_run_writes_nothing_more(runs: Connection) -> None:
    run_id = await make_run(runs)
    first = await claimed(runs, run_id)
    await change_run(runs, run_id, {"lease_until": PAST})
    second = await claimed(runs, run_id)
    assert (first.attempt, second.attempt) == (1, 2)
    before = dict(await row(runs, run_id))
    assert not await attempt_store.checkpoint(runs, first, "mine", datetime.now(UTC), PAGE, 1)
    assert await attempt_store.extend_lease(runs, first, MINUTE) is None
    for state in State:
        assert not await attempt_store.leave_run(runs, first, state, error="x", retry_in=MINUTE, retries=1)
    assert dict(await row(runs, run_id)) == before
    assert await attempt_store.extend_lease(runs, second, MINUTE) is False
    assert await attempt_store.checkpoint(runs, second, "mine", datetime.now(UTC), PAGE, 1)
    assert await attempt_store.leave_run(runs, second, State.SUCCEEDED)


async def test_a_lease_that_is_over_is_not_extended_even_before_another_has_the_run(runs: Connection) -> None:
    claim = await claimed(runs, await make_run(runs))
    await change_run(runs, claim.run_id, {"lease_until": PAST})
    assert await attempt_store.extend_lease(runs, claim, MINUTE) is None
    assert not await attempt_store.checkpoint(runs, claim, "mine", None, PAGE, 0)


async def test_a_sign_of_life_brings_the_wish_to_cancel(runs: Connection) -> None:
    claim = await claimed(runs, await make_run(runs), lease=5)
    assert await attempt_store.extend_lease(runs, claim, MINUTE) is False
    assert (await row(runs, claim.run_id))["lease_until"] > datetime.now(UTC) + timedelta(seconds=50)
    cancelled = await run_store.cancel_run(runs, COMPANY, claim.run_id)
    assert cancelled is not None
    assert (cancelled.state, cancelled.cancel_requested) == (State.RUNNING, True)
    assert await attempt_store.extend_lease(runs, claim, MINUTE) is True
    assert await attempt_store.leave_run(runs, claim, State.CANCELLED)
    # Ended: it stays as it is.
    assert await run_store.cancel_run(runs, COMPANY, claim.run_id) is None


async def test_a_run_that_no_worker_is_at_is_cancelled_at_once(runs: Connection) -> None:
    for columns in (QUEUED, WAITING, DUE):
        run_id = await make_run(runs, **columns)
        assert await run_store.cancel_run(runs, "bolt", run_id) is None
        run = await run_store.cancel_run(runs, COMPANY, run_id)
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
        ({**CANCELLED, "ended_time": None}, "sync_runs_ended"),
        ({"ended_time": NOW}, "sync_runs_ended"),
        ({**RUNNING, "ended_time": NOW}, "sync_runs_ended"),
        ({**RUNNING, "attempt": 0}, "sync_runs_begun"),
        ({**WAITING, "attempt": 0}, "sync_runs_begun"),
        ({**SUCCEEDED, "attempt": 0}, "sync_runs_begun"),
        ({**FAILED, "attempt": 0}, "sync_runs_begun"),
        ({**WAITING, "error": None}, "sync_runs_error"),
        ({**FAILED, "error": None}, "sync_runs_error"),
        ({**CANCELLED, "cancel_requested": False}, "sync_runs_cancelled"),
        ({"fetched": 1}, "sync_runs_counts"),
        ({"fetched": 1, "accepted": 1, "duplicates": 1}, "sync_runs_counts"),
        ({"attempt": -1}, "sync_runs_attempt_check"),
    ]
    for columns, constraint in cases:
        with pytest.raises(asyncpg.CheckViolationError) as caught:
            await change_run(runs, run_id, columns)
        assert caught.value.constraint_name == constraint, columns


async def test_a_schedule_is_whole_or_not_there(runs: Connection) -> None:
    for change in ("schedule_interval = interval '1 hour'", "next_run_time = now()"):
        with pytest.raises(asyncpg.CheckViolationError, match="sources_schedule"):
            await runs.execute(f"UPDATE hookline.sources SET {change}")
    with pytest.raises(asyncpg.CheckViolationError, match="schedule_interval"):
        await schedule_store.start_schedule(runs, COMPANY, SOURCE, timedelta(seconds=59))


async def test_a_source_has_one_active_run(runs: Connection) -> None:
    for columns in (QUEUED, RUNNING, ABANDONED, WAITING, DUE):
        run_id = await make_run(runs, **columns)
        found = await run_store.create_run(runs, COMPANY, SOURCE, "another", 1)
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
    ended: list[Mapping[str, Any]] = [SUCCEEDED, FAILED, CANCELLED]
    made = [await make_run(runs, **columns) for columns in ended]
    assert await make_run(runs) not in made


async def test_the_databases_enums_are_those_of_the_code_and_of_the_contract(connection: Connection) -> None:
    for name, enum, prefix, values in (
        ("sync_run_state", State, "SYNC_RUN_STATE_", pb.SyncRunState.keys()),
        ("sync_trigger", Trigger, "SYNC_TRIGGER_", pb.SyncTrigger.keys()),
    ):
        labels = await connection.fetchval(f"SELECT enum_range(NULL::hookline.{name})::text[]")
        assert labels == [member.value for member in enum]
        assert values == [f"{prefix}UNSPECIFIED", *(f"{prefix}{member.name}" for member in enum)]


async def test_what_the_reaper_cancels_is_what_no_worker_can(runs: Connection) -> None:
    wanted = {"cancel_requested": True}
    cases: list[tuple[Mapping[str, Any], bool]] = [
        ({**ABANDONED, **wanted}, True),
        ({**RUNNING, **wanted}, False),
        (ABANDONED, False),
    ]
    for number, (columns, gone) in enumerate(cases):
        await make_source(runs, source=f"s{number}")
        run_id = await make_run(runs, source=f"s{number}", **columns)
        assert await reaper_store.cancel_abandoned(runs) == ([(COMPANY, run_id)] if gone else [])
        assert (await row(runs, run_id))["state"] == ("cancelled" if gone else "running")
