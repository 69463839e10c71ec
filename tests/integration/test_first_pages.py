"""First pages of lists come from a cache where there is one: the same answers, only sooner."""

import random
from pathlib import Path
from typing import Any

import redis.asyncio

from hookline.events.v1 import events_pb2
from hookline.events.v1.events_pb2 import EventFilter
from hookline.export.v1 import event_query_service_pb2 as pb
from hookline.ingest.v1.ingest_service_pb2 import MarkEventsRequest
from services.export.cache import PREFIX
from services.suite.embedded_valkey import EmbeddedValkey
from tests.in_process import Exporting, Ingesting, exporting
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


async def test_with_a_cache_and_without_lists_are_the_same(
    ingest: Ingesting, database_url: str, tmp_path: Path
) -> None:
    rng = random.Random(5)
    valkey = EmbeddedValkey(tmp_path)
    await valkey.start()
    try:
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
    finally:
        await valkey.stop()


async def _listed(export: Exporting, **request: Any) -> pb.ListEventsResponse:
    return await export.query.ListEvents(pb.ListEventsRequest(**{"company_id": "acme", **request}))


async def _check_kept(valkey: EmbeddedValkey) -> None:
    async with redis.asyncio.from_url(valkey.url) as client:
        keys = [key async for key in client.scan_iter(f"{PREFIX}*")]
        assert len(keys) > 20, "pages are kept"
        for key in keys:
            assert await client.ttl(key) > 0, "for a while"
            value = await client.get(key)
            assert isinstance(value, bytes)
            assert b"eventType" not in value, "without payloads"
