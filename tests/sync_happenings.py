"""What may happen to syncs, each with what must hold after it: for the end-to-end tests and, longer, for the soak."""

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from datetime import UTC, timedelta

from hookline.sync.v1 import sync_service_pb2 as pb
from services.sandbox.faults import Faults
from shared.broker import STREAM
from tests.sync_faults import Pulled, Stage, another, another_worker
from tests.waiting import eventually

LOOK_BACK = timedelta(days=25)
"""Longer than a shop's history: whatever is listed late is found."""


async def check_complete(stage: Stage, seed: int, events: int) -> list[pb.SyncRun]:
    """A shop with 5 % failing pages, 1 % duplicates and 2 % late is pulled twice: the second run finds what was listed
    late. Raises AssertionError unless all is complete, exact, and counted. Gives the runs, the first one first."""
    async with stage.pulled(seed=seed, events=events, late=0.02, look_back=LOOK_BACK) as pulled:
        await pulled.trigger(days_back=0)
        first = await pulled.ended(timeout=60 + events / 200)
        assert first.counts.late == 0
        read_until = first.synced_time.ToDatetime(UTC)
        newer = pulled.shop.withheld(read_until)
        late = pulled.shop.publish()
        assert late == round(events * 0.02)
        await pulled.trigger(days_back=0, request_id="again")
        second = await pulled.ended(timeout=60 + events / 200, runs=2)
        if first.attempt == second.attempt == 1:
            assert first.counts.accepted == events - late
            assert second.counts.accepted == late
            assert second.counts.late == late - newer
            # Nothing is read twice, beside what was read by the first run.
            assert second.counts.fetched == pulled.shop.served.items
            assert await _received_during(pulled, first) == events - late
            assert await _received_during(pulled, second) == late
        return [first, second]


async def _received_during(pulled: Pulled, run: pb.SyncRun) -> int:
    """What the events themselves say of how many a run has brought."""
    async with pulled.stage.database() as connection:
        count: int = await connection.fetchval(
            "SELECT count(*) FROM hookline.events WHERE company_id = $1 AND received_time BETWEEN $2 AND $3",
            pulled.company,
            run.create_time.ToDatetime(UTC),
            run.end_time.ToDatetime(UTC),
        )
        return count


async def check_flushed_in_the_middle(stage: Stage, seed: int) -> None:
    """Valkey forgets everything while a run is under way."""
    async with stage.pulled(seed=seed) as pulled:
        pulled.shop.gate(5)
        await pulled.trigger()
        await pulled.held()
        async with stage.redis() as client:
            await client.flushall()
        pulled.shop.release()
        await pulled.ended()


async def check_flushed_before_anyone_knows(stage: Stage, seed: int) -> None:
    """Valkey forgets everything before a worker has heard of a run."""
    async with stage.pulled(seed=seed) as pulled, stage.redis() as client:
        async with stage.frozen("sync-worker"):
            # A message must not be on its way to the worker already.
            await client.client_kill_filter(_type="normal", skipme=True)
            await client.flushall()
            await pulled.trigger()
            # The reaper may have rung as well, before the service had noted that it has.
            assert await client.xlen(STREAM) >= 1
            await client.flushall()
            assert (await pulled.run()).state == pb.SYNC_RUN_STATE_QUEUED
        await pulled.ended()


async def check_tick_without_redis(stage: Stage, seed: int, seconds: float = 0) -> None:
    """Valkey is away for so long, over a tick that is due, and then dies."""
    async with stage.pulled(seed=seed) as pulled:
        until = time.monotonic() + seconds
        async with stage.frozen("valkey"):
            await pulled.start_schedule()
            [run] = await eventually(pulled.runs, what="the tick has made a run")
            assert (run.state, run.trigger) == (pb.SYNC_RUN_STATE_QUEUED, pb.SYNC_TRIGGER_SCHEDULE)
            await asyncio.sleep(max(0, until - time.monotonic()))
            await stage.kill("valkey")
        await pulled.ended(timeout=120)


async def check_two_schedulers(stage: Stage, seed: int, companies: int = 20) -> None:
    """A tick of many companies, which all pull one shop, with two schedulers: each gets one run."""
    async with another(stage, "scheduler", "reaping"), AsyncExitStack() as stack:
        first = await stack.enter_async_context(stage.pulled(seed=seed, events=150, faults=Faults()))
        others = [Pulled(stage, f"{first.company}-{number}", first.shop) for number in range(1, companies)]
        for pulled in others:
            await pulled.create_source()
        await asyncio.gather(*(pulled.start_schedule() for pulled in (first, *others)))
        for pulled in (first, *others):
            await eventually(pulled.runs, what="the tick has made a run")
        for pulled in (first, *others):
            run = await pulled.ended()
            assert run.trigger == pb.SYNC_TRIGGER_SCHEDULE


async def check_frozen_worker(stage: Stage, seed: int) -> None:
    """A worker is stopped in the middle of a page until its lease is over and another has finished the run: when it
    wakes up, it writes nothing more, and is as good as new."""
    async with stage.pulled(seed=seed) as pulled, another_worker(stage) as other:
        pulled.shop.gate(4)
        async with stage.frozen("sync-worker"):
            await stage.alone_listens()
            await pulled.trigger()
            await pulled.held()
            assert other.has_said("run_begun")
        other.process.send_signal(signal.SIGSTOP)
        # Its lease runs out; its request still hangs at the gate, beside that of the worker that has the run now.
        await pulled.begun(2)
        await pulled.held(2)
        pulled.shop.release()
        run = await pulled.ended()
        other.process.send_signal(signal.SIGCONT)
        await eventually(lambda: other.has_said("run_lost"), what="the frozen worker knows")
        await pulled.verify()
        assert await pulled.run() == run
        other.process.terminate()
        assert await asyncio.wait_for(other.process.wait(), 10) == 0
