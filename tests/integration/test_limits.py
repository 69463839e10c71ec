"""One company far beyond its limits is refused; another one beside it never is."""

import asyncio
import time
from typing import Any

import aiohttp
import asyncpg
import grpc
import pytest

from hookline.export.v1 import event_query_service_pb2 as query_pb
from hookline.export.v1 import export_service_pb2 as export_pb
from hookline.ingest.v1 import ingest_service_pb2 as pb
from shared import limits
from shared.db import Connection
from shared.limits import NO_LIMITS, Limits
from tests.hooks import open_endpoint
from tests.in_process import exporting, ingesting
from tests.refusals import Refusal, refusal, refused
from tests.samples import grapfy, incoming, send
from tests.waiting import eventually

# So slow that nothing comes back while a test runs.
FEW: dict[str, Any] = {"limit_requests_per_second": 1e-3, "limit_events_per_second": 5e-3}


async def attempts(calls: list[Any]) -> list[Refusal | None]:
    """Makes calls at once; gives why each was refused, None where it was not."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    found: list[Refusal | None] = []
    for answer in answers:
        if isinstance(answer, grpc.aio.AioRpcError):
            found.append(refusal(answer))
        else:
            assert not isinstance(answer, BaseException), answer
            found.append(None)
    return found


async def test_one_at_20_times_its_limit_is_refused_and_another_is_not(
    database_url: str, connection: Connection
) -> None:
    await limits.put(connection, "flood", Limits(requests_per_second=10))
    async with ingesting(database_url) as ingest:

        def one(company: str, number: int) -> Any:
            event = incoming(grapfy(number))
            return ingest.stub.IngestEvent(pb.IngestEventRequest(company_id=company, event=event))

        began = time.monotonic()
        flood, calm = await asyncio.gather(
            attempts([one("flood", number) for number in range(200)]),
            attempts([one("calm", number) for number in range(200)]),
        )
        seconds = time.monotonic() - began
    assert [each for each in calm if each] == []
    told = [each for each in flood if each]
    assert {(each.code, each.reason) for each in told} == {(grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")}
    assert {each.metadata["limit"] for each in told} == {"requests"}
    assert all(0 < (each.retry_seconds or 0) <= 0.1 for each in told)
    stored = await connection.fetchval("SELECT last_sequence FROM hookline.companies WHERE company_id = 'flood'")
    assert stored == len(flood) - len(told)
    # A second's worth at once, and what has come back since.
    assert 10 <= stored <= 10 + 10 * seconds


async def test_refusals_are_exact(database_url: str, connection: Connection) -> None:
    async with ingesting(database_url, **FEW) as ingest:
        # A request each, and the first one is all that there is for a long time.
        first = await attempts([send(ingest.stub, "acme", [grapfy(number)]) for number in range(20)])
        assert [each is None for each in first].count(True) == 1
        # Whoever has no requests left is not asked about events.
        assert {each.metadata["limit"] for each in first if each} == {"requests"}
        await send(ingest.stub, "bolt", [grapfy(number) for number in range(100)])
    assert await connection.fetchval("SELECT count(*) FROM hookline.events WHERE company_id = 'bolt'") == 100


async def test_events_of_batches_count(database_url: str, connection: Connection) -> None:
    async with ingesting(database_url, limit_events_per_second=1e-3) as ingest:
        await send(ingest.stub, "acme", [grapfy(number) for number in range(100)])
        told = await refused(send(ingest.stub, "acme", [grapfy("one more")]))
        assert (told.reason, told.metadata) == ("LIMIT_REACHED", {"limit": "events"})
        assert told.retry_seconds == pytest.approx(100_000, rel=0.01)
        # What brings no events is not held back.
        await ingest.stub.ListPlatforms(pb.ListPlatformsRequest(company_id="acme"))


async def test_streams_are_held_back_and_not_refused(database_url: str, connection: Connection) -> None:
    async with ingesting(
        database_url, limit_events_per_second=200, limit_requests_per_second=50, limit_bytes_per_second=100_000
    ) as ingest:
        stream = ingest.stub.IngestEventStream()
        began = time.monotonic()
        for number in range(8):
            events = [incoming(grapfy(f"{number}-{n}")) for n in range(40)]
            company = "acme" if number == 0 else ""
            await stream.write(pb.IngestEventStreamRequest(company_id=company, batch_number=number, events=events))
        await stream.done_writing()
        acks = [response async for response in stream]
        seconds = time.monotonic() - began
    # The last batch begins when of the 280 events before it, 200 of which came in at once, less than none is owed.
    assert seconds > 80 / 200
    assert [response.batch_number for response in acks] == list(range(8))
    assert await connection.fetchval("SELECT last_sequence FROM hookline.companies") == 320


async def test_the_door_answers_429_and_when_to_come_again(database_url: str, connection: Connection) -> None:
    companies = ("acme", "bolt", "eve")
    async with ingesting(database_url) as ingest:
        # Before there are limits: making one is a request, too.
        paths = {company: await open_endpoint(ingest.endpoints, company, "shop") for company in companies}
    await limits.put(connection, "acme", Limits(requests_per_second=1e-3))
    await limits.put(connection, "eve", Limits(events_per_second=1e-3))
    statuses = {}
    async with ingesting(database_url) as ingest, aiohttp.ClientSession(ingest.http) as session:
        for company, path in paths.items():
            statuses[company] = [await hooked(session, path, grapfy(number)) for number in range(4)]
    assert statuses == {"acme": [200, 429, 429, 429], "bolt": [200] * 4, "eve": [200, 429, 429, 429]}


async def hooked(session: aiohttp.ClientSession, path: str, payload: bytes) -> int:
    """Sends a webhook; gives the status."""
    async with session.post(path, data=payload) as response:
        answer = await response.json()
        if response.status == 429:
            assert (answer["outcome"], answer["reason"]) == ("unavailable", "limit_reached")
            assert 900 < int(response.headers["Retry-After"]) <= 1000
        return response.status


async def test_exports_at_once(database_url: str) -> None:
    async with ingesting(database_url) as ingest:
        # More than a server sends ahead of a reader that does not read on.
        for number in range(16):
            await send(ingest.stub, "acme", [grapfy(number, filler="x" * 1_000_000)])
        await send(ingest.stub, "bolt", [grapfy(1)])
    async with exporting(database_url, limit_concurrent_exports=2) as export:

        def begin(company: str) -> Any:
            request = export_pb.ExportEventsRequest(
                company_id=company, format=export_pb.EXPORT_FORMAT_NDJSON, columns=["payload"]
            )
            return export.export.ExportEvents(request)

        under_way = [begin("acme"), begin("acme")]
        for each in under_way:
            assert (await anext(aiter(each))).HasField("header")
        told = await refused(begin("acme"))
        assert (told.reason, told.metadata) == ("LIMIT_REACHED", {"limit": "exports"})
        assert told.retry_seconds == limits.EXPORT_RETRY_SECONDS
        assert await drain(begin("bolt")) == 3
        under_way[0].cancel()
        assert await drain(under_way[1]) > 16
        assert await drain(begin("acme")) > 16


async def drain(call: Any) -> int:
    return len([message async for message in call])


async def test_limits_that_change_hold_within_seconds(
    database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "READ_SECONDS", 0.05)
    async with exporting(database_url) as export:
        request = query_pb.ListEventsRequest(company_id="acme")

        async def is_refused() -> bool:
            return bool((await attempts([export.query.ListEvents(request)]))[0])

        assert not await is_refused()
        await limits.put(connection, "acme", Limits(requests_per_second=1e-3))
        await eventually(is_refused, what="the limit holds")
        await limits.put(connection, "acme", NO_LIMITS)

        async def is_taken() -> bool:
            return not await is_refused()

        await eventually(is_taken, what="there is no limit any more")
    assert await connection.fetchval("SELECT count(*) FROM hookline.company_limits") == 0


async def test_a_read_that_fails_is_not_the_last(
    database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "READ_SECONDS", 0.05)
    load, failed = limits.load, asyncio.Event()

    async def watched(one: Connection) -> dict[str, Limits]:
        try:
            return await load(one)
        except asyncpg.UndefinedTableError:
            failed.set()
            raise

    monkeypatch.setattr(limits, "load", watched)
    async with exporting(database_url) as export:
        # Whoever works on the database by hand.
        await connection.execute("ALTER TABLE hookline.company_limits RENAME TO elsewhere")
        async with asyncio.timeout(10):
            await failed.wait()
        await connection.execute("ALTER TABLE hookline.elsewhere RENAME TO company_limits")
        await limits.put(connection, "acme", Limits(requests_per_second=1e-3))
        request = query_pb.ListEventsRequest(company_id="acme")

        async def is_refused() -> bool:
            return bool((await attempts([export.query.ListEvents(request)]))[0])

        await eventually(is_refused, what="the limit holds")
