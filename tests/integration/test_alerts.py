"""Alerts: opened with what they tell of, counted, resolved, and told to each channel, whoever dies meanwhile."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from standardwebhooks.webhooks import WebhookVerificationError
from uuid_utils.compat import uuid7

from services.sync import alert_store, alerting_store
from services.sync import alerting as subject
from services.sync.alert_delivery import LIMITS, Deliverer
from services.sync.alert_store import Alert, Kind, Told
from services.sync.alerting import ATTEMPTS, LEASE, DeliveryLoop, OverdueWatch
from services.sync.connectors.http import open_http
from services.sync.mail import Mailer, mailer_of
from services.sync.run_store import State
from shared import db
from shared.db import Connection
from shared.settings import Settings
from shared.vault import Vault
from tests.alert_receivers import mail_server, webhook_receiver
from tests.in_process import SECRET_KEY
from tests.waiting import eventually

COMPANY, SOURCE, RUN = "acme", "loja", uuid.UUID("0198c1c4-7d9e-7cc0-8000-5c1f0e6d7a10")
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOWHERE = "http://127.0.0.1:1/hooks"
OVERDUE = timedelta(minutes=5)
VAULT = Vault(SECRET_KEY)
SOON, LATELY, LONG_AGO = "interval '-1 hour'", "interval '280 s'", "interval '301 s'"


async def make_source(connection: Connection, company: str = COMPANY, source: str = SOURCE) -> None:
    await connection.execute(
        "INSERT INTO hookline.sources (company_id, source, platform, base_url, credential)"
        " VALUES ($1, $2, 'grapfy', 'https://api.example.com', 'x')",
        company,
        source,
    )


async def make_webhook(
    connection: Connection, url: str = NOWHERE, channel: str = "ops", company: str = COMPANY
) -> None:
    encrypted = VAULT.encrypt(SECRET)
    assert await alert_store.create_channel(connection, company, channel, webhook_url=url, secret=encrypted)


async def end_run(
    connection: Connection,
    state: State,
    gap: str | None = None,
    company: str = COMPANY,
    source: str = SOURCE,
    *,
    hours: tuple[int, int | None] = (24, None),
) -> uuid.UUID:
    """A run that ends so, in one transaction with what is told of it. It has read all of the last day, or from so many
    hours ago to so many."""
    start, until = hours
    run_id = uuid7()
    error = f"away ({run_id})" if state in (State.FAILED, State.INCOMPLETE) else None
    async with connection.transaction():
        await connection.execute(
            "INSERT INTO hookline.sync_runs (company_id, run_id, source, state, trigger, start_time, until_time,"
            " ended_time, attempt, error, cancel_requested)"
            " VALUES ($1, $2, $3, $4, 'request', date_trunc('day', now()) - make_interval(hours => $6),"
            " date_trunc('day', now()) - make_interval(hours => $7), clock_timestamp(), 1, $5, true)",
            company,
            run_id,
            source,
            state.value,
            error,
            start,
            until,
        )
        await alert_store.run_ended(connection, company, source, run_id, state, error, gap)
    return run_id


async def alerts(connection: Connection, company: str = COMPANY) -> dict[Kind, Alert]:
    """The newest of each kind."""
    found = await alert_store.list_alerts(connection, company, None, None, 100, open_only=False)
    return {alert.kind: alert for alert in reversed(found)}


async def told(connection: Connection, company: str = COMPANY) -> list[Told]:
    ids = [row["alert_id"] for row in await connection.fetch("SELECT alert_id FROM hookline.alerts")]
    return await alert_store.list_deliveries(connection, company, ids)


async def make_due(connection: Connection) -> None:
    """As if the waits, and the leases, were over."""
    await connection.execute(
        "UPDATE hookline.alert_deliveries SET next_attempt_time = now() - interval '1 ms'"
        " WHERE next_attempt_time IS NOT NULL"
    )


@asynccontextmanager
async def loops(
    database_url: str, count: int = 1, mailer: Mailer | None = None
) -> AsyncIterator[Sequence[DeliveryLoop]]:
    """Delivery loops, each with what a process of its own would have."""
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(count):
            pool = await stack.enter_async_context(await db.open_pool(database_url, 2))
            http = await stack.enter_async_context(open_http(allow_loopback=True, limits=LIMITS))
            made.append(DeliveryLoop(pool, Deliverer(http, mailer, VAULT), first_wait=600))
        yield made


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


async def test_a_webhook_is_signed_and_says_what_is_wrong(database_url: str, connection: Connection) -> None:
    await make_source(connection)
    async with webhook_receiver() as receiver, loops(database_url) as [loop]:
        await make_webhook(connection, receiver.url)
        run_id = await end_run(connection, State.FAILED)
        assert await loop.round() == 1
        await end_run(connection, State.SUCCEEDED)
        assert await loop.round() == 1
        assert await loop.round() == 0
        [opened, resolved] = receiver.received
        alert = (await alerts(connection))[Kind.RUN_FAILED]
        body = opened.verified(SECRET)
        assert (body["type"], body["timestamp"][:19]) == (
            "hookline.alert.opened",
            alert.open_time.isoformat()[:19],
        )
        assert body["data"] | {"open_time": "", "last_time": ""} == {
            "company_id": COMPANY,
            "channel": "ops",
            "alert_id": str(alert.alert_id),
            "kind": "run_failed",
            "source": SOURCE,
            "run_id": str(run_id),
            "message": f"away ({run_id})",
            "open_time": "",
            "last_time": "",
            "times": 1,
            "resolve_time": None,
        }
        over = resolved.verified(SECRET)
        assert (over["type"], over["timestamp"]) == ("hookline.alert.resolved", over["data"]["resolve_time"])
        with pytest.raises(WebhookVerificationError):
            opened.verified("whsec_b3RoZXI=")
        deliveries = await connection.fetch("SELECT delivery_id FROM hookline.alert_deliveries ORDER BY delivery_id")
        assert [row["delivery_id"] for row in deliveries] == receiver.ids
    for each in await told(connection):
        assert each.delivered_time
        assert (each.attempts, each.next_attempt_time, each.error) == (1, None, None)


async def test_a_receiver_that_fails_first_is_told_in_the_end(database_url: str, connection: Connection) -> None:
    await make_source(connection)
    async with webhook_receiver() as receiver, loops(database_url) as [loop]:
        receiver.answers = [500, (429, {"Retry-After": "120"}), 302, (400, {})]
        await make_webhook(connection, receiver.url)
        await end_run(connection, State.FAILED)
        # Told of its end, only once it was told of the alert.
        await end_run(connection, State.SUCCEEDED)
        problems = []
        for tries in range(1, 5):
            assert await loop.round() == 1
            # Not before its time.
            assert await loop.round() == 0
            [opened, _] = await told(connection)
            assert (opened.attempts, opened.delivered_time) == (tries, None)
            assert opened.next_attempt_time
            problems.append(opened.error)
            await make_due(connection)
        assert problems == [
            "The receiver answers with 500.",
            "The receiver answers with 429.",
            "The receiver answers with a redirect (302), and redirects are not followed.",
            "The receiver answers with 400.",
        ]
        assert [await loop.round() for _ in range(3)] == [1, 1, 0]
        assert Counter(receiver.ids).most_common() == [(receiver.ids[0], 5), (receiver.ids[-1], 1)]
        types = [each.verified(SECRET)["type"] for each in receiver.received]
        assert types == ["hookline.alert.opened"] * 5 + ["hookline.alert.resolved"]
    assert [each.error for each in await told(connection)] == [None, None]


async def test_how_long_is_waited(database_url: str, connection: Connection) -> None:
    await make_source(connection)
    async with webhook_receiver() as receiver, loops(database_url) as [loop]:
        await make_webhook(connection, receiver.url)
        await end_run(connection, State.FAILED)
        for least, most, answer in ((450, 600, 500), (1350, 1800, 503), (4050, 5400, (503, {"Retry-After": "3"}))):
            receiver.answers = [answer]
            await loop.round()
            wait = await connection.fetchval(
                "SELECT extract(epoch FROM next_attempt_time - clock_timestamp()) FROM hookline.alert_deliveries"
            )
            assert least - 30 < wait <= most
            await make_due(connection)


@pytest.mark.parametrize(("attempts", "status"), [(ATTEMPTS - 1, 500), (0, 410)], ids=["tenth try", "gone"])
async def test_who_is_given_up(database_url: str, connection: Connection, attempts: int, status: int) -> None:
    await make_source(connection)
    async with webhook_receiver() as receiver, loops(database_url) as [loop]:
        receiver.answers = [status]
        await make_webhook(connection, receiver.url)
        await end_run(connection, State.FAILED)
        await connection.execute("UPDATE hookline.alert_deliveries SET attempts = $1", attempts)
        await loop.round()
        [given_up] = await told(connection)
        assert (given_up.attempts, given_up.delivered_time, given_up.next_attempt_time) == (attempts + 1, None, None)
        assert given_up.error == f"The receiver answers with {status}."
        # The next news is tried all the same.
        await end_run(connection, State.SUCCEEDED)
        assert await loop.round() == 1
        assert receiver.received[-1].verified(SECRET)["type"] == "hookline.alert.resolved"


async def test_a_delivery_outlives_its_deliverer(database_url: str, connection: Connection) -> None:
    await make_source(connection)
    async with webhook_receiver() as receiver, loops(database_url, 2) as [first, second]:
        receiver.hangs = asyncio.Event()
        await make_webhook(connection, receiver.url)
        await end_run(connection, State.FAILED)
        dying = asyncio.ensure_future(first.round())
        await eventually(lambda: receiver.received, what="the first one is at it")
        # Its lease holds.
        assert await second.round() == 0
        lease = await connection.fetchval("SELECT next_attempt_time - clock_timestamp() FROM hookline.alert_deliveries")
        assert timedelta(0) < lease <= LEASE
        for task in first._under_way:
            task.cancel()
        await dying
        receiver.hangs.set()
        await make_due(connection)
        assert await second.round() == 1
        assert receiver.ids[0] == receiver.ids[1]
        [delivered] = await told(connection)
        assert (delivered.attempts, bool(delivered.delivered_time)) == (2, True)
        # Were it only frozen, what it says afterwards counts no more.
        assert not await alert_store.end_delivery(connection, COMPANY, receiver.ids[0], 1, error="late")
        assert await told(connection) == [delivered]


async def test_loops_at_the_same_time_tell_each_channel_once(database_url: str, connection: Connection) -> None:
    count = 40
    async with webhook_receiver() as receiver, loops(database_url, 3) as several:
        for number in range(count):
            company = f"company{number}"
            await make_source(connection, company)
            await make_webhook(connection, receiver.url, company=company)
            await end_run(connection, State.FAILED, company=company)

        async def all_told() -> bool:
            await asyncio.gather(*(loop.round() for loop in several))
            return len(receiver.received) >= count

        await eventually(all_told, what="all are told")
        assert [await loop.round() for loop in several] == [0, 0, 0]
        assert len(set(receiver.ids)) == len(receiver.ids) == count


async def test_one_that_hangs_holds_up_nobody_else(
    database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "ROUND_SECONDS", 0.02)
    async with webhook_receiver() as slow, webhook_receiver() as quick, loops(database_url) as [loop]:
        slow.hangs = asyncio.Event()
        for company, receiver in (("slow", slow), ("quick", quick)):
            await make_source(connection, company)
            await make_webhook(connection, receiver.url, company=company)
        await end_run(connection, State.FAILED, company="slow")
        running = asyncio.ensure_future(loop.run())
        await eventually(lambda: slow.received, what="the slow one is being told")
        await end_run(connection, State.FAILED, company="quick")
        await eventually(lambda: quick.received, what="the quick one is told")
        # Stopping, what is under way is let end.
        running.cancel()
        slow.hangs.set()
        await asyncio.gather(running, return_exceptions=True)
        assert [bool(each.delivered_time) for each in await told(connection, "slow")] == [True]


async def test_mail_is_sent(database_url: str, connection: Connection) -> None:
    await make_source(connection)
    await alert_store.create_channel(connection, COMPANY, "me", email="me@example.com")
    async with mail_server() as inbox:
        mailer = mailer_of(Settings(smtp_url=inbox.url, smtp_from="alerts@example.com"))
        async with loops(database_url, mailer=mailer) as [loop]:
            run_id = await end_run(connection, State.FAILED)
            inbox.refuses = "451 me@example.com is busy"
            await loop.round()
            [refused] = await told(connection)
            assert refused.error == "The mail server refuses the message (451)."
            inbox.refuses = None
            await make_due(connection)
            await loop.round()
            await end_run(connection, State.SUCCEEDED)
            await loop.round()
    [opened, resolved] = inbox.mails
    assert opened["Subject"] == "[Hookline] loja: a run failed"
    assert (opened["From"], opened["To"]) == ("alerts@example.com", "me@example.com")
    assert opened.get_content_type() == "text/plain"
    assert f"away ({run_id})" in opened.get_content().splitlines()
    assert resolved["Subject"] == "[Hookline] Over: loja: a run failed"
    assert "A run has succeeded since." in resolved.get_content()
    ids = await connection.fetch("SELECT delivery_id FROM hookline.alert_deliveries ORDER BY delivery_id")
    assert [f"<{row['delivery_id']}@example.com>" for row in ids] == [mail["Message-ID"] for mail in inbox.mails]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("hookline:", "hookline:x"), "The mail server refuses the user or the password (535)."),
        (("hookline:", "other:"), "The mail server refuses the user or the password (535)."),
        (None, "The mail server can't be reached, or its certificate is not valid."),
    ],
    ids=["password", "user", "away"],
)
async def test_mail_that_is_not_sent_says_why(
    database_url: str, connection: Connection, change: tuple[str, str] | None, problem: str
) -> None:
    await make_source(connection)
    await alert_store.create_channel(connection, COMPANY, "me", email="me@example.com")
    await end_run(connection, State.FAILED)
    async with mail_server() as inbox:
        url = inbox.url.replace(*change) if change else "smtp://127.0.0.1:1"
        mailer = mailer_of(Settings(smtp_url=url, smtp_from="alerts@example.com"))
        async with loops(database_url, mailer=mailer) as [loop]:
            await loop.round()
    [failed] = await told(connection)
    assert (failed.error, inbox.mails) == (problem, [])
    assert failed.next_attempt_time


async def schedule(connection: Connection, ago: str, company: str = COMPANY) -> None:
    await connection.execute(
        "UPDATE hookline.sources SET schedule_interval = interval '1 hour', schedule_start_time = clock_timestamp(),"
        f" next_run_time = clock_timestamp() - {ago} WHERE company_id = $1",
        company,
    )


async def queue_run(connection: Connection, ago: str, **columns: Any) -> uuid.UUID:
    run_id = uuid7()
    await connection.execute(
        "INSERT INTO hookline.sync_runs (company_id, run_id, source, trigger, start_time, created_time, behind)"
        f" VALUES ($1, $2, $3, $4, clock_timestamp(), clock_timestamp() - {ago}, $5)",
        COMPANY,
        run_id,
        SOURCE,
        columns.get("trigger", "schedule"),
        columns.get("behind", False),
    )
    return run_id


async def overdue(connection: Connection) -> Alert | None:
    return (await alerts(connection)).get(Kind.SCHEDULE_OVERDUE)


@asynccontextmanager
async def watches(database_url: str, count: int = 1) -> AsyncIterator[Sequence[OverdueWatch]]:
    async with AsyncExitStack() as stack:
        pools = [await stack.enter_async_context(await db.open_pool(database_url, 1)) for _ in range(count)]
        yield [OverdueWatch(pool, OVERDUE) for pool in pools]


async def test_a_schedule_without_a_scheduler_is_overdue(database_url: str, connection: Connection) -> None:
    await make_source(connection)
    await make_webhook(connection)
    async with watches(database_url) as [watch]:
        await schedule(connection, LATELY)
        await watch.round()
        assert await overdue(connection) is None
        await schedule(connection, LONG_AGO)
        await watch.round()
        await watch.round()
        alert = await overdue(connection)
        assert alert
        assert (alert.times, alert.run_id, alert.resolve_time) == (1, None, None)
        assert alert.message == "a run is due by the schedule, and no scheduler has made it"
        # A scheduler is back. The run is made, and still nobody has begun it.
        await schedule(connection, SOON)
        run_id = await queue_run(connection, "interval '0'")
        await watch.round()
        assert await overdue(connection) == alert
        await connection.execute(
            "UPDATE hookline.sync_runs SET state = 'running', attempt = 1, lease_until = now() WHERE run_id = $1",
            run_id,
        )
        await watch.round()
        await watch.round()
        over = await overdue(connection)
        assert over
        assert over.resolve_time
        assert [each.news for each in await told(connection)] == ["opened", "resolved"]


async def test_a_run_without_a_worker_is_overdue(database_url: str, connection: Connection) -> None:
    await make_source(connection)
    await schedule(connection, SOON)
    async with watches(database_url) as [watch]:
        # One that was asked for, and one that waits for another, are not the schedule's.
        asked_for = await queue_run(connection, LONG_AGO, trigger="request")
        behind = await queue_run(connection, LONG_AGO, behind=True)
        await watch.round()
        assert await overdue(connection) is None
        await connection.execute("DELETE FROM hookline.sync_runs WHERE run_id IN ($1, $2)", asked_for, behind)
        run_id = await queue_run(connection, LATELY)
        await watch.round()
        assert await overdue(connection) is None
        await connection.execute(f"UPDATE hookline.sync_runs SET created_time = clock_timestamp() - {LONG_AGO}")
        await watch.round()
        alert = await overdue(connection)
        assert alert
        assert (alert.run_id, alert.message) == (
            run_id,
            "a run was made by the schedule, and no worker has begun it",
        )
        # Cancelled, none is due any more.
        await connection.execute(
            "UPDATE hookline.sync_runs SET state = 'cancelled', cancel_requested = true, ended_time = now()"
        )
        await watch.round()
        over = await overdue(connection)
        assert over
        assert over.resolve_time


async def test_a_schedule_that_is_paused_is_not_overdue(database_url: str, connection: Connection) -> None:
    await make_source(connection)
    await schedule(connection, LONG_AGO)
    async with watches(database_url) as [watch]:
        await watch.round()
        await connection.execute("UPDATE hookline.sources SET schedule_paused_time = now(), next_run_time = NULL")
        await watch.round()
        over = await overdue(connection)
        assert over
        assert over.resolve_time


async def test_many_watches_open_and_resolve_each_alert_once(database_url: str, connection: Connection) -> None:
    count = 250
    for number in range(count):
        await make_source(connection, f"company{number}")
        await make_webhook(connection, company=f"company{number}")
        await schedule(connection, LONG_AGO, f"company{number}")
    async with watches(database_url, 4) as several:
        await asyncio.gather(*(watch.round() for watch in several))
        await asyncio.gather(*(watch.round() for watch in several))
        rows = await connection.fetch("SELECT count(*) AS alerts FROM hookline.alerts GROUP BY company_id")
        assert [row["alerts"] for row in rows] == [1] * count
        assert await connection.fetchval("SELECT count(*) FROM hookline.alert_deliveries") == count
        await connection.execute("UPDATE hookline.sources SET next_run_time = clock_timestamp() + interval '1 hour'")
        await asyncio.gather(*(watch.round() for watch in several))
        await asyncio.gather(*(watch.round() for watch in several))
    assert await connection.fetchval("SELECT count(*) FROM hookline.alerts WHERE resolve_time IS NULL") == 0
    assert await connection.fetchval("SELECT count(*) FROM hookline.alert_deliveries") == 2 * count


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


async def test_a_lease_is_taken_by_one(database_url: str, connection: Connection) -> None:
    await make_source(connection)
    await make_webhook(connection)
    await end_run(connection, State.FAILED)
    async with await db.open_pool(database_url, 1) as pool, pool.acquire() as other, connection.transaction():
        [taken] = await alerting_store.take_deliveries(connection, LEASE, 10)
        async with asyncio.timeout(5):
            assert await alerting_store.take_deliveries(other, LEASE, 10) == []
    assert taken.attempts == 1
