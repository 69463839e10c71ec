"""Schedules from the outside: started, changed, paused, resumed, stopped; and a thousand of them due in one minute."""

import asyncio
from collections import Counter
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import grpc
import pytest
import redis.asyncio
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from hookline.sync.v1 import sync_service_pb2 as pb
from services.sync.cadence import jitter_offset
from services.sync.doorbell import Doorbell
from services.sync.reaper import Reaper
from services.sync.scheduler import main as scheduler_main
from shared import db
from shared.broker import make_broker
from shared.db import Connection
from shared.settings import Settings
from tests.in_process import SECRET_KEY
from tests.refusals import refused
from tests.sync_in_process import COMPANY, NOWHERE, SOURCE, create_source, process, runs_of, syncing, valkey
from tests.waiting import eventually

KEY: dict[str, Any] = {"company_id": COMPANY, "source": SOURCE}
HOUR = Duration(seconds=3600)


def moment(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(UTC)


async def start(stub: Any, **fields: Any) -> pb.Schedule:
    started: pb.Source = (await stub.StartSchedule(pb.StartScheduleRequest(**KEY, **fields))).source
    return started.schedule


async def fire(database_url: str) -> None:
    """One round of a scheduler, with nobody to tell."""
    async with await db.open_pool(database_url, 2) as pool:
        await Reaper(pool, Doorbell(make_broker(NOWHERE)), 30).mend()


def is_about_now() -> Any:
    return pytest.approx(datetime.now(UTC), abs=timedelta(seconds=20))


async def test_an_interval_is_every_six_hours_unless_told_and_begins_at_once(
    database_url: str, connection: Connection
) -> None:
    async with syncing(database_url) as sync:
        made = await create_source(sync.stub)
        assert not made.HasField("schedule")
        for asked, interval, jitter in (
            (None, timedelta(hours=6), timedelta(minutes=10)),
            (60, timedelta(minutes=1), timedelta(seconds=6)),
            (30 * 86400, timedelta(days=30), timedelta(minutes=10)),
        ):
            schedule = await start(sync.stub, interval=None if asked is None else Duration(seconds=asked))
            assert schedule == pb.Schedule(
                interval=schedule.interval,
                time_zone="UTC",
                jitter=schedule.jitter,
                next_run_time=schedule.next_run_time,
            )
            assert schedule.interval.ToTimedelta() == interval
            assert schedule.jitter.ToTimedelta() == jitter
            assert moment(schedule.next_run_time) == is_about_now()
        listed = (await sync.stub.ListSources(pb.ListSourcesRequest(company_id=COMPANY))).sources
        assert [source.schedule for source in listed] == [schedule]

        # Its first run is made; the next is one interval, and this source's part of the jitter, after the start.
        schedule = await start(sync.stub, interval=HOUR)
        first = moment(schedule.next_run_time)
        await fire(database_url)
        assert [run.trigger for run in await runs_of(sync.stub)] == [pb.SYNC_TRIGGER_SCHEDULE]
        status = (await sync.stub.GetSyncStatus(pb.GetSyncStatusRequest(company_id=COMPANY))).sources[0]
        late = jitter_offset(COMPANY, SOURCE, timedelta(minutes=6))
        # By the microsecond in the database, and so in the message.
        assert moment(status.source.schedule.next_run_time) == first + timedelta(hours=1) + late


async def test_the_same_again_changes_nothing_and_something_else_begins_anew(
    database_url: str, connection: Connection
) -> None:
    async with syncing(database_url) as sync:
        await create_source(sync.stub)
        await start(sync.stub, interval=HOUR)
        await fire(database_url)
        going = (await sync.stub.GetSource(pb.GetSourceRequest(**KEY))).source.schedule
        # As when an answer was lost, or a script starts it every day.
        assert await start(sync.stub, interval=HOUR) == going
        changed = await start(sync.stub, interval=HOUR, jitter=Duration())
        assert moment(changed.next_run_time) == is_about_now()
        assert changed.jitter == Duration()


async def test_a_cron_is_due_at_its_zones_time_late_by_the_jitter(database_url: str) -> None:
    async with syncing(database_url) as sync:
        await create_source(sync.stub)
        schedule = await start(sync.stub, cron=" 30  3 * * *", time_zone="America/Sao_Paulo", jitter=HOUR)
        assert (schedule.cron, schedule.time_zone) == ("30 3 * * *", "America/Sao_Paulo")
        assert not schedule.HasField("interval")
        due = moment(schedule.next_run_time)
        assert timedelta(0) < due - datetime.now(UTC) <= timedelta(days=1, hours=1)
        tick = (due - jitter_offset(COMPANY, SOURCE, timedelta(hours=1))).astimezone(ZoneInfo("America/Sao_Paulo"))
        assert (tick.hour, tick.minute, tick.second, tick.microsecond) == (3, 30, 0, 0)
        # A day apart: as much as a schedule by interval is.
        assert (await start(sync.stub, cron="30 3 * * *")).jitter.ToTimedelta() == timedelta(minutes=10)
        assert (await start(sync.stub, cron="* * * * *")).jitter.ToTimedelta() == timedelta(seconds=6)


async def test_what_was_missed_in_a_pause_is_not_caught_up(database_url: str, connection: Connection) -> None:
    async with syncing(database_url) as sync:
        await create_source(sync.stub)
        await start(sync.stub, interval=HOUR)
        await fire(database_url)
        going = (await sync.stub.GetSource(pb.GetSourceRequest(**KEY))).source.schedule
        for _ in range(2):
            paused = (await sync.stub.PauseSchedule(pb.PauseScheduleRequest(**KEY))).source.schedule
            assert (paused.paused, paused.interval, paused.HasField("next_run_time")) == (True, HOUR, False)
        # As if all of this had been five and a half hours ago, and the run had ended.
        await connection.execute(
            "UPDATE hookline.sources SET schedule_start_time = schedule_start_time - interval '330 minutes'"
        )
        await connection.execute(
            "UPDATE hookline.sync_runs SET state = 'succeeded', attempt = 1, ended_time = clock_timestamp()"
        )
        await fire(database_url)
        for _ in range(2):
            resumed = (await sync.stub.ResumeSchedule(pb.ResumeScheduleRequest(**KEY))).source.schedule
            assert not resumed.paused
            assert moment(resumed.next_run_time) == moment(going.next_run_time) - timedelta(minutes=30)
        await fire(database_url)
        assert len(await runs_of(sync.stub)) == 1
        # Starting one that is paused lets it go on as well.
        await sync.stub.PauseSchedule(pb.PauseScheduleRequest(**KEY))
        assert await start(sync.stub, interval=HOUR) == resumed

        for _ in range(2):
            stopped = (await sync.stub.StopSchedule(pb.StopScheduleRequest(**KEY))).source
            assert not stopped.HasField("schedule")


async def test_what_is_refused(database_url: str) -> None:
    async with syncing(database_url) as sync:
        missing: list[Awaitable[Any]] = [
            sync.stub.StartSchedule(pb.StartScheduleRequest(**KEY)),
            sync.stub.PauseSchedule(pb.PauseScheduleRequest(**KEY)),
            sync.stub.ResumeSchedule(pb.ResumeScheduleRequest(**KEY)),
            sync.stub.StopSchedule(pb.StopScheduleRequest(**KEY)),
        ]
        for call in missing:
            refusal = await refused(call)
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "SOURCE_NOT_FOUND")
        await create_source(sync.stub)
        without: list[Awaitable[Any]] = [
            sync.stub.PauseSchedule(pb.PauseScheduleRequest(**KEY)),
            sync.stub.ResumeSchedule(pb.ResumeScheduleRequest(**KEY)),
        ]
        for call in without:
            refusal = await refused(call)
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "SCHEDULE_NOT_FOUND")
            assert refusal.metadata == {"source": SOURCE}

        cases: list[tuple[dict[str, Any], dict[str, str]]] = [
            ({"interval": Duration(seconds=59)}, {"interval": "must be from one minute to 30 days"}),
            ({"interval": Duration(seconds=30 * 86400 + 1)}, {"interval": "must be from one minute to 30 days"}),
            ({"interval": Duration(seconds=2**62)}, {"interval": "must be from one minute to 30 days"}),
            ({"cron": "0 0 30 2 *"}, {"cron": "never fires: none of its months has such a day"}),
            ({"cron": "0 25 * * *"}, {"cron": "is none: its hour is wrong"}),
            (
                {"cron": "0 0 * *", "time_zone": "Mars/Base"},
                {
                    "cron": 'must have five fields, such as "0 3 * * *": minute, hour, day of the month, month, day of'
                    " the week; it has 4",
                    "time_zone": 'must be an IANA time zone, such as "America/Sao_Paulo"',
                },
            ),
            ({"interval": HOUR, "time_zone": "UTC"}, {"time_zone": "only goes with a cron expression"}),
            (
                {"interval": HOUR, "jitter": Duration(seconds=3601)},
                {"jitter": "must be from 0 to the time between two runs, 3600 seconds"},
            ),
            (
                {"cron": "*/5 * * * *", "jitter": Duration(seconds=301)},
                {"jitter": "must be from 0 to the time between two runs, 300 seconds"},
            ),
            (
                {"interval": HOUR, "jitter": Duration(seconds=-1)},
                {"jitter": "must be from 0 to the time between two runs, 3600 seconds"},
            ),
        ]
        for fields, violations in cases:
            refusal = await refused(sync.stub.StartSchedule(pb.StartScheduleRequest(**KEY, **fields)))
            assert (refusal.code, refusal.violations) == (grpc.StatusCode.INVALID_ARGUMENT, violations)
        assert not (await sync.stub.GetSource(pb.GetSourceRequest(**KEY))).source.HasField("schedule")


async def test_a_thousand_schedules_due_in_one_minute_fire_once_each(database_url: str, connection: Connection) -> None:
    count = 1_000
    # By interval and by cron; due in a moment, when both schedulers are there.
    await connection.execute(
        """
        INSERT INTO hookline.sources (company_id, source, platform, base_url, credential, schedule_interval,
                                      schedule_cron, schedule_time_zone, schedule_start_time, next_run_time)
        SELECT 'company' || n, 'loja', 'grapfy', 'https://api.example.com', 'x',
               CASE WHEN n % 2 = 0 THEN interval '6 hours' END,
               CASE WHEN n % 2 = 1 THEN '0 3 29 2 *' END,
               CASE WHEN n % 2 = 1 THEN 'America/Sao_Paulo' ELSE 'UTC' END,
               now(), now() + interval '2 s' + n * interval '1 ms'
        FROM generate_series(1, $1) AS n
        """,
        count,
    )
    statuses: list[pb.GetSyncStatusResponse] = []
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(valkey())
        sync = await stack.enter_async_context(syncing(database_url, server.url))
        # A long lease: nobody is told twice because a test is slow.
        told = Settings(database_url=database_url, redis_url=server.url, secret_key=SECRET_KEY, sync_lease=3600)

        async def ask() -> None:
            while True:
                number = len(statuses) % count + 1
                request = pb.GetSyncStatusRequest(company_id=f"company{number}")
                # None waits for the storm to be over.
                statuses.append(await sync.stub.GetSyncStatus(request, timeout=5))

        asking = asyncio.create_task(ask())
        for _ in range(2):
            await stack.enter_async_context(process(scheduler_main, told))
        client = await stack.enter_async_context(redis.asyncio.from_url(server.url))

        async def all_told() -> bool:
            return bool(await client.xlen("hookline:sync") >= count) or asking.done()

        await eventually(all_told, what="workers are told of all")
        seen = len(statuses)
        # And on: nothing more comes of it.
        await eventually(lambda: len(statuses) >= seen + 50 or asking.done(), what="more statuses")
        assert not asking.done(), asking.exception()
        asking.cancel()
        assert await client.xlen("hookline:sync") == count
    assert all(len(status.sources) == 1 for status in statuses)
    rows = await connection.fetch("SELECT company_id, state, trigger FROM hookline.sync_runs")
    assert Counter(row["company_id"] for row in rows) == {f"company{n}": 1 for n in range(1, count + 1)}
    assert {(row["state"], row["trigger"]) for row in rows} == {("queued", "schedule")}
    assert await connection.fetchval("SELECT count(*) FROM hookline.sources WHERE next_run_time <= now()") == 0
    assert await connection.fetchval("SELECT count(*) FROM hookline.sync_log WHERE code = 'SCHEDULE_MERGED'") == 0
