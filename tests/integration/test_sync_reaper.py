"""The reaper: takes what is due and nothing else, each row once, however many reapers there are."""

import asyncio
import signal
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
import redis.asyncio
from prometheus_client import REGISTRY

from services.sync import reaper as subject
from services.sync import reaper_store, run_store
from services.sync.doorbell import PATIENCE, Doorbell
from services.sync.reaper import BATCH, Reaper
from services.sync.reaper_store import RunKey
from services.sync.statements import sql
from shared import db
from shared.broker import make_broker
from shared.db import Connection
from tests.reaping import (
    JUST_PAST,
    LEASE,
    NOT_YET,
    RUNNING,
    TOLD_LATELY,
    TOLD_LONG_AGO,
    WAITING,
    Heard,
    log_of,
    make_due,
    reapers,
    state_of,
)
from tests.sync_in_process import COMPANY, change_run, make_run, make_source, valkey
from tests.waiting import eventually


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
        "incomplete": ({"state": "incomplete", "attempt": 1, "ended_time": JUST_PAST, "error": "x"}, False),
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


async def test_a_reaper_passes_over_what_another_is_at(database_url: str, connection: Connection) -> None:
    await make_due(connection, 2 * BATCH + 1)

    async def both(take: Callable[[Connection], Awaitable[list[RunKey]]]) -> list[list[RunKey]]:
        """Lets a second one take while the first has not committed yet."""
        async with connection.transaction():
            first = await take(connection)
            async with asyncio.timeout(5), other.acquire() as second:
                return [first, await take(second)]

    async def due(reaper: Connection) -> list[RunKey]:
        async with reaper.transaction():
            claimed = await reaper_store.claim_due(reaper, BATCH)
            next_times = [one.now + timedelta(hours=1) for one in claimed]
            return await reaper_store.fire(reaper, claimed, next_times) if claimed else []

    async def kicks(reaper: Connection) -> list[RunKey]:
        return await reaper_store.take_kicks(reaper, LEASE, BATCH)

    async with await db.open_pool(database_url, 1) as other:
        for take in (due, kicks):
            batches = [*await both(take), await take(connection)]
            assert [len(batch) for batch in batches] == [BATCH, BATCH, 1]
            assert len({key for batch in batches for key in batch}) == 2 * BATCH + 1
            assert await take(connection) == []


async def test_runs_past_their_deadline_that_no_worker_has_end(database_url: str, connection: Connection) -> None:
    cases: dict[str, tuple[dict[str, Any], str]] = {
        "waits": ({**WAITING, "next_attempt_time": NOT_YET, "deadline_time": JUST_PAST}, "failed"),
        "handed back": ({"attempt": 1, "deadline_time": JUST_PAST}, "failed"),
        "its worker died": ({**RUNNING, "lease_until": JUST_PAST, "deadline_time": JUST_PAST}, "failed"),
        # Its worker ends it.
        "is at work": ({**RUNNING, "lease_until": NOT_YET, "deadline_time": JUST_PAST}, "running"),
        "has time": ({**WAITING, "next_attempt_time": NOT_YET, "deadline_time": NOT_YET}, "waiting"),
        "was to be cancelled": ({**RUNNING, "lease_until": JUST_PAST, "cancel_requested": True}, "cancelled"),
        "both": (
            {**RUNNING, "lease_until": JUST_PAST, "cancel_requested": True, "deadline_time": JUST_PAST},
            "cancelled",
        ),
    }
    runs = {}
    for number, (name, (columns, _)) in enumerate(cases.items()):
        await make_source(connection, source=f"s{number}")
        runs[name] = await make_run(connection, source=f"s{number}", **columns)
    async with reapers(database_url, 2) as (both, _):
        await asyncio.gather(*(reaper.round() for reaper in both))
        await both[0].round()
    states = {name: await state_of(connection, run_id) for name, run_id in runs.items()}
    assert {name: state for name, (state, _) in states.items()} == {name: state for name, (_, state) in cases.items()}
    assert states["waits"][1] == "It has not ended by its deadline, and no worker was at it then."
    for name, run_id in runs.items():
        ends = [text for code, text in await log_of(connection, run_id) if code == "RUN_ENDED"]
        assert len(ends) == int(states[name][0] in ("failed", "cancelled")), name
    assert await connection.fetchval("SELECT count(*) FROM hookline.alerts WHERE kind = 'run_failed'") == 3


async def test_a_run_that_can_not_be_ended_holds_up_no_other(database_url: str, connection: Connection) -> None:
    overdue = {**WAITING, "next_attempt_time": NOT_YET, "deadline_time": JUST_PAST}
    runs = []
    for source in ("s1", "s2", "s3"):
        await make_source(connection, source=source)
        runs.append(await make_run(connection, source=source, **overdue))
    await make_due(connection, 1)
    async with reapers(database_url) as ([reaper], heard), await db.open_pool(database_url, 1) as other:
        async with other.acquire() as holding, holding.transaction():
            await holding.execute("SELECT FROM hookline.sources WHERE source = 's1' FOR UPDATE")
            async with await db.open_pool(database_url, 2, lock_timeout="100ms") as pool:
                await Reaper(pool, heard, LEASE.total_seconds()).round()
            assert [(await state_of(connection, run_id))[0] for run_id in runs] == ["waiting", "failed", "failed"]
        assert {company for company, _ in heard.keys} == {"company1"}
        await reaper.round()
    assert (await state_of(connection, runs[0]))[0] == "failed"


async def test_the_oldest_run_behind_is_let_go_when_the_active_one_has_ended(
    database_url: str, connection: Connection
) -> None:
    for source in ("s1", "s2"):
        await make_source(connection, source=source)
    queue: dict[str, list[uuid.UUID]] = {"s1": [], "s2": []}
    for source in ("s1", "s2", "s1", "s2", "s1"):
        wish = run_store.Wish(queue=True)
        found = await run_store.create_run(connection, COMPANY, source, None, wish)
        assert found is not None
        run, created = found
        assert (created, run.behind) == (True, bool(queue[source]))
        queue[source].append(run.run_id)
    async with reapers(database_url, 2) as (both, heard):

        async def rounds() -> set[uuid.UUID]:
            heard.keys.clear()
            for _ in range(2):
                await asyncio.gather(*(reaper.round() for reaper in both))
            return {run_id for _, run_id in heard.keys}

        assert await rounds() == {queue["s1"][0], queue["s2"][0]}
        # A tick meanwhile is the active run's.
        await connection.execute(
            "UPDATE hookline.sources SET schedule_interval = interval '1 hour', schedule_start_time = now(),"
            " next_run_time = now() WHERE source = 's1'"
        )
        assert await rounds() == set()
        ended = {"state": "succeeded", "attempt": 1, "ended_time": JUST_PAST}
        for run_id in queue["s1"]:
            await change_run(connection, run_id, ended)
            following = queue["s1"][queue["s1"].index(run_id) + 1 :][:1]
            assert await rounds() == set(following)
    assert await log_of(connection, queue["s1"][1]) == [
        (await log_of(connection, queue["s1"][1]))[0],
        ("RUN_LET_GO", "The run that it waited behind has ended: it waits for a worker now."),
    ]
    assert await connection.fetchval("SELECT count(*) FROM hookline.sync_runs WHERE behind") == 1


async def test_metrics_tell_what_waits_and_for_how_long(database_url: str, connection: Connection) -> None:
    def value(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(f"hookline_sync_{name}", labels) or 0

    await make_due(connection, 3, "now() - interval '90 s'")
    await make_source(connection)
    await make_run(connection, **WAITING, next_attempt_time=NOT_YET, deadline_time=JUST_PAST)
    fired, merged = value("schedules_fired_total", result="run"), value("schedules_fired_total", result="merged")
    failed = value("runs_ended_total", state="failed")
    async with reapers(database_url) as ([reaper], _):
        await reaper.round()
        assert 90 <= value("schedule_lag_seconds") < 120
        assert value("runs", state="waiting") == 1
        assert value("runs_ended_total", state="failed") == failed + 1
        await connection.execute("UPDATE hookline.sources SET next_run_time = now() WHERE company_id = 'company1'")
        for _ in range(2):
            await reaper.round()
    assert value("schedule_lag_seconds") == 0
    assert (value("runs", state="queued"), value("runs", state="waiting")) == (3, 0)
    assert value("schedules_fired_total", result="run") == fired + 3
    assert value("schedules_fired_total", result="merged") == merged + 1


async def test_who_was_not_told_is_told_as_soon_as_redis_is_back(database_url: str, connection: Connection) -> None:
    class Away(Heard):
        away = True

        async def ring(self, company_id: str, run_id: uuid.UUID) -> bool:
            return not self.away and await super().ring(company_id, run_id)

    await make_due(connection, 3)
    doorbell = Away()
    async with await db.open_pool(database_url, 2) as pool:
        reaper = Reaper(pool, doorbell, LEASE.total_seconds())
        for _ in range(2):
            await reaper.round()
            assert doorbell.keys == []
        doorbell.away = False
        await reaper.round()
        assert len(doorbell.keys) == 3


async def test_a_look_costs_one_statement_and_no_scan_of_what_is_at_rest(
    database_url: str, connection: Connection
) -> None:
    await make_due(connection, 3_000, "now() + interval '1 hour'")
    await connection.execute(
        """
        INSERT INTO hookline.sync_runs (company_id, run_id, source, trigger, start_time, state, attempt, ended_time)
        SELECT company_id, gen_random_uuid(), source, 'schedule', now(), 'succeeded', 1, now() FROM hookline.sources;
        ANALYZE hookline.sources, hookline.sync_runs;
        """
    )
    plans = []
    for name, arguments in (("look", []), ("claim_due", [BATCH]), ("take_kicks", [LEASE, BATCH])):
        rows = await connection.fetch("EXPLAIN " + sql.texts[name], *arguments)
        plans.append("\n".join(row[0] for row in rows))
    assert "Seq Scan" not in "\n".join(plans)
    asked: list[str] = []
    async with await db.open_pool(database_url, 1) as pool:
        async with pool.acquire() as one:
            one.add_query_logger(lambda each: asked.append(each.query))
        await Reaper(pool, Heard(), LEASE.total_seconds()).mend()
    assert asked == [sql.texts["look"]]


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
