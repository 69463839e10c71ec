"""What a worker makes of a history: windows, pages, counts, and how the run ends. See tests/scripted_history.py."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import pytest_asyncio

from hookline.ingest.v1 import ingest_service_pb2 as ingest_pb
from services.sync import pulling, run_store
from services.sync import runner as runner_module
from services.sync.connectors import Item, Refused, TryLater
from services.sync.run_store import State
from tests.blocking import blocked
from tests.in_process import Ingesting
from tests.ledger import check_ledger
from tests.scripted_history import BEGIN, MINUTE, History, Working, item, items, working
from tests.sync_in_process import COMPANY, SOURCE, change_run
from tests.waiting import eventually

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
OVER = {"lease_until": ["clock_timestamp() - interval '1 ms'"]}


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def work(module_database_url: str, module_ingest: Ingesting) -> AsyncIterator[Working]:
    """A worker for a source that nothing is known of."""
    async with working(module_database_url, module_ingest) as made:
        yield made


async def differences(work: Working, run_id: uuid.UUID) -> list[tuple[str, str | None, str]]:
    rows = await work.connection.fetch(
        "SELECT kind, item_id, reason FROM hookline.sync_differences WHERE run_id = $1 ORDER BY difference", run_id
    )
    return [(row["kind"], row["item_id"], row["reason"]) for row in rows]


async def open_alerts(work: Working) -> list[str]:
    rows = await work.connection.fetch("SELECT kind FROM hookline.alerts WHERE resolve_time IS NULL ORDER BY kind")
    return [row["kind"] for row in rows]


@pytest.mark.parametrize("is_newest_first", [False, True])
async def test_windows_are_read_oldest_first_to_their_ends(work: Working, is_newest_first: bool) -> None:
    history = History(items(150), window=HOUR, is_newest_first=is_newest_first)
    until = BEGIN + 4 * HOUR
    run = await work.pull(history, until=until)
    assert (run.state, run.error, run.attempt) == (State.SUCCEEDED, None, 1)
    # 60, 60, 30 and none: six pages, six, three, and one that is empty.
    assert [start for start, _ in history.requests] == sorted(start for start, _ in history.requests)
    assert (run.pages, run.fetched, run.accepted, run.duplicates) == (16, 150, 150, 0)
    assert (run.windows, run.windows_done, run.window_start_time, run.window_until_time) == (4, 4, until - HOUR, until)
    assert run.synced_time == BEGIN + 149 * MINUTE
    assert (run.listed, run.stored, run.missing, run.unlisted, run.said) == (150, 150, 0, 0, None)
    assert await work.pages() == 0
    assert await work.codes(run.run_id) == [
        "RUN_CREATED", "RUN_BEGUN", *["WINDOW_DONE"] * 4, "RECONCILED", "RUN_ENDED",
    ]  # fmt: skip
    # A span with an end says nothing about a source that nothing is known of.
    assert await work.synced_time() is None
    await check_ledger(work.connection, {COMPANY: 150})
    assert sorted(await work.stored()) == sorted(f"o-{number}" for number in range(150))


async def test_a_run_without_an_end_reads_whatever_there_is(work: Working) -> None:
    history = History(items(25), window=DAY)
    run = await work.pull(history)
    assert run.window_until_time is None
    assert run.windows == run.windows_done >= 10
    assert run.synced_time == await work.synced_time() == BEGIN + 24 * MINUTE


async def test_nothing_there_is_a_success_too(work: Working) -> None:
    run = await work.pull(History([]))
    assert (run.state, run.pages, run.fetched, run.listed, run.unlisted) == (State.SUCCEEDED, 1, 0, 0, None)
    assert run.synced_time is await work.synced_time() is None


async def test_an_incremental_run_looks_back_and_counts_what_it_finds_late(work: Working) -> None:
    there = items(100)
    late = {there[number].id for number in (3, 50, 60, 97)}
    history = History(there, withheld=set(late))
    first = await work.pull(history, start=None)
    assert (first.state, first.accepted, first.late) == (State.SUCCEEDED, 96, 0)
    read = BEGIN + 99 * MINUTE
    assert await work.synced_time() == read
    # An hour is looked back: 50, 60 and 97 are found, and counted; so is what is new, which is not late.
    history.withheld.clear()
    history.items += [item(number) for number in (100, 101)]
    second = await work.pull(history, start=None)
    assert second.start_time == read - HOUR
    assert (second.accepted, second.late, second.duplicates) == (5, 3, 58)
    assert await work.synced_time() == BEGIN + 101 * MINUTE
    # Of a span that someone has asked for nothing is late: it was never claimed to be known.
    third = await work.pull(history, start=BEGIN)
    assert (third.accepted, third.late) == (1, 0)
    await check_ledger(work.connection, {COMPANY: 102})


async def test_the_source_is_read_as_far_as_runs_without_a_gap_have_come(work: Working) -> None:
    history = History(items(120), is_ordered=True)
    await work.pull(history, start=BEGIN + 20 * MINUTE, until=BEGIN + 50 * MINUTE)
    assert await work.synced_time() is None
    await work.connection.execute("UPDATE hookline.sources SET synced_time = $1", BEGIN + 10 * MINUTE)
    # There is a gap before this one, and none before the next.
    await work.pull(history, start=BEGIN + 20 * MINUTE, until=BEGIN + 50 * MINUTE)
    assert await work.synced_time() == BEGIN + 10 * MINUTE
    await work.pull(history, start=BEGIN + 10 * MINUTE, until=BEGIN + 50 * MINUTE)
    assert await work.synced_time() == BEGIN + 49 * MINUTE
    # A backfill of long ago takes nothing back.
    await work.pull(history, start=BEGIN, until=BEGIN + 30 * MINUTE)
    assert await work.synced_time() == BEGIN + 49 * MINUTE

    async def refuse(request: int) -> None:
        if len(history.requests) - before == 3:
            raise Refused("The platform refuses the credential (401).")

    # One that fails has read in order, as far as it came.
    before, history.before = len(history.requests), refuse
    failed = await work.pull(history, start=None)
    assert (failed.state, failed.error) == (State.FAILED, "The platform refuses the credential (401).")
    assert (failed.start_time, failed.pages) == (BEGIN - 11 * MINUTE, 2)
    assert await work.synced_time() == BEGIN + 49 * MINUTE
    assert failed.synced_time == BEGIN + 19 * MINUTE
    assert await open_alerts(work) == ["run_failed"]
    assert failed.reconciled_time is None
    assert await work.pages() == 0


async def test_what_is_dated_in_the_future_says_nothing_of_how_far_the_history_is_read(work: Working) -> None:
    ahead = item(5, datetime.now(UTC) + 300 * DAY)
    run = await work.pull(History([*items(5), ahead], is_ordered=True))
    assert (run.state, run.accepted) == (State.SUCCEEDED, 6)
    assert await work.synced_time() == BEGIN + 4 * MINUTE


async def test_events_without_times_are_pulled_and_move_nothing(work: Working) -> None:
    bare = [Item(f"i-{number}", None, msgspec.json.encode({"type": "t", "id": f"o-{number}"}), "generic")
            for number in range(15)]  # fmt: skip
    run = await work.pull(History(bare), start=None)
    assert (run.state, run.accepted, run.late, run.synced_time) == (State.SUCCEEDED, 15, 0, None)


async def test_another_attempt_goes_on_in_the_middle_of_a_window(work: Working) -> None:
    history = History(items(150), window=HOUR, says=True)
    failing = {9}

    async def fail(request: int) -> None:
        if request in failing:
            raise TryLater("The platform answers 503.")

    history.before = fail
    run = await work.pull(history, until=BEGIN + 3 * HOUR)
    assert (run.state, run.error, run.pages, run.windows_done) == (State.WAITING, "The platform answers 503.", 8, 1)
    assert (run.window_start_time, run.said) == (BEGIN + HOUR, 120)
    noted = await work.connection.fetchval("SELECT sum(cardinality(item_ids)) FROM hookline.sync_pages")
    assert noted == run.fetched == 80
    await change_run(work.connection, run.run_id, {"next_attempt_time": ["clock_timestamp()"]})
    run = await work.attempt(history, run.run_id)
    assert history.requests[8] == history.requests[9] == (BEGIN + HOUR, "20")
    assert (run.state, run.error, run.attempt) == (State.SUCCEEDED, None, 2)
    assert (run.pages, run.fetched, run.accepted, run.listed, run.said) == (15, 150, 150, 150, 150)
    assert await work.codes(run.run_id) == [
        "RUN_CREATED", "RUN_BEGUN", "WINDOW_DONE", "ATTEMPT_FAILED", "RUN_BEGUN", "WINDOW_DONE", "WINDOW_DONE",
        "RECONCILED", "RUN_ENDED",
    ]  # fmt: skip


async def test_a_window_that_lacks_something_is_read_once_more(work: Working) -> None:
    history = History(items(150), window=HOUR, says=True, withheld={"i-000070", "i-000071"})

    async def give(request: int) -> None:
        # The second window's second reading.
        if request == 13:
            history.withheld.clear()

    history.before = give
    run = await work.pull(history, until=BEGIN + 3 * HOUR)
    assert (run.state, run.error, run.windows_done) == (State.SUCCEEDED, None, 3)
    assert (run.fetched, run.accepted, run.duplicates) == (58 + 150, 150, 58)
    assert (run.listed, run.said, run.missing) == (150, 150, 0)
    assert run.synced_time == BEGIN + 149 * MINUTE
    codes = await work.codes(run.run_id)
    assert codes.count("PAGE_REPEATED") == 1
    assert await open_alerts(work) == []


@pytest.mark.parametrize("how", ["says", "more"])
async def test_a_source_that_gives_less_than_it_says_makes_the_run_incomplete(work: Working, how: str) -> None:
    history = History(items(150), window=HOUR, says=how == "says", is_ordered=True)
    if how == "says":
        history.withheld = {"i-000070", "i-000071"}
    else:

        async def cut_off(request: int) -> None:
            history.cut_off = BEGIN + HOUR <= history.requests[-1][0] < BEGIN + 2 * HOUR

        history.before = cut_off
    run = await work.pull(history, start=BEGIN)
    window = f"From {BEGIN + HOUR:%Y-%m-%dT%H:%M:%SZ} to {BEGIN + 2 * HOUR:%Y-%m-%dT%H:%M:%SZ}: the source says that "
    if how == "says":
        assert run.error == window + "it has 60 events, and lists 58."
        assert (run.said, run.listed, run.stored, run.missing) == (150, 148, 148, 0)
    else:
        assert run.error == window + "there is more, and gives nothing more."
    # What comes after it is read too, and what is certain is not moved past what lacks.
    assert run.state is State.INCOMPLETE
    assert run.windows_done == run.windows
    read = BEGIN + (59 if how == "says" else 109) * MINUTE
    assert run.synced_time == await work.synced_time() == read
    assert await open_alerts(work) == ["gap_found"]
    assert (await work.codes(run.run_id)).count("PAGE_REPEATED") == 1
    # The next run begins before it, and heals it.
    history.withheld, history.before, history.cut_off = set(), History([]).before, False
    healed = await work.pull(history, start=None)
    assert healed.start_time == read - HOUR
    assert (healed.state, healed.accepted) == (State.SUCCEEDED, 2 if how == "says" else 0)
    assert await work.synced_time() == BEGIN + 149 * MINUTE
    assert await open_alerts(work) == []
    await check_ledger(work.connection, {COMPANY: 150})


async def test_a_gap_in_the_first_window_of_all_is_closed_by_the_next_run(work: Working) -> None:
    first = datetime.now(UTC) - 29.5 * DAY
    there = [item(number, first + number * MINUTE) for number in range(30)]
    history = History(there, window=DAY, says=True, is_ordered=True, withheld={there[3].id})
    run = await work.pull(history, start=None)
    assert (run.state, run.synced_time, await work.synced_time()) == (State.INCOMPLETE, None, None)
    assert await open_alerts(work) == ["gap_found"]
    history.withheld = set()
    healed = await work.pull(history, start=None)
    assert (healed.state, healed.accepted, healed.start_time) == (State.SUCCEEDED, 1, run.start_time)
    assert await open_alerts(work) == []
    assert await work.synced_time() == there[-1].moment


async def test_a_source_is_complete_until_a_run_that_has_left_out_nothing(work: Working) -> None:
    history = History(items(30), is_ordered=True)

    async def complete_until() -> datetime | None:
        return (await run_store.source_health(work.connection, COMPANY))[SOURCE].complete_until_time

    assert await complete_until() is None
    first = await work.pull(history, start=None)
    assert await complete_until() == first.created_time
    # One that begins later than everything was read up to, and one that reads up to an end only.
    assert (await work.pull(history, start=BEGIN + DAY)).state is State.SUCCEEDED
    assert (await work.pull(history, until=BEGIN + HOUR)).state is State.SUCCEEDED
    assert await complete_until() == first.created_time
    # Nor does it become complete by one that fails.
    await work.connection.execute("UPDATE hookline.sources SET synced_time = synced_time - interval '1 minute'")
    history.before = refuse
    assert (await work.pull(history, start=None)).state is State.FAILED
    assert await complete_until() == first.created_time
    history.before = History([]).before
    last = await work.pull(history, start=None)
    assert await complete_until() == last.created_time


async def refuse(request: int) -> None:
    raise Refused("The platform answers 404.")


async def test_what_is_not_understood_is_missing_and_told_one_by_one(work: Working) -> None:
    there = items(30)
    there[7] = item(7, payload=b"[]")
    there[8] = item(8, payload=b"")
    there[9] = item(9, payload=b'{"id": "\x00"}')
    run = await work.pull(History(there), until=BEGIN + HOUR)
    assert (run.state, run.accepted, run.quarantined, run.rejected) == (State.SUCCEEDED, 27, 2, 1)
    assert (run.listed, run.stored, run.missing, run.unlisted) == (30, 27, 3, 0)
    assert await differences(work, run.run_id) == [
        ("missing", "i-000007", "JSON_NOT_OBJECT"),
        ("missing", "i-000008", "PAYLOAD_EMPTY"),
        ("missing", "i-000009", "JSON_MALFORMED"),
    ]
    [alert] = await work.connection.fetch("SELECT kind, message FROM hookline.alerts")
    assert (alert["kind"], alert["message"]) == ("gap_found", "3 of 30 listed events are not stored.")


async def test_what_is_gone_is_missing_and_what_the_source_does_not_list_is_unlisted(work: Working) -> None:
    history = History(items(40))
    await work.pull(history)
    gone = await work.connection.fetch(
        "DELETE FROM hookline.events WHERE dedup_key = ANY ($1) RETURNING event_id", ["o-10", "o-11"]
    )
    assert len(gone) == 2
    # By another way than the history, of another source, or outside of the span: neither of the last two is looked at.
    # An id that PostgreSQL could not hold is kept all the same.
    named = Item("i-\0", BEGIN + 39 * MINUTE, item(39).payload, "generic")
    for number in (12, 20, 39):
        del history.items[min(number, len(history.items) - 1)]
    history.items.append(named)
    run = await work.pull(history, start=BEGIN + 5 * MINUTE)
    assert (run.listed, run.stored, run.missing, run.unlisted) == (33, 31, 2, 2)
    assert await differences(work, run.run_id) == [
        ("missing", "i-000010", "NOT_STORED"),
        ("missing", "i-000011", "NOT_STORED"),
        ("unlisted", None, "NOT_LISTED"),
        ("unlisted", None, "NOT_LISTED"),
    ]
    unlisted = await work.connection.fetch(
        "SELECT e.dedup_key FROM hookline.sync_differences d JOIN hookline.events e USING (company_id, event_id)"
        " ORDER BY d.difference"
    )
    assert [row["dedup_key"] for row in unlisted] == ["o-12", "o-21"]


BY_HEADER = """
name = "grapfy"
title = "What happened is in a header"
[fields]
type = ["header:x-shop-topic"]
dedup_key = [["header:x-shop-topic", "event_id"]]
"""


async def test_items_are_handed_on_under_the_histories_headers(work: Working, module_ingest: Ingesting) -> None:
    await module_ingest.stub.PutPlatformMapping(
        ingest_pb.PutPlatformMappingRequest(company_id=COMPANY, mapping=BY_HEADER)
    )
    try:
        # Of the source's platform, and of one that the item names itself.
        there = [msgspec.structs.replace(item(number), platform=("", "grapfy")[number % 2]) for number in range(4)]
        run = await work.pull(History(there, item_headers={"x-shop-topic": "paid"}))
    finally:
        await module_ingest.stub.DeletePlatformMapping(
            ingest_pb.DeletePlatformMappingRequest(company_id=COMPANY, name="grapfy")
        )
    assert (run.state, run.accepted, run.quarantined) == (State.SUCCEEDED, 4, 0)
    assert sorted(await work.stored()) == [f":paid:o-{number}" for number in range(4)]


async def test_a_page_is_asked_for_when_there_is_room_for_it(work: Working, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "PAGES_BYTES", 90)
    monkeypatch.setattr(pulling, "SMALL_PAGE", 8)
    monkeypatch.setattr(pulling, "MAX_BODY_BYTES", 30)
    history = History(items(100), page_bytes=20, largest_page=30)
    runner, run_id = work.runner(history), await work.ask()
    async with blocked(work.connection, COMPANY):
        running = asyncio.ensure_future(runner.run(COMPANY, run_id))
        await eventually(runner.room._turn.locked, what="a page waits for room")
        # Nothing is stored yet: three wait for that, and beside a fourth one there would be too much.
        assert (len(history.requests), runner.room.taken) == (4, 80)
    await running
    run = await work.now(run_id)
    assert (run.state, run.accepted, runner.room.taken) == (State.SUCCEEDED, 100, 0)
    # The first one, twice: nobody knew how large pages are.
    assert history.asked == [8, *[30] * 10]


async def test_a_run_takes_its_part_of_the_room_and_gives_it_back(
    work: Working, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "RUN_BYTES", 60)
    monkeypatch.setattr(pulling, "SMALL_PAGE", 25)
    taken: list[int] = []

    async def look(request: int) -> None:
        taken.append(runner.room.taken)
        if request == 7:
            raise TryLater("The platform answers 503.")

    history = History(items(100), page_bytes=20, before=look)
    runner, run_id = work.runner(history), await work.ask()
    await runner.run(COMPANY, run_id)
    run = await work.now(run_id)
    assert (run.state, run.pages) == (State.WAITING, 6)
    assert max(taken) <= 60
    assert runner.room.taken == 0
