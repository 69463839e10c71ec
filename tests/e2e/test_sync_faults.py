"""Syncs while things die: real processes, `kill -9` and the like in the middle, and nothing is asked for again.

The shop's gate is the barrier: a held request means that a worker is in the middle of the run.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from hookline.client import AsyncClient
from hookline.sync.v1 import sync_service_pb2 as pb
from services.sandbox.shop import SandboxShop
from services.suite.samples import grapfy_payloads
from shared import processes
from tests.ledger import check_ledger
from tests.shop_sources import SHOP_SOURCES
from tests.sync_faults import SOURCE, VICTIMS, Pulled, Stage, another_worker, stage
from tests.sync_happenings import (
    check_complete,
    check_flushed_before_anyone_knows,
    check_flushed_in_the_middle,
    check_frozen_worker,
    check_tick_without_redis,
    check_two_schedulers,
)
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def on_stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    folder: Path = tmp_path_factory.mktemp("sync")
    with pytest.MonkeyPatch.context() as patch:
        # What dies again and again is started again as soon as the first time.
        patch.setattr(processes, "_LONGEST_DELAY", processes._FIRST_DELAY)
        async with stage(folder) as made:
            yield made


async def test_a_sync_is_complete_and_exact_with_failing_pages_duplicates_and_late_events(on_stage: Stage) -> None:
    # Of this seed's 32 pages five fail, in four ways, one of them 429.
    runs = await check_complete(on_stage, seed=133, events=3000)
    assert sum(run.counts.accepted for run in runs) == 3000
    # What is counted is exact only of runs that nobody had to begin again.
    assert [run.attempt for run in runs] == [1, 1]
    assert runs[0].counts.retries > 0


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


async def test_every_connector_goes_on_after_a_kill_and_finds_nothing_new_the_second_time(on_stage: Stage) -> None:
    """All of them at the same time, and the worker is killed in the middle of each one's run."""
    async with AsyncExitStack() as stack:
        all_pulled = [await stack.enter_async_context(on_stage.pulled(seed=10, form=form)) for form in SHOP_SOURCES]
        for pulled in all_pulled:
            pulled.shop.gate(5)
            await pulled.trigger()
        for pulled in all_pulled:
            await pulled.held()
        await on_stage.kill("sync-worker")
        for pulled in all_pulled:
            pulled.shop.release()
        for form, pulled in zip(SHOP_SOURCES, all_pulled, strict=True):
            first = await pulled.ended()
            assert first.attempt == 2
            # In one window, or in windows of a day; the worker has begun with the one that the other was at.
            windows = 1 if form == "grapfy" else 31
            assert first.progress.windows == first.progress.windows_done == windows
            assert first.counts.fetched < 1.5 * pulled.shop.served.items
            await pulled.trigger(request_id="again")
        for pulled in all_pulled:
            second = await pulled.ended(runs=2)
            assert (second.counts.accepted, second.counts.late, second.attempt) == (0, 0, 1)


async def test_killed_between_two_pages_the_run_ends_by_itself(on_stage: Stage) -> None:
    async with on_stage.pulled(seed=3, events=3000) as pulled:
        # Before the run can have ended.
        pulled.shop.gate(20)
        await pulled.trigger()
        for victim, pages in (("sync-worker", 5), ("ingest", 15)):
            await eventually(lambda pages=pages: pulled.shop.served.pages >= pages, what=f"{pages} pages")  # type: ignore[misc]
            await on_stage.kill(victim)
        pulled.shop.release()
        assert (await pulled.ended()).attempt >= 2


async def test_everything_that_valkey_knew_may_be_lost_in_the_middle(on_stage: Stage) -> None:
    await check_flushed_in_the_middle(on_stage, seed=4)


async def test_everything_that_valkey_knew_may_be_lost_before_a_worker_hears_of_the_run(on_stage: Stage) -> None:
    await check_flushed_before_anyone_knows(on_stage, seed=5)


async def test_a_tick_while_valkey_is_away_is_not_lost(on_stage: Stage) -> None:
    await check_tick_without_redis(on_stage, seed=6)


async def test_two_schedulers_fire_once(on_stage: Stage) -> None:
    await check_two_schedulers(on_stage, seed=9, companies=8)


async def test_a_frozen_worker_that_wakes_up_writes_nothing_more(on_stage: Stage) -> None:
    await check_frozen_worker(on_stage, seed=7)


async def test_an_idle_worker_stops_in_time(on_stage: Stage) -> None:
    async with another_worker(on_stage) as other:
        other.process.terminate()
        assert await asyncio.wait_for(other.process.wait(), 10) == 0


@pytest.mark.parametrize("form", ["grapfy", "stripe"])
async def test_a_busy_worker_stops_in_time_and_its_run_goes_on_elsewhere(on_stage: Stage, form: str) -> None:
    """In the middle of the only window, and in that of many."""
    async with on_stage.pulled(seed=8, form=form) as pulled, another_worker(on_stage) as other:
        pulled.shop.gate(4)
        async with on_stage.frozen("sync-worker"):
            await on_stage.alone_listens()
            await pulled.trigger()
            await pulled.held()
            assert other.has_said("run_begun")
        other.process.terminate()
        assert await asyncio.wait_for(other.process.wait(), 10) == 0
        # Told to the other one at once, not when the lease is over; it reads on from the last checkpoint.
        await pulled.begun(2)
        pulled.shop.release()
        run = await pulled.ended()
        assert run.attempt == 2
        assert "HANDED_BACK" in [entry.code for entry in await pulled.log(run)]
        assert run.counts.fetched < 1.5 * pulled.shop.served.items


@asynccontextmanager
async def second_note_held(on_stage: Stage) -> AsyncIterator[Callable[[], Awaitable[bool]]]:
    """Inside the block a run's pages are noted once, and not again; gives whether that is held up now."""
    async with on_stage.database() as gate:
        await gate.execute(
            """
            CREATE FUNCTION hookline.gate() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN
                    IF EXISTS (SELECT FROM hookline.sync_pages WHERE run_id = NEW.run_id) THEN
                        PERFORM pg_advisory_xact_lock(1);
                    END IF;
                    RETURN NEW;
                END
            $$;
            CREATE TRIGGER gate BEFORE INSERT ON hookline.sync_pages FOR EACH ROW EXECUTE FUNCTION hookline.gate();
            SELECT pg_advisory_lock(1);
            """
        )

        async def is_held() -> bool:
            waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1 AND NOT granted"
            return bool(await gate.fetchval(waiting))

        try:
            yield is_held
        finally:
            await gate.execute("SELECT pg_advisory_unlock(1)")
            await gate.execute("DROP TRIGGER gate ON hookline.sync_pages; DROP FUNCTION hookline.gate()")


async def test_another_hookline_is_pulled_and_a_kill_changes_nothing(on_stage: Stage) -> None:
    origin, company, events = "origin", "branch", 6_000
    addresses = on_stage.suite.addresses
    async with AsyncClient(addresses["ingest"]) as client:
        await client.ingest_many(origin, list(grapfy_payloads(events)), platform="grapfy", source="loja")
    pulled = Pulled(on_stage, company, SandboxShop([], events=0))
    request = pb.CreateSourceRequest(
        company_id=company,
        source=SOURCE,
        platform="hookline",
        base_url=f"http://{addresses['export']}",
        credential="none-is-asked-for",
        parameters={"company_id": origin},
    )
    await on_stage.stub.CreateSource(request)
    async with second_note_held(on_stage) as is_held:
        await pulled.trigger()
        await eventually(is_held, what="some pages are noted, and the next ones are about to be")
        async with on_stage.frozen("export"):
            await on_stage.kill("sync-worker")
    for runs in (1, 2):
        run = await pulled.ended_well(runs)
        assert (run.reconciliation.said, run.reconciliation.listed, run.reconciliation.missing) == (events, events, 0)
        async with on_stage.database() as connection:
            found = await connection.fetch(
                "SELECT platform, dedup_key, type, total, occurred_time, payload FROM hookline.events"
                " WHERE company_id = $1 EXCEPT SELECT platform, dedup_key, type, total, occurred_time, payload"
                " FROM hookline.events WHERE company_id = $2",
                origin,
                company,
            )
            assert found == []
            await check_ledger(connection, {company: events}, company)
        if runs == 1:
            assert run.attempt >= 2
            await pulled.trigger(request_id="again")
    assert (run.counts.accepted, run.counts.duplicates) == (0, events)
