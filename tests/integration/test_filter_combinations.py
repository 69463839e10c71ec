"""Filters in any combination: lists, exports and summaries have the events that a plain look at each of them finds."""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.events.v1 import events_pb2
from hookline.events.v1.events_pb2 import Event, EventFilter
from hookline.export.v1 import event_query_service_pb2 as pb
from hookline.ingest.v1.ingest_service_pb2 import MarkEventsRequest
from services.export import listing, search, summaries
from tests.exports import NDJSON, exact, exported
from tests.in_process import Exporting, Ingesting
from tests.samples import grapfy, incoming, send

OLDEST, NEWEST = events_pb2.EVENT_ORDER_OLDEST_FIRST, events_pb2.EVENT_ORDER_NEWEST_FIRST
EVENTS = 120
TYPES = ["pix_created", "order_approved", "lead_created"]
CUSTOMERS = ["Ana Silva", "Ana Souza", "Bia Lima", "Silvana Reis", None]
PRODUCTS = ["Curso Violao", "Livro Silva", None]
STATUSES = [events_pb2.ProcessingStatus.Value(f"PROCESSING_STATUS_{one}") for one in ("PENDING", "PROCESSED", "FAILED")]


def made(number: int) -> dict[str, Any]:
    return {
        "eventType": TYPES[number % 3 if number % 11 else 0],
        "customer": {"name": CUSTOMERS[number * 7 % 5]},
        "product": {"name": PRODUCTS[number // 2 % 3]},
        "total": None if number % 6 == 5 else f"{number % 40}.{number % 4}0",
        "currency": ("BRL", "USD")[number // 3 % 2],
        "tags": ["a", "b", "c"][: number % 4],
        # Not in the log's order, and some at the same time.
        "createdAt": f"2026-10-01T{number * 37 % 24:02}:{number % 7 * 5:02}:00Z",
    }


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way is gone, and every bound met, on a log of a few events."""
    for module, name, most in (
        (search, "FIRST", 10),
        (search, "MAX_WALK", 30),
        (search, "MAX_LOOK", 12),
        (search, "MAX_LOOKS", 20),
        (listing, "MAX_SPAN", 25),
        (listing, "MAX_OCCURRED", 15),
        (listing, "MAX_INDEXED", 10),
        (search, "MAX_INDEXED", 10),
        (summaries, "SPAN", 30),
    ):
        monkeypatch.setattr(module, name, most)


@pytest.fixture
async def stored(ingest: Ingesting, export: Exporting) -> Sequence[Event]:
    """Events in the log's order, as they are read without a filter."""
    for start in range(0, EVENTS, 8):
        events = [
            incoming(grapfy(number, **made(number)), "grapfy", f"shop_{number % 2}")
            if number % 5
            else incoming(generic(number), "generic", f"shop_{number % 2}")
            for number in range(start, start + 8)
        ]
        results = await send(ingest.stub, "acme", events)
        marks = [
            MarkEventsRequest.Mark(event_id=result.event_id, status=STATUSES[1 + place % 2])
            for place, result in enumerate(results)
            if place % 3
        ]
        await ingest.stub.MarkEvents(MarkEventsRequest(company_id="acme", marks=marks))
    request = pb.ListEventsRequest(company_id="acme", order=OLDEST, page_size=1000, view=pb.EVENT_VIEW_FULL)
    page = await export.query.ListEvents(request)
    events_read = list(page.events)
    while page.next_page_token:
        request.page_token = page.next_page_token
        page = await export.query.ListEvents(request)
        events_read += page.events
    assert [event.sequence for event in events_read] == list(range(1, EVENTS + 1))
    assert len({event.platform for event in events_read}) == 2
    return events_read


def generic(number: int) -> bytes:
    event = made(number)
    event["type"] = event.pop("eventType")
    return json.dumps(
        {"id": str(number), **{name: value for name, value in event.items() if value is not None}}
    ).encode()


def some(values: Sequence[Any]) -> st.SearchStrategy[Any]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True)


def filters(events: Sequence[Event]) -> st.SearchStrategy[EventFilter]:
    """Any of the parts, most of which some events match."""
    event = st.sampled_from(events)
    words = st.sampled_from(["ana", "Silva", "sil", "ANA si", "souza an", "reis", "nobody", "Violao"])
    ends = {
        "occurred_start_time": event.map(lambda one: one.occurred_time),
        "occurred_end_time": event.map(lambda one: one.occurred_time),
        "received_start_time": event.map(lambda one: one.received_time),
        "received_end_time": event.map(lambda one: one.received_time),
    }
    parts: dict[str, st.SearchStrategy[Any]] = {
        "types": some([*TYPES, "no_such_type"]),
        "sources": some(["shop_0", "shop_1", "no_such_shop"]),
        "platforms": some(["grapfy", "generic"]),
        "statuses": some(STATUSES),
        **ends,
        "customer": words,
        "min_total": st.sampled_from(["0", "7.5", "20"]),
        "max_total": st.sampled_from(["20", "31.30"]),
        "currency": st.sampled_from(["BRL", "usd"]),
        "payload_contains": st.sampled_from(
            ['{"tags": ["b"]}', '{"tags": ["c", "a"]}', '{"customer": {"name": "Ana Silva"}}', '{"currency": "USD"}']
        ),
        "text": words | event.map(lambda one: one.event_id) | event.map(lambda one: one.dedup_key),
    }
    return (
        # Few parts as often as many.
        st.lists(st.sampled_from(sorted(parts)), max_size=5, unique=True)
        .flatmap(lambda names: st.fixed_dictionaries({name: parts[name] for name in names}))
        .filter(_makes_sense)
        .map(lambda chosen: EventFilter(**chosen))
    )


def _makes_sense(chosen: Mapping[str, Any]) -> bool:
    for kind in ("occurred", "received"):
        start, end = (chosen.get(f"{kind}_{side}_time") for side in ("start", "end"))
        if start and end and start.ToNanoseconds() >= end.ToNanoseconds():
            return False
    return True


def matches(event: Event, which: EventFilter) -> bool:
    """The filter's parts, one by one, as the contract words them."""
    total = Decimal(event.total.amount) if event.HasField("total") else None
    names = f"{event.customer_name} {event.product_name}"
    return (
        (not which.types or event.type in which.types)
        and (not which.sources or event.source in which.sources)
        and (not which.platforms or event.platform in which.platforms)
        and (not which.statuses or event.status in which.statuses)
        and all(
            not which.HasField(f"{kind}_start_time")  # type: ignore[arg-type]  # put together
            or getattr(event, f"{kind}_time").ToNanoseconds() >= getattr(which, f"{kind}_start_time").ToNanoseconds()
            for kind in ("occurred", "received")
        )
        and all(
            not which.HasField(f"{kind}_end_time")  # type: ignore[arg-type]  # put together
            or getattr(event, f"{kind}_time").ToNanoseconds() < getattr(which, f"{kind}_end_time").ToNanoseconds()
            for kind in ("occurred", "received")
        )
        and (not which.min_total or (total is not None and total >= Decimal(which.min_total)))
        and (not which.max_total or (total is not None and total <= Decimal(which.max_total)))
        and (not which.currency or event.total.currency == which.currency.upper())
        and (not which.customer or _has_words(event.customer_name, which.customer))
        and (not which.payload_contains or _contains(exact(event.payload), exact(which.payload_contains)))
        and (not which.text or which.text in (event.event_id, event.dedup_key) or _has_words(names, which.text))
    )


def _has_words(name: str, typed: str) -> bool:
    words, (*whole, begun) = name.lower().split(), typed.lower().split()
    return set(whole) <= set(words) and any(word.startswith(begun) for word in words)


def _contains(value: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(value, dict) and all(name in value and _contains(value[name], part[name]) for name in part)
    if isinstance(part, list):
        return isinstance(value, list) and all(any(_contains(item, one) for item in value) for one in part)
    return bool(value == part)


@settings(max_examples=80)
@given(data=st.data())
async def test_any_filter_lets_through_what_matches(
    stored: Sequence[Event], export: Exporting, data: st.DataObject
) -> None:
    which = data.draw(filters(stored))
    expected = [event.sequence for event in stored if matches(event, which)]
    order = data.draw(st.sampled_from([OLDEST, NEWEST]))
    ordered = expected if order == OLDEST else expected[::-1]
    request = pb.ListEventsRequest(
        company_id="acme", filter=which, order=order, page_size=data.draw(st.sampled_from([1, 3, 20, 200]))
    )
    listed = []
    while True:
        page = await export.query.ListEvents(request)
        listed += [event.sequence for event in page.events]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert listed == ordered
    ids = [stored[sequence - 1].event_id for sequence in ordered]
    limit = data.draw(st.sampled_from([0, 1, 10, 200]))
    file = await exported(export.export, "acme", NDJSON, filter=which, order=order, limit=limit)
    assert [row["event_id"] for row in file.json()] == (ids[:limit] if limit else ids)
    if not which.statuses:
        summed = await export.query.SummarizeEvents(
            pb.SummarizeEventsRequest(company_id="acme", filter=which, group_by=[pb.GROUPING_TYPE])
        )
        assert summed.last_sequence == EVENTS
        for kind in {*TYPES, *(group.type for group in summed.groups)}:
            count = sum(group.count for group in summed.groups if group.type == kind)
            assert count == sum(stored[sequence - 1].type == kind for sequence in expected)
