"""Runs from trigger to end: worker, scheduler, service and ingest in this process, a real shop, Valkey, PostgreSQL."""

import asyncio
import itertools
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis.asyncio

from hookline.sync.v1 import sync_service_pb2 as pb
from services.sandbox.faults import Fault, Faults
from services.sync import reaper, runner
from services.sync.connectors.paging import Pager
from services.sync.worker import main as worker_main
from shared.broker import STREAM
from shared.db import Connection
from tests.ledger import check_ledger
from tests.proxy import proxied
from tests.sync_faults import PASSING
from tests.sync_in_process import COMPANY, SOURCE, Whole, change_run, ingesting_at, process, runs_of, shop, whole
from tests.waiting import eventually


def total(counts: pb.SyncCounts) -> int:
    return counts.accepted + counts.duplicates + counts.quarantined + counts.rejected


async def status(all_of_it: Whole) -> pb.SourceStatus:
    """How the shop's source stands."""
    [one] = (await all_of_it.sync.stub.GetSyncStatus(pb.GetSyncStatusRequest(company_id=COMPANY))).sources
    return one


async def told(all_of_it: Whole, run: pb.SyncRun) -> list[pb.SyncRunLogEntry]:
    """What the log tells of a run."""
    request = pb.ListSyncRunLogRequest(company_id=COMPANY, run_id=run.run_id, page_size=1000)
    return list((await all_of_it.sync.stub.ListSyncRunLog(request)).entries)


async def test_a_run_is_complete_and_exact_and_the_next_brings_what_came_since(
    database_url: str, connection: Connection
) -> None:
    faults = Faults(fraction=0.3, kinds=PASSING)
    async with whole(database_url, shop(1050, duplicates=0.01, late=0.02, faults=faults)) as all_of_it:
        there = all_of_it.shop
        run = await all_of_it.ended(await all_of_it.trigger())
        counts, served = run.counts, there.served
        assert (run.state, run.attempt, run.error) == (pb.SYNC_RUN_STATE_SUCCEEDED, 1, "")
        assert counts.accepted == served.events == served.published == 1050 - 21
        assert counts.fetched == served.items == total(counts)
        assert (counts.duplicates, counts.quarantined, counts.rejected) == (served.items - served.events, 0, 0)
        assert served.pages == counts.pages
        failed = sum(count for outcome, count in served.outcomes.items() if outcome != "page")
        assert counts.retries == failed > 0
        assert served.too_early == 0
        await check_ledger(connection, {COMPANY: counts.accepted})
        found, progress = run.reconciliation, run.progress
        # What the shop lists a second time is another item, of the same event.
        assert (found.listed, found.stored, found.missing, found.HasField("said")) == (
            served.items,
            served.items,
            0,
            False,
        )
        assert (progress.windows, progress.windows_done, counts.late) == (1, 1, 0)
        assert run.synced_time == (await status(all_of_it)).source.synced_time
        stored = await connection.fetchval("SELECT array_agg(DISTINCT source) FROM hookline.events")
        assert stored == [SOURCE]

        # What the shop lists late is found by the next run over the same span, and so is what is new.
        there.publish()
        there.add(30)
        second = await all_of_it.ended(await all_of_it.trigger())
        assert second.state == pb.SYNC_RUN_STATE_SUCCEEDED
        assert second.counts.accepted == 21 + 30
        assert second.reconciliation.stored == 1050 + 30 + counts.duplicates
        await check_ledger(connection, {COMPANY: 1050 + 30})
        assert [one.run_id for one in await runs_of(all_of_it.sync.stub)] == [second.run_id, run.run_id]


@pytest.mark.parametrize("kind", [Fault.ERROR_BODY, "credential"])
async def test_what_needs_a_person_fails_at_once_and_keeps_what_was_read(
    database_url: str, connection: Connection, kind: Any
) -> None:
    async with whole(database_url, shop()) as all_of_it:
        if kind == "credential":
            await connection.execute('UPDATE hookline.sources SET parameters = \'{"webhookSettingId": "x"}\'')
        else:
            all_of_it.shop.faults = Faults(fraction=1, kinds=(kind,))
        run = await all_of_it.ended(await all_of_it.trigger())
        assert (run.state, run.attempt, run.counts.fetched) == (pb.SYNC_RUN_STATE_FAILED, 1, 0)
        assert run.error == (
            "The platform answers 404."
            if kind == "credential"
            else "The platform answers with an error: something went wrong."
        )
    await check_ledger(connection)


async def test_a_credential_of_another_key_fails_the_run(database_url: str, connection: Connection) -> None:
    async with whole(database_url, shop()) as all_of_it:
        await connection.execute("UPDATE hookline.sources SET credential = 'x'")
        run = await all_of_it.ended(await all_of_it.trigger())
        assert run.state == pb.SYNC_RUN_STATE_FAILED
        assert run.error == "HOOKLINE_SECRET_KEY is not the key that a secret was encrypted with."


async def test_a_platform_that_stays_away_is_tried_again_from_where_the_run_was(
    database_url: str, connection: Connection
) -> None:
    async with whole(database_url, shop()) as all_of_it:
        all_of_it.shop.gate(2)
        asked = await all_of_it.trigger()

        async def two_pages() -> bool:
            return (await all_of_it.run(asked)).counts.pages == 2 and all_of_it.shop.served.held == 1

        await eventually(two_pages, what="two pages are stored, and the third is held")
        all_of_it.shop.faults = Faults(fraction=1, kinds=(Fault.UNAVAILABLE,), times=100)
        # The one that is held is asked for again.
        over = {"lease_until": ["clock_timestamp() - interval '1 s'"], "kicked_time": None}
        await change_run(connection, uuid.UUID(asked.run_id), over)
        waiting = await all_of_it.in_state(asked, pb.SYNC_RUN_STATE_WAITING)
        assert waiting.error == "The platform answers 503."
        assert waiting.HasField("next_attempt_time")
        assert waiting.counts.pages == 2
        all_of_it.shop.faults = Faults()
        all_of_it.shop.release()
        run = await all_of_it.ended(asked)
        assert (run.state, run.error) == (pb.SYNC_RUN_STATE_SUCCEEDED, "")
        assert (run.counts.accepted, run.counts.fetched) == (450, 450)
        assert run.attempt >= 3
    await check_ledger(connection, {COMPANY: 450})


async def test_a_run_waits_for_ingest_and_goes_on(database_url: str, connection: Connection) -> None:
    async with whole(database_url, shop(), sync_lease=1) as all_of_it:
        all_of_it.shop.gate(2)
        asked = await all_of_it.trigger()

        async def two_pages() -> bool:
            return (await all_of_it.run(asked)).counts.pages == 2

        await eventually(two_pages, what="two pages are stored")
        all_of_it.ingest.stopping.set()
        await asyncio.wait([all_of_it.ingest.stopped])
        all_of_it.shop.release()
        waiting = await all_of_it.in_state(asked, pb.SYNC_RUN_STATE_WAITING)
        assert waiting.error
        # Two pages, less where they overlap.
        assert 190 < waiting.counts.fetched <= 200
        async with ingesting_at(all_of_it.ingest.address, database_url):
            run = await all_of_it.ended(asked)
        assert run.state == pb.SYNC_RUN_STATE_SUCCEEDED
        assert (run.counts.fetched, run.counts.accepted, run.counts.duplicates) == (450, 450, 0)
    await check_ledger(connection, {COMPANY: 450})


async def test_a_run_that_is_being_worked_on_is_cancelled_in_a_moment(
    database_url: str, connection: Connection
) -> None:
    async with whole(database_url, shop()) as all_of_it:
        all_of_it.shop.gate(2)
        asked = await all_of_it.trigger()
        await eventually(lambda: all_of_it.shop.served.held == 1, what="the third page is held")
        watch = aiter(all_of_it.sync.stub.WatchSyncRun(pb.WatchSyncRunRequest(company_id=COMPANY, run_id=asked.run_id)))
        assert (await anext(watch)).run.state == pb.SYNC_RUN_STATE_RUNNING
        request = pb.CancelSyncRunRequest(company_id=COMPANY, run_id=asked.run_id)
        assert (await all_of_it.sync.stub.CancelSyncRun(request)).run.state == pb.SYNC_RUN_STATE_RUNNING
        seen = [answer.run async for answer in watch]
        run = seen[-1]
        assert run.state == pb.SYNC_RUN_STATE_CANCELLED
        await eventually(lambda: all_of_it.shop.served.held == 0, what="the request is given up")
        all_of_it.shop.release()
        # Ended: asking again changes nothing, and a new run is free to begin.
        assert (await all_of_it.sync.stub.CancelSyncRun(request)).run == run
        await check_ledger(connection, {COMPANY: run.counts.accepted})
        another = await all_of_it.ended(await all_of_it.trigger())
        assert another.counts.accepted + run.counts.accepted == 450


async def test_a_watch_shows_a_run_from_its_queue_to_its_end(database_url: str) -> None:
    async with whole(database_url, shop()) as all_of_it:
        all_of_it.shop.gate(1)
        asked = await all_of_it.trigger()
        watch = all_of_it.sync.stub.WatchSyncRun(pb.WatchSyncRunRequest(company_id=COMPANY, run_id=asked.run_id))
        seen: list[pb.SyncRun] = []
        async for answer in watch:
            assert not seen or answer.run != seen[-1]
            seen.append(answer.run)
            if answer.run.counts.pages == 1:
                all_of_it.shop.release()
        pages = [run.counts.pages for run in seen]
        assert pages == sorted(pages)
        assert seen[-1] == await all_of_it.run(asked)
        assert (seen[-1].state, seen[-1].counts.pages) == (pb.SYNC_RUN_STATE_SUCCEEDED, 6)
        assert seen[-1].HasField("reconciliation")


async def test_the_first_scheduled_run_comes_at_once(database_url: str, connection: Connection) -> None:
    async with whole(database_url, shop()) as all_of_it:
        await all_of_it.sync.stub.StartSchedule(pb.StartScheduleRequest(company_id=COMPANY, source=SOURCE))

        async def made() -> list[pb.SyncRun]:
            return await runs_of(all_of_it.sync.stub)

        [asked] = await eventually(made, what="there is a run")
        run = await all_of_it.ended(asked)
        assert (run.state, run.trigger) == (pb.SYNC_RUN_STATE_SUCCEEDED, pb.SYNC_TRIGGER_SCHEDULE)
        stands = await status(all_of_it)
        ahead = stands.source.schedule.next_run_time.ToDatetime(UTC) - datetime.now(UTC)
        assert timedelta(hours=5, minutes=49) < ahead < timedelta(hours=6, minutes=11)
        assert stands.complete_until_time == run.create_time
    await check_ledger(connection, {COMPANY: 450})


async def test_runs_that_queue_up_are_worked_on_one_after_the_other(database_url: str, connection: Connection) -> None:
    async with whole(database_url, shop()) as all_of_it:
        all_of_it.shop.gate(1)
        active = await all_of_it.trigger()
        queued = [await all_of_it.trigger(when_active=pb.WHEN_ACTIVE_QUEUE) for _ in range(2)]
        assert all(run.behind and run.state == pb.SYNC_RUN_STATE_QUEUED for run in queued)
        assert (await status(all_of_it)).queued_runs == 2
        assert (await all_of_it.trigger()).run_id == active.run_id
        all_of_it.shop.release()
        ended = [await all_of_it.ended(run) for run in (active, *queued)]
        assert [run.state for run in ended] == [pb.SYNC_RUN_STATE_SUCCEEDED] * 3
        assert [run.counts.accepted for run in ended] == [450, 0, 0]
        for before, after in itertools.pairwise(ended):
            [begun] = [entry for entry in await told(all_of_it, after) if entry.code == "RUN_BEGUN"]
            assert begun.log_time.ToDatetime() >= before.end_time.ToDatetime()
        assert (await status(all_of_it)).queued_runs == 0


async def test_the_next_run_looks_back_and_counts_what_it_finds_late(database_url: str, connection: Connection) -> None:
    async with whole(database_url, shop(450, late=0.1)) as all_of_it:
        await connection.execute("UPDATE hookline.sources SET look_back = interval '30 days'")
        first = await all_of_it.ended(await all_of_it.trigger(days_back=0))
        assert (first.counts.accepted, first.counts.late) == (405, 0)
        read = first.synced_time.ToDatetime(UTC)
        all_of_it.shop.publish()
        second = await all_of_it.ended(await all_of_it.trigger(days_back=0))
        assert second.counts.accepted == 45
        late = await connection.fetchval("SELECT count(*) FROM hookline.sync_runs WHERE known_until_time = $1", read)
        assert late == 1
        # Those dated after what had been read are new rather than late.
        assert 40 <= second.counts.late <= 45
    await check_ledger(connection, {COMPANY: 450})


async def test_messages_that_say_nothing_true_do_no_harm(database_url: str, connection: Connection) -> None:
    async with whole(database_url, shop(), sync_lease=2) as all_of_it:
        done = await all_of_it.ended(await all_of_it.trigger())
        url = all_of_it.settings.required_redis_url
        async with redis.asyncio.from_url(url) as client:
            newest: Any = await client.xrevrange(STREAM, count=1)
            [told] = newest[0][1].values()
            unknown = told.replace(done.run_id.encode(), str(uuid.uuid4()).encode())
            for data in (told, told, unknown, told.replace(done.run_id.encode(), b"x"), b"", b"{}", b"\xff"):
                await client.xadd(STREAM, {b"data": data})
            await client.xadd(STREAM, {b"other": b"1"})
            run = await all_of_it.ended(await all_of_it.trigger())
        assert (run.state, run.counts.duplicates) == (pb.SYNC_RUN_STATE_SUCCEEDED, 450)
        assert await all_of_it.run(done) == done


async def test_a_worker_that_stops_hands_its_run_back(database_url: str, connection: Connection) -> None:
    async with whole(database_url, shop(), sync_lease=30) as all_of_it:
        # The one that is there has something else to do.
        all_of_it.shop.gate(0)
        asked = await all_of_it.trigger()
        await eventually(lambda: all_of_it.shop.served.held == 1, what="the first page is held")
        all_of_it.worker.set()
        await all_of_it.in_state(asked, pb.SYNC_RUN_STATE_QUEUED)
        all_of_it.shop.release()
        # Long before the lease would be over.
        async with process(worker_main, all_of_it.settings):
            run = await all_of_it.ended(asked, timeout=10)
        assert (run.state, run.attempt, run.counts.accepted) == (pb.SYNC_RUN_STATE_SUCCEEDED, 2, 450)
    await check_ledger(connection, {COMPANY: 450})


async def test_a_worker_stops_in_time_though_the_database_is_away(database_url: str, connection: Connection) -> None:
    async with proxied(database_url) as proxy, whole(database_url, shop(), sync_lease=30) as all_of_it:
        all_of_it.worker.set()
        all_of_it.shop.gate(0)
        told = all_of_it.settings.model_copy(update={"database_url": proxy.url})
        async with process(worker_main, told) as stopping:
            asked = await all_of_it.trigger()
            # The one that stops may have been told of the run as its last: then it is told again after a lease.
            await eventually(lambda: all_of_it.shop.served.held == 1, timeout=90, what="the first page is held")
            proxy.cut()
            began = time.monotonic()
            stopping.set()
        assert time.monotonic() - began < 9
        # Left to its lease.
        assert (await all_of_it.run(asked)).state == pb.SYNC_RUN_STATE_RUNNING


async def test_a_defect_of_ours_is_tried_again_a_few_times_and_then_ends_the_run(
    database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Pager, "read", broken)
    monkeypatch.setattr(runner, "FAILURES", 2)
    monkeypatch.setattr(reaper, "ROUND_SECONDS", 0.05)
    async with whole(database_url, shop()) as all_of_it:
        run = await all_of_it.ended(await all_of_it.trigger())
    assert (run.state, run.attempt) == (pb.SYNC_RUN_STATE_FAILED, 2)
    assert run.error == "A defect of Hookline; the worker's log says more."


async def test_a_run_that_its_workers_die_of_ends(database_url: str, connection: Connection) -> None:
    async with whole(database_url, shop()) as all_of_it:
        all_of_it.worker.set()
        asked = await all_of_it.trigger()
        columns = {
            "state": "running",
            "attempt": 8,
            "failures": 7,
            "lease_until": ["clock_timestamp() - interval '1 min'"],
        }
        await change_run(connection, uuid.UUID(asked.run_id), columns)
        async with process(worker_main, all_of_it.settings):
            run = await all_of_it.ended(asked)
    assert (run.state, run.attempt, run.counts.pages) == (pb.SYNC_RUN_STATE_FAILED, 9, 0)
    assert run.error == "8 attempts in a row have stored nothing; in the last one the worker died."


async def test_a_run_whose_worker_died_is_cancelled_by_the_reaper(database_url: str, connection: Connection) -> None:
    async with whole(database_url, shop()) as all_of_it:
        all_of_it.worker.set()
        asked = await all_of_it.trigger()
        columns = {"state": "running", "attempt": 1, "lease_until": ["clock_timestamp() + interval '1 min'"]}
        await change_run(connection, uuid.UUID(asked.run_id), columns)
        request = pb.CancelSyncRunRequest(company_id=COMPANY, run_id=asked.run_id)
        assert (await all_of_it.sync.stub.CancelSyncRun(request)).run.state == pb.SYNC_RUN_STATE_RUNNING
        await change_run(connection, uuid.UUID(asked.run_id), {"lease_until": ["clock_timestamp()"]})
        assert (await all_of_it.ended(asked, timeout=10)).state == pb.SYNC_RUN_STATE_CANCELLED


async def test_nothing_is_logged_of_credentials_and_persons(
    database_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async with whole(database_url, shop(120, faults=Faults(fraction=1, kinds=(Fault.TRUNCATED,)))) as all_of_it:
        await all_of_it.ended(await all_of_it.trigger())
    output = capfd.readouterr()
    for secret in ("sandbox-token", "@example.com", "Conceição", "phoneNumber"):
        assert secret not in output.out + output.err
