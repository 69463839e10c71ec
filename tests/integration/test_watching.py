"""The live tail: every event once, in order, from any point on, over reconnects and stops."""

import asyncio
from typing import Any

import grpc
import pytest

from hookline.events.v1.events_pb2 import PROCESSING_STATUS_FAILED, EventFilter
from hookline.export.v1 import event_query_service_pb2 as pb
from services.export import watching
from tests.in_process import Exporting, Ingesting, exporting
from tests.refusals import refused
from tests.samples import grapfy, send


async def fill(ingest: Ingesting, start: int, count: int, company: str = "acme") -> None:
    events = [
        grapfy(number, eventType=("pix_created", "order_approved")[number % 2])
        for number in range(start, start + count)
    ]
    await send(ingest.stub, company, events)


async def watched(export: Exporting, upto: int, **request: Any) -> list[int]:
    """The sequences that come until everything up to `upto` has been given."""
    sequences: list[int] = []
    stream = export.query.WatchEvents(pb.WatchEventsRequest(company_id="acme", **request))
    async for message in stream:
        sequences += [event.sequence for event in message.events]
        if message.last_sequence >= upto:
            break
    stream.cancel()
    return sequences


async def test_events_come_as_they_are_stored_each_once(ingest: Ingesting, export: Exporting) -> None:
    await fill(ingest, 0, 30)
    watchers = [asyncio.create_task(watched(export, 130, after_sequence=after)) for after in (0, 10, 30)]
    for start in range(30, 130, 20):
        await asyncio.gather(fill(ingest, start, 20), fill(ingest, start, 20, "bolt"))
    assert await asyncio.gather(*watchers) == [list(range(after + 1, 131)) for after in (0, 10, 30)]
    only = await watched(export, 130, after_sequence=100, filter=EventFilter(types=["pix_created"]))
    assert len(only) == 15


async def test_from_now_on(ingest: Ingesting, export: Exporting) -> None:
    await fill(ingest, 0, 5)
    stream = export.query.WatchEvents(
        pb.WatchEventsRequest(company_id="acme", after_sequence=-1, view=pb.EVENT_VIEW_FULL)
    )
    messages = aiter(stream)
    assert (await anext(messages)).last_sequence == 5
    await fill(ingest, 5, 1)
    message = await anext(messages)
    assert [event.sequence for event in message.events] == [6]
    assert b'"eventId": "5"' in message.events[0].payload or b'"eventId": 5' in message.events[0].payload
    stream.cancel()


async def test_reconnecting_anywhere_leaves_no_gap_and_repeats_nothing(ingest: Ingesting, export: Exporting) -> None:
    storing = asyncio.create_task(_fill_slowly(ingest))
    at, sequences = 0, []
    while at < 400:
        stream = export.query.WatchEvents(pb.WatchEventsRequest(company_id="acme", after_sequence=at))
        messages = 0
        async for message in stream:
            sequences += [event.sequence for event in message.events]
            at = message.last_sequence
            messages += 1
            if messages == 3 or at >= 400:
                break
        stream.cancel()
    await storing
    assert sequences == list(range(1, 401))


async def _fill_slowly(ingest: Ingesting) -> None:
    for start in range(0, 400, 8):
        await fill(ingest, start, 8)


async def test_a_watcher_without_news_hears_a_sign_of_life(
    ingest: Ingesting, export: Exporting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LIFE_SECONDS", 0.3)
    await fill(ingest, 0, 3)
    messages = aiter(export.query.WatchEvents(pb.WatchEventsRequest(company_id="acme", after_sequence=3)))
    heard = [await anext(messages) for _ in range(3)]
    assert heard == [pb.WatchEventsResponse(last_sequence=3)] * 3


async def test_a_deadline_ends_it(ingest: Ingesting, export: Exporting) -> None:
    await fill(ingest, 0, 3)
    stream = export.query.WatchEvents(pb.WatchEventsRequest(company_id="acme", after_sequence=0), timeout=2)
    messages = aiter(stream)
    await anext(messages)
    with pytest.raises(grpc.aio.AioRpcError):
        async for _ in messages:
            pass
    assert await stream.code() == grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_stopping_server_says_so_at_once(database_url: str) -> None:
    async with exporting(database_url, drain_seconds=30) as export:
        stream = export.query.WatchEvents(pb.WatchEventsRequest(company_id="acme"))
        messages = aiter(stream)
        await anext(messages)
        export.stopping.set()
        refusal = await refused(messages)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_STOPPING")


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"after_sequence": 1}, "OUT_OF_RANGE"),
        ({"after_sequence": -2}, "INVALID_ARGUMENT"),
        ({"view": 9}, "INVALID_ARGUMENT"),
        ({"filter": EventFilter(statuses=[PROCESSING_STATUS_FAILED])}, "INVALID_ARGUMENT"),
    ],
)
async def test_what_makes_no_sense_is_refused(export: Exporting, wrong: dict[str, Any], code: str) -> None:
    request = pb.WatchEventsRequest(**{"company_id": "acme", **wrong})
    assert (await refused(export.query.WatchEvents(request))).code.name == code
