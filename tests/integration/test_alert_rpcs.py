"""AlertService as it is called, by RPC and by command; and the processes that alerts go out from."""

import asyncio
import json
import os
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner, Result
from google.protobuf.message import Message

from hookline.cli.app import cli
from hookline.sync.v1 import alert_service_pb2 as pb
from hookline.sync.v1.alert_service_pb2_grpc import AlertServiceStub
from services.suite.ports import free_address
from services.sync import alert_store, alerting
from services.sync.__main__ import main as sync_main
from services.sync.alert_servicer import TEST_SECONDS, TESTS
from services.sync.alert_store import MOST_CHANNELS, Channel, Kind
from services.sync.run_store import State
from services.sync.scheduler import main as scheduler_main
from shared.db import Connection
from shared.errors import OperatorError
from shared.settings import Settings
from tests.alert_happenings import (
    COMPANY,
    LONG_AGO,
    SECRET,
    SOURCE,
    end_run,
    make_source,
    make_webhook,
    schedule,
)
from tests.alert_receivers import Inbox, Receiver, mail_server, webhook_receiver
from tests.in_process import SECRET_KEY, Main
from tests.refusals import refused
from tests.sync_in_process import NOWHERE, Syncing, process, syncing
from tests.waiting import eventually

URL = "https://example.com/hooks"
DOCUMENTATION = Path(__file__).parents[2] / "docs" / "alerts.md"


@pytest.fixture
async def inbox() -> AsyncIterator[Inbox]:
    async with mail_server() as made:
        yield made


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with webhook_receiver() as made:
        yield made


@pytest.fixture
async def sync(database_url: str, inbox: Inbox) -> AsyncIterator[Syncing]:
    async with syncing(database_url, smtp_url=inbox.url, smtp_from="alerts@example.com") as running:
        yield running


@pytest.fixture
def stub(sync: Syncing) -> Any:
    return AlertServiceStub(sync.channel)


async def create(stub: Any, channel: str = "ops", company: str = COMPANY, **target: str) -> Any:
    return await stub.CreateAlertChannel(
        pb.CreateAlertChannelRequest(company_id=company, channel=channel, **(target or {"webhook_url": URL}))
    )


async def listed(stub: Any, **fields: Any) -> Any:
    return await stub.ListAlerts(pb.ListAlertsRequest(**{"company_id": COMPANY, **fields}))


async def test_channels_are_made_listed_and_removed(stub: Any, connection: Connection) -> None:
    made = await create(stub)
    assert made.secret.startswith("whsec_")
    assert len(made.secret) == 50
    assert (made.channel.channel, made.channel.webhook_url, made.channel.email) == ("ops", URL, "")
    mail = await create(stub, "a.mail", email="me@example.com")
    assert (mail.secret, mail.channel.email) == ("", "me@example.com")
    await create(stub, "theirs", company="other")
    channels = (await stub.ListAlertChannels(pb.ListAlertChannelsRequest(company_id=COMPANY))).channels
    assert list(channels) == [mail.channel, made.channel]
    # What PostgreSQL has is no secret.
    stored = await connection.fetchval("SELECT secret FROM hookline.alert_channels WHERE channel = 'ops'")
    assert made.secret.encode() not in stored
    refusal = await refused(create(stub, email="other@example.com"))
    assert (refusal.reason, refusal.metadata) == ("ALERT_CHANNEL_EXISTS", {"channel": "ops"})
    delete = pb.DeleteAlertChannelRequest(company_id=COMPANY, channel="ops")
    await stub.DeleteAlertChannel(delete)
    for gone in (
        stub.DeleteAlertChannel(delete),
        stub.TestAlert(pb.TestAlertRequest(company_id=COMPANY, channel="ops")),
    ):
        refusal = await refused(gone)
        assert (refusal.reason, refusal.metadata) == ("ALERT_CHANNEL_NOT_FOUND", {"channel": "ops"})


async def test_a_channel_that_goes_nowhere(stub: Any, connection: Connection) -> None:
    wrong: list[tuple[dict[str, str], str]] = [
        ({}, "target"),
        ({"webhook_url": ""}, "webhook_url"),
        ({"webhook_url": "http://example.com/hooks"}, "webhook_url"),
        ({"webhook_url": "https://u:p@example.com/hooks"}, "webhook_url"),
        ({"webhook_url": "https://example.com/hooks?a=b c"}, "webhook_url"),
        ({"webhook_url": "https://example.com/hooks?a=b#c"}, "webhook_url"),
        ({"webhook_url": f"https://example.com/?{'x' * 2000}"}, "webhook_url"),
        ({"email": ""}, "email"),
        ({"email": "Me <me@example.com>"}, "email"),
        ({"email": "me@example.com\r\nBcc: all@example.com"}, "email"),
    ]
    for target, field in wrong:
        request = pb.CreateAlertChannelRequest(company_id=COMPANY, channel="ops", **target)
        refusal = await refused(stub.CreateAlertChannel(request))
        assert (refusal.reason, list(refusal.violations)) == ("INVALID_FIELD", [field])
    assert await connection.fetchval("SELECT count(*) FROM hookline.alert_channels") == 0


@pytest.mark.parametrize("url", ["https://10.0.0.1/hooks", "https://169.254.169.254/latest?x=y", "https://[fe80::1]/"])
async def test_a_webhook_leads_to_no_address_that_is_not_public(stub: Any, url: str) -> None:
    await create(stub, webhook_url=url)
    tested = await stub.TestAlert(pb.TestAlertRequest(company_id=COMPANY, channel="ops"))
    assert (tested.delivered, "an address that is not public" in tested.problem) == (False, True)


async def test_requests_that_are_wrong(stub: Any) -> None:
    wrong: Sequence[tuple[Any, Message, str]] = [
        (stub.ListAlerts, pb.ListAlertsRequest(), "company_id"),
        (stub.ListAlerts, pb.ListAlertsRequest(company_id=COMPANY, page_size=-1), "page_size"),
        (stub.ListAlerts, pb.ListAlertsRequest(company_id=COMPANY, source="a b"), "source"),
        (stub.ListAlerts, pb.ListAlertsRequest(company_id=COMPANY, page_token="made up"), "page_token"),
        (stub.CreateAlertChannel, pb.CreateAlertChannelRequest(channel="a", email="a@b.c"), "company_id"),
        (stub.CreateAlertChannel, pb.CreateAlertChannelRequest(company_id=COMPANY, email="a@b.c"), "channel"),
        (stub.ListAlertChannels, pb.ListAlertChannelsRequest(), "company_id"),
        (stub.DeleteAlertChannel, pb.DeleteAlertChannelRequest(company_id=COMPANY, channel="a b"), "channel"),
        (stub.TestAlert, pb.TestAlertRequest(company_id=COMPANY), "channel"),
    ]
    for method, request, field in wrong:
        refusal = await refused(method(request))
        assert list(refusal.violations) == [field]


async def test_without_a_mail_server_addresses_are_refused(database_url: str, connection: Connection) -> None:
    async with syncing(database_url) as running:
        stub: Any = AlertServiceStub(running.channel)
        assert (await refused(create(stub, email="me@example.com"))).reason == "MAIL_NOT_SET_UP"
        # One that was made while there was one.
        await alert_store.create_channel(connection, COMPANY, "me", email="me@example.com")
        tested = await stub.TestAlert(pb.TestAlertRequest(company_id=COMPANY, channel="me"))
        assert (tested.delivered, "HOOKLINE_SMTP_URL" in tested.problem) == (False, True)


async def test_alerts_are_listed_page_by_page(stub: Any, connection: Connection) -> None:
    for number in range(5):
        source = f"s{number}"
        await make_source(connection, source=source)
        if number == 1:
            await make_webhook(connection, "http://127.0.0.1:1/")
        await end_run(connection, State.FAILED, source=source)
    await end_run(connection, State.SUCCEEDED, source="s3")
    await make_source(connection, "other")
    await end_run(connection, State.FAILED, company="other")
    seen, token = [], ""
    while True:
        page = await listed(stub, page_size=2, page_token=token)
        seen += [(alert.source, len(alert.deliveries)) for alert in page.alerts]
        token = page.next_page_token
        if not token:
            break
    assert seen == [("s4", 1), ("s3", 2), ("s2", 1), ("s1", 1), ("s0", 0)]
    assert [alert.source for alert in (await listed(stub, open_only=True)).alerts] == ["s4", "s2", "s1", "s0"]
    [alert] = (await listed(stub, source="s3")).alerts
    assert alert.kind == pb.ALERT_KIND_RUN_FAILED
    assert alert.HasField("resolve_time")
    assert [each.news for each in alert.deliveries] == [pb.ALERT_NEWS_OPENED, pb.ALERT_NEWS_RESOLVED]
    # The token is good for the same request only.
    first = await listed(stub, page_size=2)
    refusal = await refused(listed(stub, page_size=2, page_token=first.next_page_token, open_only=True))
    assert refusal.reason == "INVALID_PAGE_TOKEN"


async def test_a_test_is_delivered_at_once(stub: Any, receiver: Receiver, inbox: Inbox, connection: Connection) -> None:
    secret = (await create(stub, webhook_url=receiver.url)).secret
    await create(stub, "me", email="me@example.com")

    async def tested(channel: str) -> tuple[bool, str]:
        answer = await stub.TestAlert(pb.TestAlertRequest(company_id=COMPANY, channel=channel))
        return answer.delivered, answer.problem

    assert await tested("ops") == (True, "")
    [received] = receiver.received
    told = received.verified(secret)
    assert (told["type"], told["data"]["company_id"], told["data"]["channel"]) == (
        "hookline.alert.test",
        COMPANY,
        "ops",
    )
    receiver.answers = [500]
    assert await tested("ops") == (False, "The receiver answers with 500.")
    # Once: it is not tried again.
    assert len(receiver.received) == 2
    assert await connection.fetchval("SELECT count(*) FROM hookline.alert_deliveries") == 0
    assert await tested("me") == (True, "")
    inbox.refuses = "550 me@example.com is not here"
    assert await tested("me") == (False, "The mail server refuses the message (550).")
    assert [mail["Subject"] for mail in inbox.mails] == ["[Hookline] Test"]


async def test_tests_are_counted(stub: Any, receiver: Receiver) -> None:
    test = pb.TestAlertRequest(company_id=COMPANY, channel="ops")
    for company in (COMPANY, "other"):
        await create(stub, company=company, webhook_url=receiver.url)
    for _ in range(TESTS):
        assert (await stub.TestAlert(test)).delivered
    refusal = await refused(stub.TestAlert(test))
    assert (refusal.reason, refusal.metadata) == ("LIMIT_REACHED", {"limit": "alert_tests"})
    assert refusal.retry_seconds == TEST_SECONDS
    assert len(receiver.received) == TESTS
    assert (await stub.TestAlert(pb.TestAlertRequest(company_id="other", channel="ops"))).delivered


async def test_a_company_has_so_many_channels_and_no_more(stub: Any) -> None:
    for number in range(MOST_CHANNELS):
        await create(stub, f"ops-{number}")
    refusal = await refused(create(stub))
    assert (refusal.reason, refusal.metadata) == ("ALERT_CHANNELS_FULL", {"most": "20"})
    assert (await refused(create(stub, "ops-0"))).reason == "ALERT_CHANNEL_EXISTS"
    await create(stub, company="other")
    await stub.DeleteAlertChannel(pb.DeleteAlertChannelRequest(company_id=COMPANY, channel="ops-7"))
    await create(stub)


async def test_a_secret_of_another_key_is_said(stub: Any, connection: Connection, receiver: Receiver) -> None:
    await create(stub, webhook_url=receiver.url)
    await connection.execute("UPDATE hookline.alert_channels SET secret = 'x'")
    tested = await stub.TestAlert(pb.TestAlertRequest(company_id=COMPANY, channel="ops"))
    assert (tested.delivered, "HOOKLINE_SECRET_KEY" in tested.problem, receiver.received) == (False, True, [])


async def test_by_command(sync: Syncing, receiver: Receiver, connection: Connection) -> None:
    def run(*arguments: str) -> Result:
        environment = {"HOOKLINE_COMPANY": COMPANY, "HOOKLINE_SYNC_ADDRESS": sync.address}
        return CliRunner().invoke(cli, ["alerts", *arguments], env=environment)

    async def hookline(*arguments: str) -> Result:
        return await asyncio.to_thread(run, *arguments)

    added = await hookline("channel", "add", "ops", "--webhook", receiver.url)
    assert (await hookline("channel", "add", "ops", "--webhook", receiver.url)).exit_code == 3
    assert (await hookline("test", "ops")).exit_code == 0
    receiver.received[0].verified(added.stdout.strip())
    receiver.answers = [503]
    failed = await hookline("test", "ops")
    assert (failed.exit_code, failed.output) == (
        14,
        "ops did not accept the test: The receiver answers with 503.\n",
    )
    await make_source(connection)
    await end_run(connection, State.FAILED)
    [alert] = [json.loads(line) for line in (await hookline("list", "--open", "--json")).stdout.splitlines()]
    assert (alert["kind"], alert["source"], alert["deliveries"][0]["channel"]) == ("run_failed", SOURCE, "ops")
    assert (await hookline("channel", "remove", "ops")).exit_code == 0
    assert (await hookline("test", "ops")).exit_code == 4


async def test_the_receiver_of_the_documentation(stub: Any) -> None:
    address = free_address()
    secret = (await create(stub, webhook_url=f"http://{address}/")).secret
    [code] = re.findall(r"^```python\n(.*?)^```$", DOCUMENTATION.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    environment = {**os.environ, "HOOKLINE_ALERT_SECRET": secret, "PORT": address.rpartition(":")[2]}
    receiver = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, env=environment, stdout=PIPE, stderr=DEVNULL
    )
    assert receiver.stdout
    try:

        async def is_up() -> bool:
            async with aiohttp.ClientSession() as visitor:
                try:
                    async with visitor.get(f"http://{address}/"):
                        return True
                except aiohttp.ClientConnectionError:
                    return False

        await eventually(is_up, what="it is up")
        assert (await stub.TestAlert(pb.TestAlertRequest(company_id=COMPANY, channel="ops"))).delivered
        assert await receiver.stdout.readline() == b"hookline.alert.test This is a test: nothing is wrong.\n"
        async with aiohttp.ClientSession() as stranger, stranger.post(f"http://{address}/", data=b"{}") as answer:
            assert answer.status == 400
    finally:
        receiver.kill()
        await receiver.communicate()


@pytest.mark.parametrize("by", ["sync service", "scheduler"])
async def test_each_process_tells(
    by: str, database_url: str, connection: Connection, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerting, "ROUND_SECONDS", 0.02)
    monkeypatch.setattr(alerting, "WATCH_SECONDS", 0.02)
    await make_source(connection)
    await make_webhook(connection, receiver.url)
    settings: dict[str, Any] = {"redis_url": NOWHERE, "allow_loopback_sources": True, "sync_overdue_seconds": 0.01}
    if by == "sync service":
        await schedule(connection, LONG_AGO)
        running: Any = syncing(database_url, **settings)
    else:
        await end_run(connection, State.FAILED)
        told = Settings(database_url=database_url, secret_key=SECRET_KEY, **settings)
        running = process(scheduler_main, told)
    async with running:
        await eventually(lambda: receiver.received, what="it is told")
    kind = receiver.received[0].verified(SECRET)["data"]["kind"]
    assert kind == (Kind.SCHEDULE_OVERDUE if by == "sync service" else Kind.RUN_FAILED)


@pytest.mark.parametrize("main", [scheduler_main, sync_main], ids=["scheduler", "sync service"])
async def test_a_wrong_mail_server_is_said_at_start(database_url: str, main: Main) -> None:
    told = Settings(
        database_url=database_url,
        redis_url=NOWHERE,
        secret_key=SECRET_KEY,
        sync_address=free_address(),
        smtp_url="smtp://hush@",
        smtp_from="a@b.c",
    )
    with pytest.raises(OperatorError, match="HOOKLINE_SMTP_URL is wrong"):
        await main(told, asyncio.Event())


def test_a_channels_secret_is_not_shown_by_accident() -> None:
    fields = pb.AlertChannel.DESCRIPTOR.fields_by_name
    assert "secret" not in fields
    assert "secret" in Channel.__struct_fields__
