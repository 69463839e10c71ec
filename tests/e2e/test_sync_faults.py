"""Syncs while things die: real processes, `kill -9` and the like in the middle, and nothing is asked for again.

The shop's gate is the barrier: a held request means that a worker is in the middle of the run.
"""

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from hookline.sync.v1 import sync_service_pb2 as pb
from shared.broker import STREAM
from tests.sync_faults import SOURCE, VICTIMS, Stage, another_worker, patiently, stage
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def on_stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    folder: Path = tmp_path_factory.mktemp("sync")
    async with stage(folder) as made:
        yield made


async def test_a_sync_is_complete_and_exact_with_failing_pages(on_stage: Stage) -> None:
    # Of this seed's 32 pages five fail, in four ways, one of them 429.
    async with on_stage.pulled(seed=133, events=3000, late=0.02, late_after=0) as pulled:
        await pulled.trigger()
        run = await pulled.ended()
        served = pulled.shop.served
        assert served.events == 3000
        if run.attempt == 1:
            assert run.counts.accepted == 3000
            assert run.counts.fetched == served.items == 3030
            assert run.counts.pages == served.pages - 1
            assert run.counts.retries == sum(count for how, count in served.outcomes.items() if how != "page") > 0


@pytest.mark.parametrize("victim", VICTIMS)
async def test_killed_in_the_middle_the_run_ends_by_itself(on_stage: Stage, victim: str) -> None:
    rng = random.Random(victim)
    async with on_stage.pulled(seed=2) as pulled:
        pulled.shop.gate(rng.randint(1, 12))
        await pulled.trigger()
        await pulled.held()
        await on_stage.kill(victim)
        pulled.shop.release()
        await pulled.ended()


async def test_killed_between_two_pages_the_run_ends_by_itself(on_stage: Stage) -> None:
    async with on_stage.pulled(seed=3, events=3000) as pulled:
        await pulled.trigger()
        for victim, pages in (("sync-worker", 5), ("ingest", 15)):
            await eventually(lambda pages=pages: pulled.shop.served.pages >= pages, what=f"{pages} pages")  # type: ignore[misc]
            await on_stage.kill(victim)
        await pulled.ended()


async def test_everything_that_valkey_knew_may_be_lost_in_the_middle(on_stage: Stage) -> None:
    async with on_stage.pulled(seed=4) as pulled:
        pulled.shop.gate(5)
        await pulled.trigger()
        await pulled.held()
        async with on_stage.redis() as client:
            await client.flushall()
        pulled.shop.release()
        await pulled.ended()


async def test_everything_that_valkey_knew_may_be_lost_before_a_worker_hears_of_the_run(on_stage: Stage) -> None:
    async with on_stage.pulled(seed=5) as pulled, on_stage.redis() as client:
        async with on_stage.frozen("sync-worker"):
            # A message must not be on its way to the worker already.
            await client.client_kill_filter(_type="normal", skipme=True)
            await client.flushall()
            await pulled.trigger()
            assert await client.xlen(STREAM) == 1
            await client.flushall()
            assert (await pulled.run()).state == pb.SYNC_RUN_STATE_QUEUED
        await pulled.ended()


async def test_a_tick_while_valkey_is_away_is_not_lost(on_stage: Stage) -> None:
    async with on_stage.pulled(seed=6) as pulled:
        async with on_stage.frozen("valkey"):
            request = pb.StartScheduleRequest(company_id=pulled.company, source=SOURCE)
            await patiently(lambda: on_stage.stub.StartSchedule(request, timeout=10))
            [run] = await eventually(pulled.runs, what="the tick has made a run")
            assert (run.state, run.trigger) == (pb.SYNC_RUN_STATE_QUEUED, pb.SYNC_TRIGGER_SCHEDULE)
            await on_stage.kill("valkey")
        await pulled.ended()


async def test_a_frozen_worker_that_wakes_up_writes_nothing_more(on_stage: Stage) -> None:
    async with on_stage.pulled(seed=7) as pulled, another_worker(on_stage) as other:
        pulled.shop.gate(4)
        async with on_stage.frozen("sync-worker"):
            await on_stage.alone_listens()
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
        # It is as good as new.
        other.process.terminate()
        assert await asyncio.wait_for(other.process.wait(), 10) == 0


async def test_an_idle_worker_stops_in_time(on_stage: Stage) -> None:
    async with another_worker(on_stage) as other:
        other.process.terminate()
        assert await asyncio.wait_for(other.process.wait(), 10) == 0


async def test_a_busy_worker_stops_in_time_and_its_run_goes_on_elsewhere(on_stage: Stage) -> None:
    async with on_stage.pulled(seed=8) as pulled, another_worker(on_stage) as other:
        pulled.shop.gate(4)
        async with on_stage.frozen("sync-worker"):
            await on_stage.alone_listens()
            await pulled.trigger()
            await pulled.held()
            assert other.has_said("run_begun")
        other.process.terminate()
        assert await asyncio.wait_for(other.process.wait(), 10) == 0
        await pulled.begun(2)
        pulled.shop.release()
        await pulled.ended()
