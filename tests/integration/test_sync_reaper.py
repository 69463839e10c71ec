"""The reaper: takes what is due and nothing else, each row once, however many reapers there are."""

import asyncio
import signal
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
import redis.asyncio

from services.sync import reaper as subject
from services.sync import reaper_store, run_store, schedule_store
from services.sync.doorbell import PATIENCE, Doorbell
from services.sync.reaper import BATCH, Reaper
from services.sync.reaper_store import RunKey
from shared import db
from shared.broker import make_broker
from shared.db import Connection
from tests.sync_in_process import COMPANY, NOWHERE, SOURCE, make_run, make_source, valkey
from tests.waiting import eventually

LEASE = timedelta(minutes=1)
# A moment either side of each horizon: more than a test takes, less than anything else.
JUST_PAST, NOT_YET = ["clock_timestamp() - interval '1 ms'"], ["clock_timestamp() + interval '20 s'"]
TOLD_LONG_AGO = ["clock_timestamp() - interval '60.001 s'"]
TOLD_LATELY = ["clock_timestamp() - interval '40 s'"]
RUNNING: dict[str, Any] = {"state": "running", "attempt": 1}
WAITING: dict[str, Any] = {"state": "waiting", "attempt": 1, "error": "away"}


class Heard(Doorbell):
    """A doorbell that keeps who was told of instead."""

    def __init__(self) -> None:
        super().__init__(make_broker(NOWHERE))
        self.keys: list[RunKey] = []

    async def ring(self, company_id: str, run_id: uuid.UUID) -> bool:
        await asyncio.sleep(0)
        self.keys.append((company_id, run_id))
        return True


@asynccontextmanager
async def reapers(database_url: str, count: int = 1) -> AsyncIterator[tuple[list[Reaper], Heard]]:
    """Reapers that share a doorbell."""
    heard = Heard()
    async with await db.open_pool(database_url, 4) as pool:
        yield [Reaper(pool, heard, LEASE.total_seconds()) for _ in range(count)], heard


async def make_due(connection: Connection, count: int, next_run: str = "clock_timestamp()") -> None:
    """Sources with schedules of an hour, each of a company of its own."""
    await connection.execute(
        f"""
        INSERT INTO hookline.sources
            (company_id, source, platform, base_url, credential, schedule_interval, next_run_time)
        SELECT 'company' || n, 'loja', 'grapfy', 'https://api.example.com', 'x', interval '1 hour', {next_run}
        FROM generate_series(1, $1) AS n
        """,
        count,
    )


async def test_tells_of_what_is_at_its_horizon_and_of_nothing_short_of_it(
    database_url: str, connection: Connection
) -> None:
    cases: dict[str, tuple[dict[str, Any], bool]] = {
        "never told": ({}, True),
        "told long ago": ({"kicked_time": TOLD_LONG_AGO}, True),
        "told lately": ({"kicked_time": TOLD_LATELY}, False),
        "due": ({**WAITING, "next_attempt_time": JUST_PAST}, True),
        "not due": ({**WAITING, "next_attempt_time": NOT_YET}, False),
        "due and told lately": ({**WAITING, "next_attempt_time": JUST_PAST, "kicked_time": TOLD_LATELY}, False),
        "lease over": ({**RUNNING, "lease_until": JUST_PAST, "kicked_time": TOLD_LONG_AGO}, True),
        "lease over, told lately": ({**RUNNING, "lease_until": JUST_PAST, "kicked_time": TOLD_LATELY}, False),
        "lease holds": ({**RUNNING, "lease_until": NOT_YET, "kicked_time": TOLD_LONG_AGO}, False),
        "succeeded": ({"state": "succeeded", "attempt": 1, "ended_time": JUST_PAST}, False),
        "failed": ({"state": "failed", "attempt": 1, "ended_time": JUST_PAST, "error": "x"}, False),
        "cancelled": ({"state": "cancelled", "ended_time": JUST_PAST, "cancel_requested": True}, False),
        "to be cancelled, lease over": (
            {**RUNNING, "lease_until": JUST_PAST, "cancel_requested": True, "kicked_time": TOLD_LONG_AGO},
            False,
        ),
    }
    names = {}
    for number, (name, (columns, _)) in enumerate(cases.items()):
        await make_source(connection, source=f"s{number}")
        names[await make_run(connection, source=f"s{number}", **columns)] = name
    async with reapers(database_url) as ([reaper], heard):
        await reaper.round()
        assert {names[run_id] for _, run_id in heard.keys} == {name for name, (_, told) in cases.items() if told}
        # Told: not again before it has been long enough.
        heard.keys.clear()
        await reaper.round()
        assert heard.keys == []
    assert await connection.fetchval("SELECT count(*) FROM hookline.sync_runs WHERE state = 'cancelled'") == 2


async def test_a_schedule_is_due_at_its_time_and_moves_on_from_now(connection: Connection) -> None:
    await make_due(connection, 1, "clock_timestamp() + interval '20 s'")
    assert await reaper_store.create_due_runs(connection, BATCH) == []
    # 100 ticks missed while everything was down: one run catches up.
    await connection.execute("UPDATE hookline.sources SET next_run_time = clock_timestamp() - interval '100 hours'")
    [(company, run_id)] = await reaper_store.create_due_runs(connection, BATCH)
    run = await run_store.get_run(connection, company, run_id)
    assert run is not None
    assert (run.state, run.trigger, run.attempt) == (run_store.State.QUEUED, run_store.Trigger.SCHEDULE, 0)
    ahead = await connection.fetchval("SELECT next_run_time - clock_timestamp() FROM hookline.sources")
    assert timedelta(minutes=59) < ahead <= timedelta(hours=1)
    assert await reaper_store.create_due_runs(connection, BATCH) == []
    # The run is still active at the next tick: no second one, and the schedule moves on.
    await connection.execute("UPDATE hookline.sources SET next_run_time = clock_timestamp()")
    assert await reaper_store.create_due_runs(connection, BATCH) == []
    assert await connection.fetchval("SELECT count(*) FROM hookline.sources WHERE next_run_time > clock_timestamp()")


async def test_a_run_begins_where_the_last_good_one_did(connection: Connection) -> None:
    await make_source(connection)
    await schedule_store.start_schedule(connection, COMPANY, SOURCE, LEASE)

    async def begins() -> timedelta:
        [(company, run_id)] = await reaper_store.create_due_runs(connection, BATCH)
        await connection.execute("UPDATE hookline.sources SET next_run_time = clock_timestamp()")
        run = await run_store.get_run(connection, company, run_id)
        assert run is not None
        await run_store.cancel_run(connection, company, run_id)
        return run.created_time - run.start_time

    def is_about(days: float, hours: float = 0) -> Any:
        return pytest.approx(timedelta(days=days, hours=hours), abs=timedelta(minutes=1))

    assert await begins() == is_about(30)
    ended: dict[str, Any] = {"attempt": 1, "ended_time": JUST_PAST}
    for age, columns in (
        (9, {**ended, "state": "succeeded"}),
        (5, {**ended, "state": "succeeded"}),
        (2, {**ended, "state": "failed", "error": "x"}),
    ):
        await make_run(connection, **columns, created_time=[f"clock_timestamp() - interval '{age} days'"])
    assert await begins() == is_about(5, hours=1)


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


async def test_a_reaper_passes_over_what_another_is_at(database_url: str, connection: Connection) -> None:
    await make_due(connection, 2 * BATCH + 1)

    async def both(take: Callable[[Connection], Awaitable[list[RunKey]]]) -> list[list[RunKey]]:
        """Lets a second one take while the first has not committed yet."""
        async with connection.transaction():
            first = await take(connection)
            async with asyncio.timeout(5), other.acquire() as second:
                return [first, await take(second)]

    async def due(reaper: Connection) -> list[RunKey]:
        return await reaper_store.create_due_runs(reaper, BATCH)

    async def kicks(reaper: Connection) -> list[RunKey]:
        return await reaper_store.take_kicks(reaper, LEASE, BATCH)

    async with await db.open_pool(database_url, 1) as other:
        for take in (due, kicks):
            batches = [*await both(take), await take(connection)]
            assert [len(batch) for batch in batches] == [BATCH, BATCH, 1]
            assert len({key for batch in batches for key in batch}) == 2 * BATCH + 1
            assert await take(connection) == []


async def test_a_batch_and_one_schedules_take_one_round(database_url: str, connection: Connection) -> None:
    await make_due(connection, BATCH + 1)
    async with reapers(database_url) as ([reaper], _):
        await reaper.round()
    assert await connection.fetchval("SELECT count(*) FROM hookline.sync_runs") == BATCH + 1


async def test_a_tick_while_valkey_is_away_is_not_lost(
    database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with valkey() as server, await db.open_pool(database_url, 2) as pool:
        broker = make_broker(server.url)
        reaper = Reaper(pool, Doorbell(broker), lease=1)
        await broker.startup()
        await make_due(connection, 3)
        await server.stop()
        await reaper.round()
        assert await connection.fetchval("SELECT count(*) FROM hookline.sync_runs WHERE state = 'queued'") == 3
        await server.start()
        monkeypatch.setattr(subject, "ROUND_SECONDS", 0.05)
        reaping = asyncio.ensure_future(reaper.run())

        async def told() -> bool:
            async with redis.asyncio.from_url(server.url) as client:
                return bool(await client.xlen("hookline:sync") >= 3)

        await eventually(told, what="all are told of")
        reaping.cancel()
        await asyncio.gather(reaping, return_exceptions=True)
        await broker.shutdown()


async def test_a_valkey_that_takes_calls_and_does_not_answer_holds_no_one_up() -> None:
    async with valkey() as server:
        broker = make_broker(server.url)
        doorbell = Doorbell(broker)
        assert await doorbell.ring(COMPANY, uuid.uuid4())
        assert server.process
        server.process.send_signal(signal.SIGSTOP)
        async with asyncio.timeout(2 * PATIENCE):
            assert not await doorbell.ring(COMPANY, uuid.uuid4())
        server.process.send_signal(signal.SIGCONT)
        assert await doorbell.ring(COMPANY, uuid.uuid4())
        await broker.shutdown()
