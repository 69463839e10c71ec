"""Schedules that are due: a run for each, once, whatever is in the way of others and whoever dies."""

import asyncio
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from services.sync import alerting_store, reaper_store, run_store
from services.sync import reaper as subject
from services.sync.reaper import BATCH, Reaper
from shared import db
from shared.db import Connection
from tests.reaping import (
    JUST_PAST,
    LEASE,
    NOT_YET,
    RUNNING,
    WAITING,
    Heard,
    log_of,
    make_due,
    reapers,
)
from tests.sync_in_process import change_run
from tests.waiting import eventually


async def test_a_schedule_is_due_at_its_time_and_keeps_its_beat(database_url: str, connection: Connection) -> None:
    await make_due(connection, 1, "now() + interval '20 s'")
    async with reapers(database_url) as ([reaper], heard):
        await reaper.round()
        assert heard.keys == []
        # 100 ticks missed while everything was down: one run catches up, and the beat is the one that it was.
        await connection.execute(
            "UPDATE hookline.sources SET next_run_time = next_run_time - interval '100 hours 10 minutes',"
            " schedule_start_time = schedule_start_time - interval '100 hours 10 minutes'"
        )
        start = await connection.fetchval("SELECT schedule_start_time FROM hookline.sources")
        await reaper.round()
        [(company, run_id)] = heard.keys
        run = await run_store.get_run(connection, company, run_id)
        assert run is not None
        assert (run.state, run.trigger, run.attempt) == (run_store.State.QUEUED, run_store.Trigger.SCHEDULE, 0)
        due = await connection.fetchval("SELECT next_run_time FROM hookline.sources")
        assert (due - start) % timedelta(hours=1) == timedelta(0)
        assert timedelta(0) < due - run.created_time <= timedelta(hours=1)
        await reaper.round()
        assert len(heard.keys) == 1
    assert await log_of(connection, run_id) == [
        ("RUN_CREATED", f"Its schedule was due. It pulls what is dated from {run.start_time:%Y-%m-%dT%H:%M:%S.%fZ} on.")
    ]


async def test_a_tick_while_the_run_is_active_is_merged_into_it(database_url: str, connection: Connection) -> None:
    await make_due(connection, 1)
    async with reapers(database_url) as ([reaper], heard):
        await reaper.round()
        [(_, run_id)] = heard.keys
        for state in ({}, WAITING | {"next_attempt_time": NOT_YET}, RUNNING | {"lease_until": NOT_YET}):
            await connection.execute("UPDATE hookline.sources SET next_run_time = now()")
            due = await connection.fetchval("SELECT next_run_time FROM hookline.sources")
            if state:
                await change_run(connection, run_id, {"next_attempt_time": None, "error": None, **state})
            await reaper.round()
            assert (await log_of(connection, run_id))[-1] == (
                "SCHEDULE_MERGED",
                f"The schedule was due at {due:%Y-%m-%dT%H:%M:%SZ}. This run had not ended yet: it counts for that time"
                " too.",
            )
            assert await connection.fetchval("SELECT next_run_time > now() FROM hookline.sources")
    assert await connection.fetchval("SELECT count(*) FROM hookline.sync_runs") == 1
    assert len(await log_of(connection, run_id)) == 4


async def test_a_tick_during_a_run_that_reads_up_to_an_end_makes_one_that_goes_next(
    database_url: str, connection: Connection
) -> None:
    await make_due(connection, 1, "now() + interval '1 hour'")
    until = datetime.now(UTC)
    months = []
    for number in range(3):
        span = (until - timedelta(days=30 * (number + 2)), until - timedelta(days=30 * (number + 1)))
        found = await run_store.create_run(
            connection, "company1", "loja", None, run_store.Wish(*span, queue=number > 0)
        )
        assert found is not None
        months.append(found[0].run_id)
    ended = {"state": "succeeded", "attempt": 1, "ended_time": JUST_PAST, "behind": False}
    async with reapers(database_url) as ([reaper], heard):
        for _ in range(2):
            await connection.execute("UPDATE hookline.sources SET next_run_time = now()")
            await reaper.round()
        # The second tick is that run's, too.
        [own] = [
            run for run in await run_store.list_runs(connection, "company1", None, None, 9) if run.until_time is None
        ]
        assert (own.trigger, own.behind, own.state) == (run_store.Trigger.SCHEDULE, True, run_store.State.QUEUED)
        assert [code for code, _ in await log_of(connection, own.run_id)] == ["RUN_CREATED", "SCHEDULE_MERGED"]
        assert [code for code, _ in await log_of(connection, months[0])] == ["RUN_CREATED"]
        # It goes before those that have waited longer; and it is not overdue for having waited.
        await connection.execute("UPDATE hookline.sync_runs SET created_time = created_time - interval '1 day'")
        heard.keys.clear()
        for ends, following in zip([months[0], own.run_id, months[1]], [own.run_id, *months[1:]], strict=True):
            await change_run(connection, ends, ended)
            await reaper.round()
            assert heard.keys.pop() == ("company1", following)
            assert await alerting_store.open_overdue(connection, timedelta(minutes=5), 10) == []


async def test_a_run_begins_where_its_source_was_read_to_less_the_look_back(
    database_url: str, connection: Connection
) -> None:
    await make_due(connection, 1)
    async with reapers(database_url) as ([reaper], heard):
        await reaper.round()
        [(company, first)] = heard.keys
        run = await run_store.get_run(connection, company, first)
        assert run is not None
        assert run.created_time - run.start_time == pytest.approx(timedelta(days=30), abs=timedelta(minutes=1))
        assert run.until_time is None
        await change_run(connection, first, {"state": "succeeded", "attempt": 1, "ended_time": JUST_PAST})
        read_to = run.created_time - timedelta(days=3)
        await connection.execute(
            "UPDATE hookline.sources SET synced_time = $1, look_back = $2, next_run_time = now()",
            read_to,
            timedelta(hours=5),
        )
        await reaper.round()
    row = await connection.fetchrow(
        "SELECT start_time, until_time, known_until_time FROM hookline.sync_runs WHERE run_id = $1", heard.keys[1][1]
    )
    assert row
    assert tuple(row) == (read_to - timedelta(hours=5), None, read_to)


async def test_schedules_due_at_the_same_moment_fire_once_each_with_two_reapers(
    database_url: str, connection: Connection
) -> None:
    count = 300
    assert count > BATCH
    await make_due(connection, count)
    async with reapers(database_url, 2) as (both, heard):

        async def all_told() -> bool:
            await asyncio.gather(*(reaper.round() for reaper in both))
            return len(heard.keys) >= count

        await eventually(all_told, what="all are told of")
        await asyncio.gather(*(reaper.round() for reaper in both))
    assert Counter(company for company, _ in heard.keys) == {f"company{n}": 1 for n in range(1, count + 1)}
    assert await connection.fetchval("SELECT count(*) FROM hookline.sync_runs") == count


async def test_a_reaper_that_dies_in_the_middle_has_done_nothing(database_url: str, connection: Connection) -> None:
    await make_due(connection, 3)
    before = await connection.fetch("SELECT company_id, next_run_time FROM hookline.sources ORDER BY company_id")
    dying = await db.connect(database_url)
    transaction = dying.transaction()
    await transaction.start()
    claimed = await reaper_store.claim_due(dying, BATCH)
    await reaper_store.fire(dying, claimed, [one.now + timedelta(hours=1) for one in claimed])
    async with reapers(database_url) as ([reaper], heard):
        # They are the other's, as long as it lives.
        await reaper.round()
        assert heard.keys == []
        dying.terminate()
        assert before == await connection.fetch(
            "SELECT company_id, next_run_time FROM hookline.sources ORDER BY company_id"
        )

        async def all_told() -> bool:
            await reaper.round()
            return len(heard.keys) == 3

        # As soon as PostgreSQL has seen that it is dead.
        await eventually(all_told, what="the schedules have fired")
    assert await connection.fetchval("SELECT count(*) FROM hookline.sync_runs") == 3


async def test_a_schedule_that_no_run_can_be_made_of_holds_up_no_other(
    database_url: str, connection: Connection
) -> None:
    await make_due(connection, 5)
    await connection.execute(
        """
        UPDATE hookline.sources SET next_run_time = next_run_time - interval '1 day' WHERE company_id = 'company3';
        CREATE FUNCTION pg_temp.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE EXCEPTION 'not this one'; END
        $$;
        CREATE TRIGGER refuse BEFORE INSERT ON hookline.sync_runs
            FOR EACH ROW WHEN (NEW.company_id = 'company3') EXECUTE FUNCTION pg_temp.refuse();
        """
    )
    async with reapers(database_url) as ([reaper], heard):
        await reaper.round()
        assert {company for company, _ in heard.keys} == {"company1", "company2", "company4", "company5"}
        # It is looked at again a little later, and fires when it can.
        ahead = await connection.fetchval(
            "SELECT next_run_time - now() FROM hookline.sources WHERE company_id = 'company3'"
        )
        assert timedelta(seconds=50) < ahead <= subject.PASSED_OVER
        await connection.execute("DROP TRIGGER refuse ON hookline.sync_runs")
        await connection.execute("UPDATE hookline.sources SET next_run_time = now() WHERE company_id = 'company3'")
        await reaper.round()
        assert heard.keys[4][0] == "company3"


async def test_a_schedule_whose_next_time_is_not_to_be_found_fires_all_the_same(
    database_url: str, connection: Connection
) -> None:
    await make_due(connection, 2)
    # As after an update that drops a time zone.
    await connection.execute(
        "UPDATE hookline.sources SET schedule_interval = NULL, schedule_cron = '0 3 * * *',"
        " schedule_time_zone = 'Mars/Base' WHERE company_id = 'company1'"
    )
    async with reapers(database_url) as ([reaper], heard):
        await reaper.round()
        assert {company for company, _ in heard.keys} == {"company1", "company2"}
    ahead = await connection.fetchval("SELECT max(next_run_time) - now() FROM hookline.sources")
    assert ahead == pytest.approx(subject.AT_A_LOSS, abs=timedelta(minutes=1))


async def test_schedules_fire_while_redis_hangs(
    database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hung(Heard):
        async def ring(self, company_id: str, run_id: uuid.UUID) -> bool:
            self.keys.append((company_id, run_id))
            await asyncio.Event().wait()
            return False

    monkeypatch.setattr(subject, "ROUND_SECONDS", 0.05)
    doorbell = Hung()
    await make_due(connection, 1, "now() + interval '1 hour'")
    async with await db.open_pool(database_url, 2) as pool:
        reaping = asyncio.ensure_future(Reaper(pool, doorbell, LEASE.total_seconds()).run())
        for count in (1, 2, 3):
            await connection.execute(
                "UPDATE hookline.sync_runs SET state = 'cancelled', cancel_requested = true,"
                " ended_time = clock_timestamp() WHERE state = 'queued'"
            )
            await connection.execute("UPDATE hookline.sources SET next_run_time = now()")

            async def fired(count: int = count) -> bool:
                return bool(await connection.fetchval("SELECT count(*) FROM hookline.sync_runs") == count)

            await eventually(fired, what="the schedule has fired")
            await eventually(lambda: len(doorbell.keys) == 1, what="Redis is asked, and hangs")
        reaping.cancel()
        await asyncio.gather(reaping, return_exceptions=True)
    assert len(doorbell.keys) == 1
