"""Searching and filtering: the pages together are what a plain look at every event gives, however they were found."""

import random
import re
import unicodedata
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from hookline.events.v1.events_pb2 import EVENT_ORDER_OLDEST_FIRST, EventFilter
from hookline.export.v1 import event_query_service_pb2 as pb
from services.export import listing, search
from shared.db import Connection
from tests.exports import NDJSON, exported
from tests.in_process import Exporting, Ingesting
from tests.refusals import refused
from tests.samples import grapfy, incoming, send

NAMES = ["Marina Silva", "Mário da Silva-Souza", "JOÃO LIMA", "Bia", "Ana Maria Braga", "ana.lima@x", None]
PRODUCTS = ["Curso de Violão", "E-book «Pão»", "Silva & Cia", None]
EVENTS = 3_000
APART = 50


def made(number: int) -> dict[str, Any]:
    dice = random.Random(number)
    return {
        "eventType": dice.choice(["pix_created", "order_approved"]) if number % 50 else "order_refunded",
        "customer": {"name": dice.choice(NAMES)},
        "product": {"name": dice.choice(PRODUCTS)},
        "total": None if number % 7 == 0 else f"{dice.randrange(100_000) / 100:.2f}",
        "currency": dice.choice(["BRL", "USD"]),
        "tags": dice.sample(["a", "b", "c"], dice.randrange(3)),
        "utm": {"source": "ads" if dice.random() < 0.2 else "organic", "n": number % 400},
    }


@pytest.fixture
async def stored(ingest: Ingesting) -> Sequence[dict[str, Any]]:
    """Events in the order of their sequences, each as it was sent."""
    events = [made(number) for number in range(EVENTS)]
    for start in range(0, EVENTS, 1000):
        await send(
            ingest.stub,
            "acme",
            [
                incoming(grapfy(number, **events[number]), source=("shop_1", "shop_2")[number % 2])
                for number in range(start, start + 1000)
            ],
        )
    return events


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way is gone, and every bound met, on a log of a few thousand events."""
    monkeypatch.setattr(search, "FIRST", 100)
    monkeypatch.setattr(search, "MAX_WALK", 600)
    monkeypatch.setattr(search, "MAX_LOOK", 50)
    monkeypatch.setattr(search, "MAX_LOOKS", 120)
    monkeypatch.setattr(listing, "MAX_SPAN", 700)
    monkeypatch.setattr(listing, "MAX_INDEXED", 90)
    monkeypatch.setattr(search, "MAX_INDEXED", 90)


async def spread(connection: Connection) -> None:
    """Has the log lie in several of the indexes' buckets, and in two months."""
    # By way of numbers that no event has.
    await connection.execute("UPDATE hookline.events SET sequence = sequence + 10000000")
    await connection.execute(
        """
        UPDATE hookline.events SET
            sequence = (sequence - 10000000) * $1,
            received_time = received_time
                + CASE WHEN sequence > 10001700 THEN interval '1 month' ELSE interval '0' END
        """,
        APART,
    )
    await connection.execute("UPDATE hookline.companies SET last_sequence = last_sequence * $1", APART)


async def pages(export: Exporting, which: EventFilter, **request: Any) -> list[list[int]]:
    found, token = [], ""
    while True:
        page = await export.query.ListEvents(
            pb.ListEventsRequest(company_id="acme", filter=which, page_token=token, **request)
        )
        found.append([event.sequence for event in page.events])
        token = page.next_page_token
        if not token:
            return found


def words(text: str | None) -> list[str]:
    return re.findall(r"\w+", unicodedata.normalize("NFC", text or "").lower())


def has_words(typed: str, *names: str | None) -> bool:
    there = [word for name in names for word in words(name)]
    *whole, begun = words(typed)
    return all(word in there for word in whole) and any(word.startswith(begun) for word in there)


def contains(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(value, dict) and all(name in value and contains(value[name], wanted[name]) for name in wanted)
    if isinstance(wanted, list):
        return isinstance(value, list) and all(any(contains(item, one) for item in value) for one in wanted)
    return bool(value == wanted)


def total_of(event: dict[str, Any]) -> Decimal:
    return Decimal(event["total"] or -1)


CASES: dict[str, tuple[EventFilter, Any]] = {
    "contained, common": (
        EventFilter(payload_contains='{"utm": {"source": "ads"}}'),
        lambda event: contains(event, {"utm": {"source": "ads"}}),
    ),
    "contained, rare": (
        EventFilter(payload_contains='{"utm": {"n": 7}}'),
        lambda event: contains(event, {"utm": {"n": 7}}),
    ),
    "contained, two at once": (
        EventFilter(payload_contains='{"utm": {"source": "ads"}, "tags": ["c", "a"]}'),
        lambda event: contains(event, {"utm": {"source": "ads"}, "tags": ["a", "c"]}),
    ),
    "contained, absent": (EventFilter(payload_contains='{"utm": {"n": 401}}'), lambda event: False),
    "contained in one type": (
        EventFilter(payload_contains='{"utm": {"source": "ads"}}', types=["order_refunded"]),
        lambda event: contains(event, {"utm": {"source": "ads"}}) and event["eventType"] == "order_refunded",
    ),
    "a word": (
        EventFilter(text="silva"),
        lambda event: has_words("silva", event["customer"]["name"], event["product"]["name"]),
    ),
    "words, the last begun": (
        EventFilter(text="MARIA br"),
        lambda event: has_words("maria br", event["customer"]["name"], event["product"]["name"]),
    ),
    "a customer's word, not a product's": (
        EventFilter(customer="silva"),
        lambda event: has_words("silva", event["customer"]["name"]),
    ),
    "words and contained": (
        EventFilter(customer="joão", payload_contains='{"tags": ["b"]}', sources=["shop_2"]),
        lambda event: has_words("joão", event["customer"]["name"]) and "b" in event["tags"] and event["odd"],
    ),
    "words that are common, and never together": (
        EventFilter(text="marina joão"),
        lambda event: has_words("marina joão", event["customer"]["name"], event["product"]["name"]),
    ),
    "words together and one begun that is common": (
        EventFilter(text="silva mario da violão cu"),
        lambda event: has_words("silva mario da violão cu", event["customer"]["name"], event["product"]["name"]),
    ),
    "a common word in a type that is rare": (
        EventFilter(text="silva", types=["order_refunded"]),
        lambda event: (
            event["eventType"] == "order_refunded"
            and has_words("silva", event["customer"]["name"], event["product"]["name"])
        ),
    ),
    "a common word in a type that there is not": (EventFilter(text="silva", types=["nope"]), lambda event: False),
    "a common word of a customer, and a rare term": (
        EventFilter(customer="silva", payload_contains='{"utm": {"n": 7}}'),
        lambda event: has_words("silva", event["customer"]["name"]) and event["utm"]["n"] == 7,
    ),
    "signs that words are quoted by": (
        EventFilter(text="""e-book 'pão\\' & cia:*"""),
        lambda event: False,
    ),
    "no word at all": (EventFilter(text="!?"), lambda event: False),
    "a range of totals": (
        EventFilter(min_total="990.5", max_total="999", currency="brl"),
        lambda event: Decimal("990.5") <= total_of(event) <= 999 and event["currency"] == "BRL",
    ),
    "types": (
        EventFilter(types=["order_refunded", "pix_created", "nope"]),
        lambda event: event["eventType"] != "order_approved",
    ),
    "a type and a total": (
        EventFilter(types=["pix_created"], min_total="900"),
        lambda event: event["eventType"] == "pix_created" and total_of(event) >= 900,
    ),
    "a source and a currency": (
        EventFilter(sources=["shop_2"], currency="USD", max_total="50"),
        lambda event: event["odd"] and event["currency"] == "USD" and 0 <= total_of(event) <= 50,
    ),
    "a platform that there is not": (EventFilter(platforms=["hotmart"]), lambda event: False),
}


@pytest.mark.parametrize("apart", [1, APART])
async def test_pages_together_are_what_a_plain_look_gives(
    stored: Sequence[dict[str, Any]],
    export: Exporting,
    connection: Connection,
    apart: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if apart > 1:
        await spread(connection)
        # A bucket a call.
        monkeypatch.setattr(search, "SECONDS", 0)
    for name, (which, matches) in CASES.items():
        expected = [
            (number + 1) * apart for number, event in enumerate(stored) if matches({**event, "odd": number % 2 == 1})
        ]
        for page_size in (7, 100) if apart == 1 else (100,):
            newest_first = await pages(export, which, page_size=page_size)
            assert all(len(page) <= page_size for page in newest_first), name
            assert [one for page in newest_first for one in page] == expected[::-1], name
        oldest_first = await pages(export, which, page_size=30, order=EVENT_ORDER_OLDEST_FIRST)
        assert [one for page in oldest_first for one in page] == expected, name
        file = await exported(export.export, "acme", NDJSON, filter=which)
        assert [one["sequence"] for one in file.json()] == expected, name


async def test_ids_and_keys_are_found_wherever_they_are(
    stored: Sequence[dict[str, Any]], export: Exporting, connection: Connection
) -> None:
    for sequence in (1, 1500, 2999):
        row = await connection.fetchrow(
            "SELECT event_id::text, dedup_key FROM hookline.events WHERE sequence = $1", sequence
        )
        for typed in (row["event_id"], row["event_id"].upper(), f" {row['dedup_key']} "):
            assert [one for page in await pages(export, EventFilter(text=typed)) for one in page] == [sequence]
    stranger = await export.query.ListEvents(
        pb.ListEventsRequest(company_id="bolt", filter=EventFilter(text=row["event_id"]))
    )
    assert not stranger.events


@pytest.mark.parametrize("which", [EventFilter(), EventFilter(text="silva"), EventFilter(types=["order_refunded"])])
async def test_pages_back_are_the_pages_forth(
    stored: Sequence[dict[str, Any]], export: Exporting, which: EventFilter
) -> None:
    for order in (0, EVENT_ORDER_OLDEST_FIRST):
        request: dict[str, Any] = {"company_id": "acme", "filter": which, "page_size": 40, "order": order}
        first = await export.query.ListEvents(pb.ListEventsRequest(**request))
        assert first.previous_page_token == ""
        forth, page = [[event.sequence for event in first.events]], first
        while page.next_page_token:
            page = await export.query.ListEvents(pb.ListEventsRequest(page_token=page.next_page_token, **request))
            forth.append([event.sequence for event in page.events])
        back: list[list[int]] = []
        while page.previous_page_token:
            page = await export.query.ListEvents(pb.ListEventsRequest(page_token=page.previous_page_token, **request))
            back.insert(0, [event.sequence for event in page.events])
        # Cut elsewhere, but the same events in the same order.
        assert [one for events in back for one in events] == [one for events in forth[:-1] for one in events]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"payload_contains": "[1]"}, "payload_contains"),
        ({"payload_contains": "{"}, "payload_contains"),
        ({"payload_contains": '{"a": "\\u0000"}'}, "payload_contains"),
        ({"payload_contains": '{"a": 1e999999}'}, "payload_contains"),
        ({"payload_contains": '{"a": ' + "[" * 60 + "]" * 60 + "}"}, "payload_contains"),
        ({"payload_contains": '{"a": ' + "[" * 2000 + "]" * 2000 + "}"}, "payload_contains"),
        ({"payload_contains": '{"a": "' + "x" * 4096 + '"}'}, "payload_contains"),
        ({"payload_contains": '{"a": "\\ud800"}'}, "payload_contains"),
        ({"min_total": "a lot"}, "min_total"),
        ({"min_total": "1e5"}, "min_total"),
        ({"min_total": "2", "max_total": "1"}, "max_total"),
        ({"currency": "R$"}, "currency"),
        ({"text": "x" * 201}, "text"),
        ({"customer": "a\0b"}, "customer"),
        ({"platforms": [""]}, "platforms[0]"),
    ],
)
async def test_a_filter_that_makes_no_sense_is_refused(export: Exporting, wrong: dict[str, Any], field: str) -> None:
    request = pb.ListEventsRequest(company_id="acme", filter=EventFilter(**wrong))
    refusal = await refused(export.query.ListEvents(request))
    assert (refusal.code.name, list(refusal.violations)) == ("INVALID_ARGUMENT", [f"filter.{field}"])
