"""Alerts are told to each channel, by webhook and by e-mail, whoever dies meanwhile."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from services.sync import alert_store, alerting_store
from services.sync import alerting as subject
from services.sync.alert_delivery import LIMITS, Deliverer
from services.sync.alert_store import Kind
from services.sync.alerting import ATTEMPTS, COMPANY_AT_ONCE, LEASE, DeliveryLoop
from services.sync.connectors.http import open_http
from services.sync.mail import Mailer, mailer_of
from services.sync.run_store import State
from shared import db
from shared.db import Connection
from shared.settings import Settings
from tests.alert_happenings import COMPANY, SECRET, SOURCE, VAULT, alerts, end_run, make_source, make_webhook, told
from tests.alert_receivers import mail_server, webhook_receiver
from tests.waiting import eventually


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


async def test_a_company_of_slow_receivers_holds_up_no_other(
    database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "ROUND_SECONDS", 0.02)
    monkeypatch.setattr(subject, "AT_ONCE", COMPANY_AT_ONCE + 1)
    async with webhook_receiver() as slow, webhook_receiver() as quick, loops(database_url) as [loop]:
        slow.hangs = asyncio.Event()
        for company in ("slow", "quick"):
            await make_source(connection, company)
        for number in range(COMPANY_AT_ONCE + 2):
            await make_webhook(connection, slow.url, f"ops-{number}", "slow")
        await make_webhook(connection, quick.url, company="quick")
        await end_run(connection, State.FAILED, company="slow")
        running = asyncio.ensure_future(loop.run())
        await eventually(lambda: len(slow.received) >= COMPANY_AT_ONCE, what="the slow ones are being told")
        await end_run(connection, State.FAILED, company="quick")
        await eventually(lambda: quick.received, what="the quick one is told")
        assert len(slow.received) == COMPANY_AT_ONCE
        # As those end, the others have their turn.
        slow.hangs.set()
        await eventually(lambda: len(set(slow.ids)) == COMPANY_AT_ONCE + 2, what="all of the slow ones are told")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_each_companys_first_ones_go_before_anybodys_second_ones(connection: Connection) -> None:
    for company, channels in (("many", 3), ("few", 1)):
        await make_source(connection, company)
        for number in range(channels):
            await make_webhook(connection, channel=f"ops-{number}", company=company)
        await end_run(connection, State.FAILED, company=company)

    async def take(most: int, **under_way: int) -> list[str]:
        taken = await alerting_store.take_deliveries(connection, LEASE, most, 2, under_way)
        return sorted(each.channel.company_id for each in taken)

    assert await take(9, many=2, few=2) == []
    assert await take(2) == ["few", "many"]
    assert await take(9, many=1) == ["many"]
    assert await take(9, few=1) == ["many"]


async def test_what_does_not_end_in_time_is_cut_off_and_told_by_another(
    database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "DRAIN_SECONDS", 0.05)
    await make_source(connection)
    async with webhook_receiver() as receiver, loops(database_url, 2) as [first, second]:
        receiver.hangs = asyncio.Event()
        await make_webhook(connection, receiver.url)
        await end_run(connection, State.FAILED)
        running = asyncio.ensure_future(first.run())
        await eventually(lambda: receiver.received, what="it is being told")
        running.cancel()
        async with asyncio.timeout(5):
            await asyncio.gather(running, return_exceptions=True)
        # It is under way until its lease is over.
        [cut_off] = await told(connection)
        assert (cut_off.attempts, cut_off.delivered_time, cut_off.error) == (1, None, None)
        assert cut_off.next_attempt_time
        receiver.hangs.set()
        await make_due(connection)
        assert await second.round() == 1
        assert receiver.ids[0] == receiver.ids[1]


async def test_a_lease_is_taken_by_one(database_url: str, connection: Connection) -> None:
    await make_source(connection)
    await make_webhook(connection)
    await end_run(connection, State.FAILED)
    async with await db.open_pool(database_url, 1) as pool, pool.acquire() as other, connection.transaction():
        [taken] = await alerting_store.take_deliveries(connection, LEASE, 10, 10, {})
        async with asyncio.timeout(5):
            assert await alerting_store.take_deliveries(other, LEASE, 10, 10, {}) == []
    assert taken.attempts == 1


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
