"""Where values are: each form of a reference, what is joined, and what is no value."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.references import (
    MAX_ITEMS,
    Sent,
    by_lower_name,
    first_listed,
    first_of,
    parameters,
    resolver,
    text_of,
)
from tests.json_values import any_text, objects

CONTENT: dict[str, Any] = {
    "name": "Ana",
    "empty": "",
    "null": None,
    "no": False,
    "count": 7,
    "total": {"value": 10, "parts": [1, 2]},
    "customer": {"first": "Ana", "last": "Souza", "middle": None, "tags": ["a", " b ", "", 3]},
    "products": [
        {"name": "Curso", "is_bump": False, "parts": [{"name": "I"}, {"name": "II"}]},
        {"name": "Brinde", "is_bump": True, "parts": [{"name": "III"}]},
        {"name": "Livro"},
        "no object",
        {"name": None},
        {"name": 5, "is_bump": "true", "parts": {"name": "IV"}},
    ],
    "deep": {"list": [{"value": {"of": "it"}}, [["x"]]]},
    "7": "a member that is called by a number",
    "ação": {"名": "ok"},
}
SENT = Sent(CONTENT, {"x-topic": "orders/paid", "x-empty": ""}, {"signature": "abc", "empty": ""})


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ("name", "Ana"),
        ("empty", ""),
        ("null", None),
        ("no", False),
        ("absent", None),
        ("count", 7),
        ("total.value", 10),
        ("total", {"value": 10, "parts": [1, 2]}),
        ("total.parts.1", 2),
        ("total.parts.2", None),
        ("total.parts.-1", None),
        ("total.value.more", None),
        ("name.0", None),
        ("name.length", None),
        ("7", None),
        ("products.0.name", "Curso"),
        ("products.000002.name", "Livro"),
        ("products.name", None),
        ("products.3.name", None),
        ("deep.list.0.value.of", "it"),
        ("deep.list.1.0.0", "x"),
        ("ação.名", "ok"),
        # All of a list.
        ("products[].name", "Curso, Brinde, Livro, 5"),
        ("products[!is_bump].name", "Curso, Livro, 5"),
        ("products[!absent].name", "Curso, Brinde, Livro, 5"),
        ("products[]", "no object"),
        ("products[].parts[].name", "I, II, III"),
        ("products[!is_bump].parts[].name", "I, II"),
        ("products[].parts.0.name", "I, III"),
        ("products.0.parts[].name", "I, II"),
        ("customer.tags[]", "a, b, 3"),
        ("customer[].first", None),
        ("name[]", None),
        ("absent[].name", None),
        ("products[].absent", None),
        # From elsewhere.
        ("header:x-topic", "orders/paid"),
        ("header:x-empty", ""),
        ("header:x-absent", None),
        ("query:signature", "abc"),
        ("query:empty", ""),
        ("query:absent", None),
        # Joined.
        ("customer.first customer.last", "Ana Souza"),
        ("customer.first customer.middle customer.last", "Ana Souza"),
        ("customer.middle customer.last", "Souza"),
        ("absent customer.middle", None),
        ("empty x", None),
        ("name count", "Ana 7"),
        ("name no total", "Ana"),
        ("header:x-topic name query:signature", "orders/paid Ana abc"),
        ("name products[!is_bump].name", "Ana Curso, Livro, 5"),
    ],
)
def test_what_a_reference_leads_to(reference: str, value: Any) -> None:
    assert resolver(reference)(SENT) == value


def test_only_true_is_true() -> None:
    items = [{"name": str(flag), "skip": flag} for flag in (True, False, 1, "true", None, [True])]
    found = resolver("items[!skip].name")(Sent({"items": items}, {}, {}))
    assert found == "False, 1, true, None, [True]"


@pytest.mark.parametrize(
    ("references", "value"),
    [
        (["absent", "null", "empty", "name"], "Ana"),
        (["no", "name"], False),
        (["header:x-empty", "header:x-topic"], "orders/paid"),
        (["absent customer.middle", "count"], 7),
        (["absent", "empty"], None),
        ([], None),
    ],
)
def test_the_first_that_says_something_counts(references: list[str], value: Any) -> None:
    assert first_of(references)(SENT) == value


@pytest.mark.parametrize(
    ("references", "value"),
    [
        (["name count", "name"], "Ana 7"),
        (["name customer.last", "name"], "Ana"),
        (["name count customer.last", "name count", "name"], "Ana 7"),
        (["name absent count", "count"], 7),
        (["name no count", "count"], 7),
        (["header:x-topic count", "absent", "empty", "no", "name"], False),
        (["name customer.last", "absent"], None),
    ],
)
def test_the_first_that_says_something_counts_and_what_is_joined_only_when_it_is_listed(
    references: list[str], value: Any
) -> None:
    assert first_listed(references, {"Ana 7", "orders/paid", "Souza"})(SENT) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "a"), (" a ", "a"), ("", None), ("  ", None), (7, "7"), (0, "0"), (-3, "-3"), (True, None), (1.5, None),
     (None, None), ([], None), ({}, None)],
)  # fmt: skip
def test_what_identifies_is_a_text_or_a_whole_number(value: Any, text: str | None) -> None:
    assert text_of(value) == text


def test_headers_are_found_in_any_case() -> None:
    assert by_lower_name({"X-Shop-TOPIC": "a", "b": "B"}) == {"x-shop-topic": "a", "b": "B"}


def test_a_query_is_decoded_and_the_first_of_a_name_counts() -> None:
    assert parameters("a=1&b=%C3%A9+%20x&a=2&empty=&flag&=x") == {
        "a": "1",
        "b": "é  x",
        "empty": "",
        "flag": "",
        "": "x",
    }


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "é\udfff"])
def test_texts_that_postgresql_could_not_hold_are_not_there(text: str) -> None:
    assert by_lower_name({"a": text, "b": "ok"}) == {"b": "ok"}
    assert parameters(f"a={text}&b=ok") == {"b": "ok"}
    assert parameters("a=%00&b=ok&c=%ff") == {"b": "ok", "c": "\ufffd"}


def test_a_huge_list_holds_nobody_up() -> None:
    content = {"items": [{"name": str(number), "parts": [{"name": "x"}] * 10} for number in range(100_000)]}
    sent = Sent(content, {}, {})
    begin = time.perf_counter()
    for _ in range(100):
        assert resolver("items[].name")(sent) == ", ".join(map(str, range(MAX_ITEMS)))
        assert resolver("items[].parts[].name")(sent) == ", ".join(["x"] * (MAX_ITEMS * 10 // 11))
        assert resolver("items[].absent")(sent) is None
    assert time.perf_counter() - begin < 5


names = st.sampled_from(["id", "data", "name", "customer", "0", "1", "total"])
paths = st.lists(st.tuples(names, st.sampled_from(["", "", "[]", "[!id]"])).map("".join), min_size=1, max_size=4)
single = st.one_of(paths.map(".".join), st.sampled_from(["header:a", "query:a"]))


@given(st.lists(single, min_size=1, max_size=3).map(" ".join), objects(any_text), any_text, any_text)
def test_a_reference_leads_somewhere_or_nowhere(reference: str, content: Any, header: str, query: str) -> None:
    value = resolver(reference)(Sent(content, by_lower_name({"A": header}), parameters(query)))
    if " " in reference or "[" in reference:
        assert value is None or (isinstance(value, str) and value)
