"""The mapping language at work: words for what happened, marks, headers and queries, a company's own mappings."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.mapping import (
    NO_RULES,
    Compiled,
    Incoming,
    Mapped,
    Mapper,
    Reason,
    Rejected,
    Rules,
    SetAside,
    compile_platform,
)
from shared.platforms import Platform
from tests.json_values import NAMES, objects, storable_text, written
from tests.unit.test_mapping import mapped, platform, platform_of, set_aside

FIELDS = {"type": ["type"], "dedup_key": [["id"]]}


def answer(
    mapper: Mapper,
    content: dict[str, Any],
    platform: str = "",
    headers: dict[str, str] | None = None,
    query: str = "",
    rules: Rules = NO_RULES,
) -> Mapped | SetAside | Rejected:
    return mapper.map(Incoming(platform, "", json.dumps(content).encode(), headers or {}, query), rules)


def understood(*arguments: Any, **named: Any) -> Mapped:
    event = answer(*arguments, **named)
    assert isinstance(event, Mapped), event
    return event


def compiled(*platforms: Platform) -> dict[str, Compiled]:
    return {one.name: compile_platform(one) for one in platforms}


@pytest.mark.parametrize(
    ("content", "word", "own_name"),
    [
        ({"type": "SALE", "code": 2}, "order_approved", "SALE 2"),
        ({"type": " SALE ", "code": " 2"}, "order_approved", "SALE 2"),
        # Joined, it counts only when it is listed.
        ({"type": "SALE", "code": 3}, "pix_created", "SALE"),
        ({"type": "SALE", "code": 3, "state": "late"}, "order_past_due", "SALE late"),
        ({"type": "SALE", "code": 2, "state": "late"}, "order_approved", "SALE 2"),
        ({"type": "LEAD", "code": 2, "state": "late"}, "LEAD", None),
        ({"type": "SALE"}, "pix_created", "SALE"),
        ({"type": 7}, "order_refunded", "7"),
        # Joined, it counts only when all of it is there: a code alone is no type.
        ({"code": 7, "header": "x"}, "x", None),
        ({"type": "", "code": 7, "header": "x"}, "x", None),
        ({"type": "SALE", "code": {}, "state": [], "header": "x"}, "pix_created", "SALE"),
        ({"type": "order_refused"}, "order_refused", None),
        ({"type": "order_approved"}, "order_approved", None),
        ({"type": "sale"}, "sale", None),
        ({"header": "lead_created"}, "lead_created", None),
    ],
)
def test_what_happened_in_the_words_of_all_and_in_the_platforms(
    content: dict[str, Any], word: str, own_name: str | None
) -> None:
    types = {
        "SALE 2": "order_approved",
        "SALE late": "order_past_due",
        "SALE": "pix_created",
        "7": "order_refunded",
        "order_refused": "order_refused",
    }
    mapper = platform_of({"type": ["type code", "type state", "type", "header"], "dedup_key": [["id"]]}, types=types)
    event = mapped(content, "shop", mapper=mapper)
    assert (event.type, event.platform_type) == (word, own_name)


def test_where_nothing_counts_as_a_type_there_is_none() -> None:
    mapper = platform_of({"type": ["type code"], "dedup_key": [["id"]]}, types={"SALE 2": "order_approved"})
    assert mapped({"type": "SALE", "code": 2}, "shop", mapper=mapper).type == "order_approved"
    for content in ({"type": "SALE", "code": 3}, {"type": "SALE"}, {"type": "SALE 2"}, {"code": 2}, {}):
        assert set_aside(content, "shop", mapper).reason == Reason.TYPE_MISSING


def test_fields_may_be_in_headers_and_be_joined() -> None:
    fields = {
        "type": ["header:x-topic"],
        "dedup_key": [["header:x-topic", "header:x-id", "header:x-attempt?"], ["id"]],
        "customer_name": ["customer.first customer.last"],
        "product_name": ["lines[!is_bump].name", "header:x-product"],
        "total": ["header:x-total"],
        "currency": ["header:x-currency"],
        "occurred_time": ["header:x-time"],
    }
    mapper = platform_of(fields, types={"orders/paid": "order_approved"})
    headers = {"X-Topic": "orders/paid", "x-ID": "7", "X-TOTAL": "10.50", "X-Time": "2026-10-01T12:00:00Z"}
    lines = [{"name": "Livro"}, {"name": "Brinde", "is_bump": True}, {"name": "Capa"}]
    content = {"customer": {"first": "Ana", "last": "Souza"}, "lines": lines}
    event = understood(mapper, content, "shop", headers | {"x-currency": "usd", "x-product": "x"})
    assert (event.type, event.platform_type, event.dedup_key) == ("order_approved", "orders/paid", ":orders/paid:7:")
    assert (event.customer_name, event.product_name) == ("Ana Souza", "Livro, Capa")
    assert (event.total, event.currency) == ("10.50", "USD")
    assert event.occurred_time is not None
    bare = understood(mapper, {}, "shop", headers | {"x-attempt": "2", "x-product": "Livro"})
    assert (bare.product_name, bare.dedup_key) == ("Livro", ":orders/paid:7:2")
    without = answer(mapper, content, "shop")
    assert isinstance(without, SetAside)
    assert without.reason == Reason.TYPE_MISSING


@pytest.mark.parametrize(
    ("recognise", "content", "is_its"),
    [
        ({"present": ["a", "b.c"]}, {"a": 1, "b": {"c": ""}}, True),
        ({"present": ["a", "b.c"]}, {"a": 1, "b": {"c": None}}, False),
        ({"present": ["a", "b.c"]}, {"a": 1, "b": 2}, False),
        ({"present": ["a", "b.c"]}, {"b": {"c": 1}}, False),
        ({"present": ["a b"]}, {"b": {}}, True),
        ({"present": ["a b"]}, {"c": 1, "b": None}, False),
        ({"equal": {"version": "2.0"}}, {"version": "2.0"}, True),
        ({"equal": {"version": "2.0"}}, {"version": " 2.0 "}, True),
        ({"equal": {"version": "2.0"}}, {"version": "2.00"}, False),
        ({"equal": {"version": "2"}}, {"version": 2}, True),
        ({"equal": {"version": 2}}, {"version": "2"}, True),
        ({"equal": {"version": 1}}, {"version": True}, False),
        ({"equal": {"version": 2}}, {}, False),
        ({"equal": {"a.v b.v": "2"}}, {"a": {"v": "1"}, "b": {"v": "2"}}, True),
        ({"prefix": {"event": "my."}}, {"event": "my.sale"}, True),
        ({"prefix": {"event": "my."}}, {"event": "our.my.sale"}, False),
        ({"prefix": {"event": "my."}}, {"event": ["my."]}, False),
        ({"prefix": {"event": "my."}}, {}, False),
        ({"present": ["a"], "equal": {"b": 1}, "prefix": {"c": "x"}}, {"a": 1, "b": 1, "c": "xy"}, True),
        ({"present": ["a"], "equal": {"b": 1}, "prefix": {"c": "x"}}, {"b": 1, "c": "xy"}, False),
        ({"present": ["a"], "equal": {"b": 1}, "prefix": {"c": "x"}}, {"a": 1, "b": 2, "c": "xy"}, False),
        ({"present": ["a"], "equal": {"b": 1}, "prefix": {"c": "x"}}, {"a": 1, "b": 1, "c": "y"}, False),
    ],
)
def test_all_the_marks_that_are_given_must_be_there(
    recognise: dict[str, Any], content: dict[str, Any], is_its: bool
) -> None:
    mapper = platform_of(FIELDS, recognise=recognise)
    event = answer(mapper, {"type": "x", **content})
    assert (event.reason if isinstance(event, SetAside) else None) == (None if is_its else Reason.PLATFORM_UNRECOGNISED)


def test_marks_may_be_in_headers() -> None:
    mapper = platform_of(FIELDS, recognise={"present": ["header:x-shop"], "equal": {"header:x-v": "2"}})
    assert understood(mapper, {"type": "x"}, headers={"X-Shop": "1", "X-V": "2"}).platform == "shop"
    for headers in ({"X-V": "2"}, {"X-Shop": "1"}, {"X-Shop": "1", "X-V": "3"}, {}):
        assert isinstance(answer(mapper, {"type": "x"}, headers=headers), SetAside)
    either = platform_of(FIELDS, recognise={"present": ["header:x-shop shop"]})
    assert understood(either, {"type": "x"}, headers={"X-Shop": "1"}).platform == "shop"
    assert understood(either, {"type": "x", "shop": 1}).platform == "shop"
    assert understood(either, {"type": "x", "shop": 1}, query="a=1").platform == "shop"
    assert isinstance(answer(either, {"type": "x"}, headers={"X-Other": "1"}), SetAside)


references = st.lists(st.sampled_from([*NAMES, "header:a", "header:b"]), min_size=1, max_size=2).map(" ".join)
marks = st.fixed_dictionaries(
    {"present": st.lists(references, min_size=1, max_size=3)},
    optional={"prefix": st.dictionaries(references, st.sampled_from(["", "a"]), max_size=2)},
)


@given(
    st.data(),
    st.lists(marks, min_size=1, max_size=5),
    objects(storable_text),
    st.sampled_from([{}, {"A": "a"}, {"A": "", "B": "b"}]),
    st.sampled_from(["", "a=a"]),
)
def test_the_first_platform_whose_marks_are_there_is_taken(
    data: st.DataObject, given_marks: list[dict[str, Any]], content: Any, headers: dict[str, str], query: str
) -> None:
    platforms = [platform(f"p{number}", FIELDS, recognise=one) for number, one in enumerate(given_marks)]
    payload = written(content, data.draw).encode()
    [alone] = {
        tuple(
            one.name
            for one in platforms
            if getattr(Mapper({one.name: one}, 10**6).map(Incoming("", "", payload, headers, query)), "platform", "")
        )
    }
    event = Mapper({one.name: one for one in platforms}, 10**6).map(Incoming("", "", payload, headers, query))
    assert isinstance(event, Mapped | SetAside)
    assert event.platform == (alone[0] if alone else "")
    own = Mapper({}, 10**6).map(Incoming("", "", payload, headers, query), Rules(platforms=compiled(*platforms)))
    assert isinstance(own, Mapped | SetAside)
    assert own.platform == event.platform


SHOP = platform("shop", FIELDS, recognise={"present": ["shop"]})
MARKET = platform("market", FIELDS, recognise={"present": ["shop"]})
GENERIC = platform("generic", {"type": ["type"], "dedup_key": [["id"]]}, fallback=True)
BUILT_IN = Mapper({"shop": SHOP, "generic": GENERIC}, 10**6)


def test_a_companys_own_mappings_are_tried_first() -> None:
    content = {"type": "x", "shop": 1}
    assert understood(BUILT_IN, content).platform == "shop"
    assert understood(BUILT_IN, content, rules=Rules(platforms=compiled(MARKET))).platform == "market"
    assert understood(BUILT_IN, content, "shop", rules=Rules(platforms=compiled(MARKET))).platform == "shop"
    assert understood(BUILT_IN, content, "market", rules=Rules(platforms=compiled(MARKET))).platform == "market"
    unknown = answer(BUILT_IN, content, "market")
    assert isinstance(unknown, SetAside)
    assert unknown.reason == Reason.PLATFORM_UNKNOWN


def test_an_own_mapping_stands_in_for_the_built_in_one_of_its_name() -> None:
    own = platform("shop", {"type": ["what"], "dedup_key": [["id"]]}, recognise={"present": ["mine"]})
    rules = Rules(platforms=compiled(own))
    assert understood(BUILT_IN, {"what": "y", "type": "x"}, "shop", rules=rules).type == "y"
    assert understood(BUILT_IN, {"what": "y", "type": "x", "mine": 1}, rules=rules).type == "y"
    # What only the built-in one would recognise is left to the fallback.
    assert understood(BUILT_IN, {"type": "x", "shop": 1}, rules=rules).platform == "generic"


def test_an_own_mapping_without_marks_counts_only_when_named() -> None:
    own = platform("market", FIELDS)
    rules = Rules(platforms=compiled(own))
    assert understood(BUILT_IN, {"type": "x", "shop": 1}, rules=rules).platform == "shop"
    assert understood(BUILT_IN, {"type": "x", "shop": 1}, "market", rules=rules).platform == "market"


def test_an_own_mapping_in_the_fallbacks_name_is_the_fallback_unless_it_has_marks() -> None:
    rules = Rules(platforms=compiled(platform("generic", {"type": ["what"], "dedup_key": [["id"]]})))
    assert understood(BUILT_IN, {"what": "y"}, rules=rules).type == "y"
    assert understood(BUILT_IN, {"what": "y", "type": "x", "shop": 1}, rules=rules).platform == "shop"
    marked = platform("generic", {"type": ["what"], "dedup_key": [["id"]]}, recognise={"present": ["mine"]})
    rules = Rules(platforms=compiled(marked))
    assert understood(BUILT_IN, {"what": "y", "mine": 1}, rules=rules).platform == "generic"
    assert isinstance(answer(BUILT_IN, {"what": "y", "type": "x"}, rules=rules), SetAside)


HEADERS_TOO_LARGE = Reason.HEADERS_TOO_LARGE


@pytest.mark.parametrize(
    ("headers", "query", "reason"),
    [
        ({str(number): "" for number in range(100)}, "", None),
        ({str(number): "" for number in range(101)}, "", HEADERS_TOO_LARGE),
        ({"a": "x" * (16 * 1024 - 1)}, "", None),
        ({"a": "x" * (16 * 1024)}, "", HEADERS_TOO_LARGE),
        ({"a": "é" * (8 * 1024)}, "", HEADERS_TOO_LARGE),
        ({"é" * (8 * 1024): ""}, "", None),
        ({"a" * 8192: "x", "b" * 8192: ""}, "", HEADERS_TOO_LARGE),
        ({}, "x" * 4096, None),
        ({}, "x" * 4097, HEADERS_TOO_LARGE),
        ({}, "é" * 2049, HEADERS_TOO_LARGE),
        ({"a": "\ud800" * 6000}, "", HEADERS_TOO_LARGE),
    ],
)
def test_headers_and_queries_have_limits(headers: dict[str, str], query: str, reason: Reason | None) -> None:
    event = answer(BUILT_IN, {"type": "x"}, headers=headers, query=query)
    assert (event.reason if isinstance(event, Rejected) else None) == reason


def test_a_payload_of_nothing_but_its_mapping_is_needed_to_be_set_aside_the_same() -> None:
    aside = set_aside({"a": 1}, "", BUILT_IN)
    assert (aside.reason, aside.headers, aside.named_source, aside.named_platform) == (
        Reason.PLATFORM_UNRECOGNISED,
        {},
        "",
        "",
    )
