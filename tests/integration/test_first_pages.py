"""First pages of lists come from a cache where there is one: the same answers, only sooner."""

import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from cryptography.fernet import Fernet

from hookline.events.v1 import events_pb2
from hookline.events.v1.events_pb2 import EventFilter
from hookline.export.v1 import event_query_service_pb2 as pb
from hookline.ingest.v1.ingest_service_pb2 import MarkEventsRequest
from services.export.cache import Cache
from services.suite.embedded_valkey import EmbeddedValkey
from shared.cache_keys import PREFIX
from shared.db import Connection
from tests.in_process import SECRET_KEY, Exporting, Ingesting, exporting
from tests.samples import grapfy, incoming, send

REQUESTS: tuple[dict[str, Any], ...] = (
    {},
    {"page_size": 3},
    {"page_size": 3, "order": events_pb2.EVENT_ORDER_OLDEST_FIRST},
    {"filter": EventFilter(types=["pix_created"])},
    {"filter": EventFilter(statuses=[events_pb2.PROCESSING_STATUS_FAILED])},
    {"filter": EventFilter(types=["no such type"])},
    {"page_size": 3, "view": pb.EVENT_VIEW_FULL},
)


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path)
    await server.start()
    yield server
    await server.destroy()


async def test_with_a_cache_and_without_lists_are_the_same(
    ingest: Ingesting, database_url: str, valkey: EmbeddedValkey
) -> None:
    rng = random.Random(5)
    async with (
        exporting(database_url, redis_url=valkey.url) as cached,
        exporting(database_url) as plain,
    ):
        ids: list[str] = []
        for step in range(5):
            events = [
                incoming(grapfy(len(ids) + number, eventType=rng.choice(["pix_created", "order_approved"])))
                for number in range(5)
            ]
            ids += [result.event_id for result in await send(ingest.stub, "acme", events)]
            for _ in range(3):
                mark = MarkEventsRequest.Mark(
                    event_id=rng.choice(ids), status=events_pb2.PROCESSING_STATUS_FAILED, error="no stock"
                )
                await ingest.stub.MarkEvents(MarkEventsRequest(company_id="acme", marks=[mark]))
                for request in REQUESTS:
                    expected = await _listed(plain, **request)
                    # The second one is from the cache, if there is one.
                    assert [await _listed(cached, **request) for _ in range(2)] == [expected, expected]
                assert await _listed(cached, company_id="bolt") == pb.ListEventsResponse()
            if step == 3:
                await _check_kept(valkey)
                valkey.kill()
                await valkey.wait()


async def test_what_others_put_there_is_not_believed(
    ingest: Ingesting, database_url: str, valkey: EmbeddedValkey
) -> None:
    for company in ("acme", "bolt"):
        await send(ingest.stub, company, [grapfy(number, customer={"name": company}) for number in range(3)])
    async with (
        exporting(database_url, redis_url=valkey.url) as export,
        redis.asyncio.from_url(valkey.url) as client,
    ):
        expected = await _listed(export)
        anothers = await _listed(export, company_id="bolt")
        [key] = [key async for key in client.scan_iter(f"{PREFIX}*:acme:*")]
        [theirs] = [key async for key in client.scan_iter(f"{PREFIX}*:bolt:*")]
        moved = await client.get(theirs)
        assert isinstance(moved, bytes)
        for made in (anothers.SerializeToString(), moved, b"", b"short", bytes(100)):
            await client.set(key, made)
            assert await _listed(export) == expected


async def test_pages_of_another_secret_key_are_not_served(
    ingest: Ingesting, database_url: str, valkey: EmbeddedValkey
) -> None:
    await send(ingest.stub, "acme", [grapfy(number) for number in range(3)])
    for key in (SECRET_KEY, Fernet.generate_key().decode()):
        async with exporting(database_url, redis_url=valkey.url, secret_key=key) as export:
            first = await _listed(export, page_size=2)
            # Its token is signed with the key.
            second = await _listed(export, page_size=2, page_token=first.next_page_token)
            assert (len(first.events), len(second.events)) == (2, 1)


async def test_pages_of_another_log_are_not_served(
    ingest: Ingesting, database_url: str, connection: Connection, valkey: EmbeddedValkey
) -> None:
    async with exporting(database_url, redis_url=valkey.url) as export:
        for log in range(2):
            results = await send(ingest.stub, "acme", [grapfy(f"{log}.{number}") for number in range(3)])
            for _ in range(2):
                ids = [event.event_id for event in (await _listed(export)).events]
                assert ids == [result.event_id for result in reversed(results)]
            # As when PostgreSQL is set up anew, and what keeps the pages is not.
            for table in ("events", "unprocessed", "companies"):
                await connection.execute(f"DELETE FROM hookline.{table}")


async def _listed(export: Exporting, **request: Any) -> pb.ListEventsResponse:
    return await export.query.ListEvents(pb.ListEventsRequest(**{"company_id": "acme", **request}))


async def _check_kept(valkey: EmbeddedValkey) -> None:
    async with (
        redis.asyncio.from_url(valkey.url) as client,
        aclosing(Cache(valkey.url, SECRET_KEY)) as cache,
    ):
        keys = [key async for key in client.scan_iter(f"{PREFIX}*")]
        assert len(keys) > 20, "pages are kept"
        for key in keys:
            assert await client.ttl(key) > 0, "for a while"
            kept = await client.get(key)
            assert isinstance(kept, bytes)
            assert b"pix_created" not in kept, "encrypted"
            value = await cache.get(key.decode().removeprefix(PREFIX))
            assert value is not None
            assert b"eventType" not in value, "without payloads"
