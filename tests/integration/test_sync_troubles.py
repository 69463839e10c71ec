"""What a source may do that no retry mends: each run ends by itself, in a state that is true, with a line in its log
that a person understands, and with an alert that is delivered."""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from hookline.ingest.v1.ingest_service_pb2 import PutPlatformMappingRequest
from hookline.sync.v1 import alert_service_pb2 as alert_pb
from hookline.sync.v1 import sync_service_pb2 as pb
from hookline.sync.v1.alert_service_pb2_grpc import AlertServiceStub
from services.sandbox.faults import Fault, Faults, Lie
from services.sandbox.shop import TOKEN, SandboxShop
from services.suite.samples import grapfy_payloads
from services.sync import alerting, reaper
from services.sync.connectors.backoff import ATTEMPTS
from services.sync.runner import FAILURES
from services.sync.scheduler import main as scheduler_main
from services.sync.worker import main as worker_main
from shared import db
from shared.db import Connection
from shared.settings import Settings
from tests.alert_receivers import Received, Receiver, webhook_receiver
from tests.in_process import SECRET_KEY, Ingesting, ingesting
from tests.shop_sources import SHOP_SOURCES, ShopSource
from tests.sync_in_process import SOURCE, Syncing, create_source, process, run_ended, syncing, trigger, valkey
from tests.waiting import eventually

if TYPE_CHECKING:
    from hookline.sync.v1.alert_service_pb2_grpc import AlertServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="module")

FOR_EVER = 10**6
SECRETS = re.compile(TOKEN + "|hush|cliente|@example")
FORMS_THAT_SAY_HOW_MANY = ("shopify", "hotmart", "pages", "offsets")


@dataclass(frozen=True)
class Everything:
    """All that a run takes, and someone who is told of alerts."""

    ingest: Ingesting
    sync: Syncing
    alerts: "AlertServiceAsyncStub"
    receiver: Receiver
    connection: Connection
    companies: "itertools.count[int]" = field(default_factory=itertools.count)


@dataclass(frozen=True)
class Ended:
    """A run that has ended, and what was told of it."""

    run: pb.SyncRun
    log: list[pb.SyncRunLogEntry]
    alerts: list[alert_pb.Alert]
    received: list[Any]

    def check(self, state: str, said: str, *kinds: str) -> None:
        """That it ended in that state, says so in words that match `said`, and that those alerts have come."""
        run = self.run
        assert pb.SyncRunState.Name(run.state) == f"SYNC_RUN_STATE_{state}", (run, self.log)
        assert re.search(said, run.error), run.error
        last = self.log[-1]
        assert (last.code, last.level) == ("RUN_ENDED", pb.LOG_LEVEL_ERROR if state == "FAILED" else last.level)
        assert run.error.rstrip(".") in last.message
        for text in (run.error, *(entry.message for entry in self.log), *(alert.message for alert in self.alerts)):
            assert not SECRETS.search(text), text
            # A sentence, or more.
            assert text[0].isupper(), text
            assert text.endswith("."), text
        assert {alert_pb.AlertKind.Name(alert.kind) for alert in self.alerts} == {
            f"ALERT_KIND_{kind}" for kind in kinds
        }
        assert all(not alert.HasField("resolve_time") for alert in self.alerts)
        assert {told["data"]["kind"] for told in self.received} == {kind.lower() for kind in kinds}
        for told in self.received:
            assert told["type"] == "hookline.alert.opened"
            assert told["data"]["run_id"] == run.run_id
            assert not SECRETS.search(str(told))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def everything(module_database_url: str) -> AsyncIterator[Everything]:
    with pytest.MonkeyPatch.context() as patch:
        # So that what takes minutes of waiting takes none.
        patch.setattr(reaper, "ROUND_SECONDS", 0.05)
        patch.setattr(alerting, "ROUND_SECONDS", 0.05)
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(valkey())
            ingest = await stack.enter_async_context(ingesting(module_database_url))
            settings: dict[str, Any] = {
                "sync_lease": 5,
                "sync_retry_seconds": 0.0005,
                "sync_silence_seconds": 0.3,
                "alert_retry_seconds": 0.05,
            }
            sync = await stack.enter_async_context(syncing(module_database_url, server.url, **settings))
            told = Settings(
                database_url=module_database_url,
                redis_url=server.url,
                secret_key=SECRET_KEY,
                ingest_address=ingest.address,
                allow_loopback_sources=True,
                **settings,
            )
            await stack.enter_async_context(process(worker_main, told))
            await stack.enter_async_context(process(scheduler_main, told))
            receiver = await stack.enter_async_context(webhook_receiver())
            pool = await stack.enter_async_context(await db.open_pool(module_database_url, 1, application_name="test"))
            connection = await stack.enter_async_context(pool.acquire())
            yield Everything(ingest, sync, AlertServiceStub(sync.channel), receiver, connection)


async def pulled(
    everything: Everything,
    form: ShopSource,
    faults: Faults,
    events: int = 450,
    failures: int = 0,
    **shop: Any,
) -> Ended:
    """Has a run of a shop's whole history end, of a company of its own."""
    company = f"company-{next(everything.companies)}"
    stub, secret = everything.sync.stub, await _channel(everything, company)
    if form.mapping:
        put = PutPlatformMappingRequest(company_id=company, mapping=form.mapping)
        await everything.ingest.stub.PutPlatformMapping(put)
    async with SandboxShop(grapfy_payloads(events), events=events, faults=faults, **shop) as made:
        await create_source(
            stub,
            made.url,
            company,
            platform=form.platform,
            credential=form.credential,
            parameters=form.parameters,
        )
        run = await trigger(stub, company_id=company)
        if failures:
            # As if it had failed so often before, each time for some seconds.
            await everything.connection.execute(
                "UPDATE hookline.sync_runs SET failures = $2 WHERE company_id = $1", company, failures
            )
        run = await run_ended(stub, run)
    log = (await stub.ListSyncRunLog(pb.ListSyncRunLogRequest(company_id=company, run_id=run.run_id))).entries
    alerts = (await everything.alerts.ListAlerts(alert_pb.ListAlertsRequest(company_id=company))).alerts
    received = await _received(everything, company, secret, len(alerts))
    return Ended(run, list(log), list(alerts), received)


async def _channel(everything: Everything, company: str) -> str:
    request = alert_pb.CreateAlertChannelRequest(
        company_id=company, channel="ops", webhook_url=f"{everything.receiver.url}&company={company}"
    )
    return (await everything.alerts.CreateAlertChannel(request)).secret


async def _received(everything: Everything, company: str, secret: str, count: int) -> list[Any]:
    def of_company() -> list[Received]:
        return [one for one in everything.receiver.received if f'"{company}"'.encode() in one.body]

    await eventually(lambda: len(of_company()) >= count, what=f"{count} webhooks have come")
    return [one.verified(secret) for one in of_company()]


@pytest.mark.parametrize("form", SHOP_SOURCES)
async def test_a_wrong_password(everything: Everything, form: str) -> None:
    source = SHOP_SOURCES[form]
    name, colon, _ = source.credential.rpartition(":")
    ended = await pulled(everything, replace(source, credential=f"{name}{colon}hush"), Faults())
    ended.check("FAILED", "refuses the credential", "RUN_FAILED")
    assert ended.run.attempt == 1
    assert ended.run.counts.pages == 0


@pytest.mark.parametrize("form", SHOP_SOURCES)
async def test_an_error_where_a_page_should_be(everything: Everything, form: str) -> None:
    faults = Faults(fraction=1, kinds=(Fault.ERROR_BODY,), times=FOR_EVER)
    ended = await pulled(everything, SHOP_SOURCES[form], faults)
    ended.check("FAILED", "error", "RUN_FAILED")
    assert ended.run.attempt == 1


async def test_a_server_that_never_answers(everything: Everything) -> None:
    faults = Faults(fraction=1, kinds=(Fault.HUNG,), times=FOR_EVER)
    ended = await pulled(everything, SHOP_SOURCES["grapfy"], faults, failures=FAILURES - 2)
    ended.check("FAILED", "did not answer in time", "RUN_FAILED")
    assert ended.run.attempt == 2
    codes = [entry.code for entry in ended.log]
    assert codes.count("ATTEMPT_FAILED") == 1
    assert codes.count("PAGE_RETRIED") == ended.run.counts.retries == 2 * (ATTEMPTS - 1)


@pytest.mark.parametrize("lie", [Lie.CIRCLE, Lie.SAME])
@pytest.mark.parametrize("form", SHOP_SOURCES)
async def test_pages_that_lead_nowhere(everything: Everything, form: str, lie: Lie) -> None:
    # All of one day: a window has many pages.
    async with asyncio.timeout(20):
        ended = await pulled(everything, SHOP_SOURCES[form], Faults(lie=lie), events=1200, span=timedelta(hours=12))
    if form in FORMS_THAT_SAY_HOW_MANY and ended.run.state == pb.SYNC_RUN_STATE_INCOMPLETE:
        ended.check("INCOMPLETE", "1,200", "GAP_FOUND")
    else:
        ended.check(
            "FAILED", "lead in a circle|anything new|nothing new|does not begin at the time asked for", "RUN_FAILED"
        )
    assert ended.run.attempt == 1


@pytest.mark.parametrize("form", FORMS_THAT_SAY_HOW_MANY)
async def test_a_source_that_says_it_has_more_than_it_gives(everything: Everything, form: str) -> None:
    ended = await pulled(everything, SHOP_SOURCES[form], Faults(lie=Lie.SAYS_MORE))
    ended.check("INCOMPLETE", "says", "GAP_FOUND")
    told = ended.run.reconciliation
    assert told.said > told.listed == told.stored == ended.run.counts.accepted == 450
    # Each window was read a second time, in case that something came in between.
    assert "PAGE_REPEATED" in [entry.code for entry in ended.log]


@pytest.mark.parametrize("form", ["stripe", "shopify", "hotmart"])
async def test_a_source_that_says_there_is_more_and_gives_nothing(everything: Everything, form: str) -> None:
    ended = await pulled(everything, SHOP_SOURCES[form], Faults(lie=Lie.MORE_OF_NOTHING))
    if ended.run.state == pb.SYNC_RUN_STATE_INCOMPLETE:
        ended.check("INCOMPLETE", "more", "GAP_FOUND")
        assert ended.run.counts.accepted == 450
    else:
        ended.check("FAILED", "lead in a circle", "RUN_FAILED")


async def test_the_alert_is_over_when_the_source_is_mended(everything: Everything) -> None:
    company, form = f"company-{next(everything.companies)}", SHOP_SOURCES["grapfy"]
    stub, secret = everything.sync.stub, await _channel(everything, company)
    async with SandboxShop(grapfy_payloads(100), events=100) as shop:
        await create_source(
            stub, shop.url, company, platform=form.platform, credential="hush", parameters=form.parameters
        )
        await run_ended(stub, await trigger(stub, company_id=company))
        await _received(everything, company, secret, 1)
        update = pb.UpdateSourceRequest(company_id=company, source=SOURCE, credential=TOKEN)
        update.update_mask.paths.append("credential")
        await stub.UpdateSource(update)
        run = await run_ended(stub, await trigger(stub, company_id=company))
        assert run.counts.accepted == 100
    received = await _received(everything, company, secret, 2)
    assert [told["type"] for told in received] == ["hookline.alert.opened", "hookline.alert.resolved"]
    assert len({told["data"]["alert_id"] for told in received}) == 1


async def test_an_access_token_that_runs_out_in_the_middle_is_no_trouble(everything: Everything) -> None:
    company, form = f"company-{next(everything.companies)}", SHOP_SOURCES["hotmart"]
    stub = everything.sync.stub
    put = PutPlatformMappingRequest(company_id=company, mapping=form.mapping or "")
    await everything.ingest.stub.PutPlatformMapping(put)
    async with SandboxShop(grapfy_payloads(200), events=200) as shop:
        shop.gate(3)
        await create_source(
            stub, shop.url, company, platform=form.platform, credential=form.credential, parameters=form.parameters
        )
        run = await trigger(stub, company_id=company)
        await eventually(lambda: shop.served.held, what="a request is held")
        shop.revoke()
        shop.release()
        run = await run_ended(stub, run)
        assert run.state == pb.SYNC_RUN_STATE_SUCCEEDED, run
        assert run.counts.accepted == 200
        assert (shop.served.tokens, shop.served.outcomes["401"]) == (2, 1)


@pytest.mark.parametrize("form", SHOP_SOURCES)
async def test_what_is_listed_in_the_middle_of_a_window_is_found(everything: Everything, form: str) -> None:
    company, source, events = f"company-{next(everything.companies)}", SHOP_SOURCES[form], 1200
    stub = everything.sync.stub
    if source.mapping:
        put = PutPlatformMappingRequest(company_id=company, mapping=source.mapping)
        await everything.ingest.stub.PutPlatformMapping(put)
    # All of one day, so that a window has many pages.
    async with SandboxShop(grapfy_payloads(events), events=events, late=0.1, span=timedelta(hours=12)) as shop:
        await create_source(
            stub,
            shop.url,
            company,
            platform=source.platform,
            credential=source.credential,
            parameters=source.parameters,
        )
        shop.gate(33 if form != "grapfy" else 3)
        run = await trigger(stub, company_id=company)
        await eventually(lambda: shop.served.held, what="a request is held")
        assert 0 < shop.served.events < events * 0.9
        assert shop.publish() == events * 0.1
        shop.release()
        first = await run_ended(stub, run)
        assert first.state == pb.SYNC_RUN_STATE_SUCCEEDED, first
        if form in ("hotmart", "pages", "offsets"):
            # Each page says how many there are: the window is found to lack something, and read again.
            assert first.counts.accepted == first.reconciliation.listed == events
        second = await run_ended(stub, await trigger(stub, company_id=company))
        assert first.counts.accepted + second.counts.accepted == second.reconciliation.listed == events
