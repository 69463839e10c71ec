"""The calls of ListEvents that are measured: many different ones of each kind, of the big company and of small ones."""

import random
from collections.abc import Iterator, Mapping, Sequence

from bench.many_events import BIG, COMPANIES, TERMS, WORDS
from hookline.events.v1.events_pb2 import EVENT_ORDER_NEWEST_FIRST, EVENT_ORDER_OLDEST_FIRST, EventFilter
from hookline.export.v1.event_query_service_pb2 import ListEventsRequest

Calls = Mapping[str, Sequence[ListEventsRequest]]
"""First pages, by kind. More pages follow each."""

_ORDERS = (EVENT_ORDER_NEWEST_FIRST, EVENT_ORDER_OLDEST_FIRST)
_SMALL = [name for name in COMPANIES if name != BIG]
_TYPES = ["pix_created", "order_approved", "order_refused", "cart_abandoned", "order_refunded", "lead_created"]
_FIRST_NAMES = ["Marina", "João", "Beatriz", "Rafael", "Larissa", "Pedro", "Camila", "Tiago", "Helena", "Caio"]
_LAST_NAMES = ["Silva", "Souza", "Lima", "Costa", "Rocha", "Alves", "Gomes", "Dias", "Melo", "Reis"]


def list_1000(events: int) -> Calls:
    """The company's log, a thousand a page."""
    return _of_companies({"any": [EventFilter()]}, page_size=1000)


def company(events: int) -> Calls:
    """A company's events, by what the log itself is looked through for."""
    fields = [
        EventFilter(),
        EventFilter(currency="BRL", min_total="500"),
        EventFilter(platforms=["grapfy"], max_total="1500"),
    ]
    return _of_companies({"fields": fields, "source": [EventFilter(sources=[one]) for one in ("shop_1", "shop_2")]})


def types(events: int) -> Calls:
    """By types, alone and with more."""
    return _of_companies(
        {
            "one": [EventFilter(types=[one]) for one in _TYPES],
            "several": [EventFilter(types=_TYPES[at : at + 3]) for at in range(3)],
            "one of a source": [EventFilter(types=[one], sources=["shop_2"]) for one in _TYPES],
            "absent": [EventFilter(types=["never_sent"])],
        }
    )


def payload(events: int) -> Calls:
    """By what payloads contain: of every selectivity."""
    dice = random.Random(events)
    several = {
        "unique": [f'{{"eventId": "big-{dice.randrange(events) + 1}"}}' for _ in range(12)],
        "1 in 1,000": [f'{{"utm": {{"campaign": "c{dice.randrange(900)}"}}}}' for _ in range(12)],
        "2 %": [TERMS["2 %"], *(f'{{"utm": {{"source": "organic-{number}"}}}}' for number in (1, 8, 22))],
        "two at once": [
            TERMS["two at once"],
            '{"utm": {"source": "ads", "campaign": "two"}}',
        ],
        "never together": [
            '{"utm": {"campaign": "two"}, "coupon": "HALF"}',
            '{"utm": {"source": "organic-1"}, "eventType": "pix_created"}',
            '{"utm": {"source": "organic-8"}, "eventType": "order_approved"}',
        ],
    }
    kinds = {kind: several.get(kind, [term]) for kind, term in TERMS.items()} | several
    filters = {kind: [EventFilter(payload_contains=one) for one in kinds[kind]] for kind in kinds}
    filters["20 %, and what is seldom"] = [
        EventFilter(payload_contains=TERMS["20 %"], types=["never_sent"]),
        EventFilter(payload_contains=TERMS["20 %"], sources=["shop_2"], min_total="1999.5"),
        EventFilter(payload_contains=TERMS["20 %"], text="Zoraide"),
    ]
    return _of_companies(filters)


def text(events: int) -> Calls:
    """By words, begun words and ids."""
    dice = random.Random(events)
    several = {
        "common": [*_FIRST_NAMES, *_LAST_NAMES],
        "two": [f"{dice.choice(_FIRST_NAMES)} {dice.choice(_LAST_NAMES)}" for _ in range(12)],
        "never together": [f"{dice.choice(_FIRST_NAMES[:5])} {dice.choice(_FIRST_NAMES[5:])}" for _ in range(6)],
        "rare and common": ["Zoraide Silva", "Silva Zor", "Zoraide Curso Lim"],
        "begun": [name[:3] for name in _FIRST_NAMES],
        "id": [f"big-{dice.randrange(events) + 1}" for _ in range(12)],
    }
    kinds = {kind: several.get(kind, [word]) for kind, word in WORDS.items()} | several
    filters = {kind: [EventFilter(text=one) for one in kinds[kind]] for kind in kinds}
    return _of_companies(filters | {"customer": [EventFilter(customer=one) for one in several["common"]]})


def _of_companies(kinds: Mapping[str, Sequence[EventFilter]], page_size: int = 100) -> Calls:
    return {
        f"{kind}, {size}": list(_requests(companies, filters, page_size))
        for kind, filters in kinds.items()
        for size, companies in (("big", [BIG]), ("small", _SMALL))
    }


def _requests(companies: Sequence[str], filters: Sequence[EventFilter], page_size: int) -> Iterator[ListEventsRequest]:
    for company_id in companies:
        for which in filters:
            for order in _ORDERS:
                yield ListEventsRequest(company_id=company_id, filter=which, order=order, page_size=page_size)
