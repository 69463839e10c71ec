"""Alerts: opened with what they tell of, counted, and resolved."""

import asyncio
import uuid
from collections import Counter

from services.sync import alert_store
from services.sync.alert_store import Kind
from services.sync.run_store import State
from shared import db
from shared.db import Connection
from tests.alert_happenings import COMPANY, SOURCE, alerts, end_run, make_source, make_webhook, told

RUN = uuid.UUID("0198c1c4-7d9e-7cc0-8000-5c1f0e6d7a10")


async def test_ten_failures_are_one_alert_and_one_success_resolves_it(connection: Connection) -> None:
    await make_source(connection)
    await make_webhook(connection)
    runs = [await end_run(connection, State.FAILED) for _ in range(2)]
    assert set(await alerts(connection)) == {Kind.RUN_FAILED}
    runs += [await end_run(connection, State.FAILED) for _ in range(8)]
    found = await alerts(connection)
    failed, in_a_row = found[Kind.RUN_FAILED], found[Kind.FAILURES_IN_A_ROW]
    assert (failed.times, failed.run_id, failed.message) == (10, runs[-1], f"away ({runs[-1]})")
    assert (in_a_row.times, in_a_row.message[:29]) == (8, "10 runs have failed in a row;")
    assert failed.open_time < failed.last_time
    assert Counter((each.alert_id, each.news) for each in await told(connection)) == {
        (failed.alert_id, "opened"): 1,
        (in_a_row.alert_id, "opened"): 1,
    }
    # Neither heals anything.
    await end_run(connection, State.CANCELLED)
    await end_run(connection, State.INCOMPLETE, gap="1 is missing")
    assert all(alert.resolve_time is None for alert in (await alerts(connection)).values())
    await end_run(connection, State.SUCCEEDED)
    await end_run(connection, State.SUCCEEDED)
    found = await alerts(connection)
    assert all(alert.resolve_time for alert in found.values())
    assert Counter(each.news for each in await told(connection)) == {"opened": 3, "resolved": 3}
    # What fails after that is another alert; the row is counted from the success on.
    await end_run(connection, State.FAILED)
    again = await alerts(connection)
    assert again[Kind.RUN_FAILED].alert_id != failed.alert_id
    assert again[Kind.FAILURES_IN_A_ROW] == found[Kind.FAILURES_IN_A_ROW]


async def test_a_gap_is_over_when_a_run_that_looked_there_finds_none(connection: Connection) -> None:
    await make_source(connection)
    await end_run(connection, State.FAILED)
    run_id = await end_run(connection, State.SUCCEEDED, gap="3 of 100 events are not stored")
    found = await alerts(connection)
    assert found[Kind.RUN_FAILED].resolve_time
    gap = found[Kind.GAP_FOUND]
    assert (gap.message, gap.run_id, gap.resolve_time) == ("3 of 100 events are not stored", run_id, None)
    await end_run(connection, State.FAILED)
    # Seen again further back: that is where a run has to look.
    await end_run(connection, State.SUCCEEDED, gap="1 of 9 events is not stored", hours=(48, 40))
    for hours in ((47, None), (24, None), (100, 47), (100, 1)):
        await end_run(connection, State.SUCCEEDED, hours=hours)
        assert (await alerts(connection))[Kind.GAP_FOUND].resolve_time is None, hours
    await end_run(connection, State.SUCCEEDED, hours=(48, None))
    assert (await alerts(connection))[Kind.GAP_FOUND].resolve_time


async def test_alerts_are_of_their_source_and_company(connection: Connection) -> None:
    for company, source in ((COMPANY, SOURCE), (COMPANY, "other"), ("other", SOURCE)):
        await make_source(connection, company, source)
        await make_webhook(connection, channel=source, company=company)
        await end_run(connection, State.FAILED, company=company, source=source)
    await end_run(connection, State.SUCCEEDED)
    rows = await connection.fetch("SELECT company_id, source, resolve_time IS NULL AS open FROM hookline.alerts")
    assert {(row["company_id"], row["source"]): row["open"] for row in rows} == {
        (COMPANY, SOURCE): False,
        (COMPANY, "other"): True,
        ("other", SOURCE): True,
    }
    assert Counter(each.channel for each in await told(connection, "other")) == {SOURCE: 1}


async def test_what_is_rolled_back_is_not_told(connection: Connection) -> None:
    await make_source(connection)
    await make_webhook(connection)
    transaction = connection.transaction()
    await transaction.start()
    await alert_store.run_ended(connection, COMPANY, SOURCE, RUN, State.FAILED, "away", None)
    await transaction.rollback()
    assert await alerts(connection) == {}
    assert await connection.fetchval("SELECT count(*) FROM hookline.alert_deliveries") == 0


async def test_a_channel_is_told_of_the_end_of_what_it_was_told_of(connection: Connection) -> None:
    await make_source(connection)
    await make_webhook(connection, channel="first")
    await make_webhook(connection, channel="gone")
    await end_run(connection, State.FAILED)
    await make_webhook(connection, channel="late")
    assert await alert_store.delete_channel(connection, COMPANY, "gone")
    # Of the same name, but it knows of nothing.
    await make_webhook(connection, channel="gone")
    await end_run(connection, State.SUCCEEDED)
    assert [(each.channel, each.news) for each in await told(connection)] == [
        ("first", "opened"),
        ("first", "resolved"),
    ]


async def test_two_ends_at_once_make_one_alert(database_url: str, connection: Connection) -> None:
    """Of two sources that fail while a channel is removed: nobody waits for ever, and nothing is told to no one."""
    for source in ("a", "b"):
        await make_source(connection, source=source)
    await make_webhook(connection)
    async with await db.open_pool(database_url, 3) as pool:

        async def fail(source: str) -> None:
            async with pool.acquire() as own:
                await end_run(own, State.FAILED, source=source)

        async def remove() -> None:
            async with pool.acquire() as own:
                await alert_store.delete_channel(own, COMPANY, "ops")

        async with asyncio.timeout(10):
            await asyncio.gather(fail("a"), remove(), fail("b"))
    assert len(await alert_store.list_alerts(connection, COMPANY, None, None, 9, open_only=True)) == 2
    assert await told(connection) == []
