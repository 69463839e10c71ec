"""CheckSource: what it says of a source that works, and of each that does not. It stores nothing."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from hookline.ingest.v1 import ingest_service_pb2 as ingest_pb
from hookline.sync.v1 import sync_service_pb2 as pb
from services.sandbox.faults import Fault, Faults
from services.suite.samples import grapfy_payloads
from services.sync import source_check
from shared.db import Connection
from tests.in_process import exporting, ingesting
from tests.own_mappings import own, put
from tests.sync_in_process import COMPANY, SOURCE, create_source, shop, syncing
from tests.web_servers import failing, hang, web_server

if TYPE_CHECKING:
    from hookline.sync.v1.sync_service_pb2_grpc import SyncServiceAsyncStub


async def check(stub: "SyncServiceAsyncStub", source: str = SOURCE) -> pb.CheckSourceResponse:
    return await stub.CheckSource(pb.CheckSourceRequest(company_id=COMPANY, source=source))


async def test_a_source_is_tried_and_nothing_is_stored(database_url: str, connection: Connection) -> None:
    now = datetime.now(UTC)
    async with (
        ingesting(database_url) as ingest,
        syncing(database_url, ingest_address=ingest.address) as sync,
        shop(50, end=now, span=timedelta(hours=12)) as there,
    ):
        await create_source(sync.stub, there.url)
        await create_source(sync.stub, there.url, source="wrong", credential="another")
        await create_source(sync.stub, "http://127.0.0.1:1", source="away")

        answer = await check(sync.stub)
        assert (answer.ok, answer.problem, answer.events, len(answer.samples)) == (True, "", 50, 10)
        for sample in answer.samples:
            assert sample.item_id
            assert sample.problem == ""
            event = sample.event
            assert (event.platform, event.source, event.payload) == ("grapfy", SOURCE, b"")
            assert (event.event_id, event.sequence, event.HasField("received_time")) == ("", 0, False)
            assert event.type
            assert event.dedup_key
        times = [sample.item_time.ToDatetime(UTC) for sample in answer.samples]
        assert times == sorted(times, reverse=True)
        assert times[0] > now - timedelta(hours=6)
        for name, says in (("wrong", r"refuses the credential (40"), ("away", "can't be reached")):
            answer = await check(sync.stub, name)
            assert (answer.ok, answer.events, len(answer.samples)) == (False, 0, 0)
            assert says in answer.problem
        there.faults = Faults(fraction=1, kinds=(Fault.TRUNCATED,))
        assert not (await check(sync.stub)).ok
        there.faults = Faults()
        assert (await check(sync.stub)).ok
    assert await connection.fetchval("SELECT count(*) FROM hookline.events") == 0
    assert await connection.fetchval("SELECT count(*) FROM hookline.quarantine") == 0
    assert await connection.fetchval("SELECT count(*) FROM hookline.sync_runs") == 0


async def test_a_source_without_anything_of_late_shows_what_is_older(database_url: str) -> None:
    old = datetime.now(UTC) - timedelta(days=7)
    async with syncing(database_url) as sync, shop(5, end=old, span=timedelta(hours=1)) as there:
        await create_source(sync.stub, there.url)
        assert (await check(sync.stub)).events == 5
    async with syncing(database_url) as sync, web_server(web.Response(body=b'{"events":[]}')) as server:
        await create_source(sync.stub, server.url, source="empty")
        assert await check(sync.stub, "empty") == pb.CheckSourceResponse(ok=True)
        assert len(server.requests) == 2


async def test_what_would_not_be_understood_is_told(database_url: str) -> None:
    body = (
        b'{"events":[{"id":"1","createdAt":"2026-10-01T00:00:01Z","payload":{"n":1}},'
        b'{"id":"2","createdAt":"2026-10-01T00:00:02Z","payload":[1]}]}'
    )
    async with (
        web_server(web.Response(body=body)) as server,
        ingesting(database_url) as ingest,
        syncing(database_url, ingest_address=ingest.address) as sync,
    ):
        await create_source(sync.stub, server.url)
        answer = await check(sync.stub)
        assert (answer.ok, answer.events) == (True, 2)
        assert [sample.item_id for sample in answer.samples] == ["2", "1"]
        assert all(sample.problem and not sample.HasField("event") for sample in answer.samples)


async def test_without_ingest_the_platforms_part_is_told_all_the_same(database_url: str) -> None:
    async with (
        syncing(database_url, ingest_address="127.0.0.1:1") as sync,
        shop(3, end=datetime.now(UTC), span=timedelta(hours=1)) as there,
    ):
        await create_source(sync.stub, there.url)
        answer = await check(sync.stub)
        assert (answer.ok, answer.events, len(answer.samples)) == (True, 3, 3)
        assert all(sample.problem.startswith("Ingest can't say what would be made") for sample in answer.samples)


async def test_what_is_wrong_is_said_in_a_sentence(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cases: list[tuple[Any, str]] = [
        (failing(401), "The platform refuses the credential (401)."),
        (failing(404), "The platform answers 404."),
        (failing(302, Location="http://169.254.169.254/"), "The platform answers with a redirect (302), and redirects"),
        (web.Response(body=b'{"error":"no such shop"}'), "The platform answers with an error: no such shop."),
        (web.Response(body=b"<html>"), "The platform's answer is not whole JSON."),
        (web.Response(body=b'{"data":[]}'), "The platform's answer has no 'events'"),
        (hang, "The platform did not answer in time."),
    ]
    async with syncing(database_url) as sync, web_server(*(answer for answer, _ in cases)) as server:
        await create_source(sync.stub, server.url)
        for answer, says in cases:
            if answer is hang:
                monkeypatch.setattr(source_check, "CHECK_SECONDS", 0.2)
            tried = await check(sync.stub)
            assert (tried.ok, tried.events) == (False, 0)
            assert tried.problem.startswith(says)


async def test_an_address_that_is_not_public_is_told(database_url: str) -> None:
    async with syncing(database_url, allow_loopback_sources=False) as sync:
        for number, host in enumerate(("10.0.0.1", "localhost", "169.254.169.254", "[::1]")):
            await create_source(sync.stub, f"https://{host}", source=f"inside-{number}")
            tried = await check(sync.stub, f"inside-{number}")
            assert not tried.ok
            assert tried.problem.endswith("leads to an address that is not public.")


async def test_a_mapping_of_the_companys_own_is_read_as_it_says(database_url: str, connection: Connection) -> None:
    rows = web.Response(body=b'{"rows":[{"id":7,"kind":"sold"}]}')
    async with (
        web_server(rows) as server,
        ingesting(database_url) as ingest,
        syncing(database_url, ingest_address=ingest.address) as sync,
    ):
        await put(connection, own())
        await create_source(sync.stub, server.url, platform="own", parameters={"shop": "1", "lang": "pt"})
        answer = await check(sync.stub)
        assert (answer.ok, answer.events) == (True, 1)
        [sample] = answer.samples
        assert (sample.item_id, sample.HasField("item_time"), sample.event.type) == ("7", False, "sold")
        assert (server.requests[0].path, dict(server.requests[0].query)) == (
            "/log",
            {"shop": "1", "lang": "pt", "p": "1"},
        )
        # What the source was told before no longer fits, or there is no such mapping any more.
        await put(connection, own().replace('"shop"', '"store"'))
        assert (await check(sync.stub)).problem == "The source lacks what Our own needs to be told: store."
        await connection.execute("DELETE FROM hookline.platform_mappings")
        assert (await check(sync.stub)).problem == "There is no history of own any more."


async def test_an_own_mapping_without_a_history_leaves_that_of_the_built_in(
    database_url: str, connection: Connection
) -> None:
    async with syncing(database_url) as sync, shop(3, end=datetime.now(UTC), span=timedelta(hours=1)) as there:
        await put(connection, own("grapfy", history=False), "grapfy")
        await create_source(sync.stub, there.url)
        assert (await check(sync.stub)).events == 3


async def test_another_hookline_is_tried_over_grpc(database_url: str) -> None:
    async with (
        ingesting(database_url) as ingest,
        exporting(database_url) as there,
        syncing(database_url, ingest_address=ingest.address) as sync,
    ):
        events = [ingest_pb.IncomingEvent(payload=payload, platform="grapfy") for payload in grapfy_payloads(3)]
        await ingest.stub.IngestEvents(ingest_pb.IngestEventsRequest(company_id="there", events=events))
        about: dict[str, Any] = {"platform": "hookline", "parameters": {"company_id": "there"}}
        await create_source(sync.stub, f"http://{there.address}", **about)
        answer = await check(sync.stub)
        assert (answer.ok, answer.problem, answer.events) == (True, "", 3)
        assert {sample.event.platform for sample in answer.samples} == {"grapfy"}
        await create_source(sync.stub, "http://127.0.0.1:1", source="away", **about)
        assert (await check(sync.stub, "away")).problem.startswith("The other Hookline can't be reached")
