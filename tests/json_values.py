"""JSON of every kind, and every way to write the same."""

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Context, Decimal
from typing import Any

from hypothesis import strategies as st

EXACT = Context(prec=1000)
Draw = Callable[[st.SearchStrategy[Any]], Any]

# Where the mappings look: made-up members should hit what they read.
NAMES = ["id", "eventId", "eventType", "type", "orderId", "customer", "name", "total", "currency", "createdAt", "data"]

numbers = st.one_of(
    st.integers().map(Decimal),
    st.integers(-(10**30), 10**30).map(Decimal),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9, places=4),
    st.builds(lambda digits, exponent: Decimal(digits).scaleb(exponent), st.integers(-999, 999), st.integers(-90, 90)),
)
storable_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
any_text = st.text(st.characters(), max_size=20)


def values(text: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Any JSON value, with numbers as Decimal and texts from `text`."""
    return st.recursive(
        st.one_of(st.none(), st.booleans(), numbers, text, st.sampled_from(["7e4512", "1e999,", "0.10]", "\\u0000"])),
        lambda inner: st.one_of(st.lists(inner, max_size=4), members(text, inner)),
        max_leaves=12,
    )


def members(text: st.SearchStrategy[str], inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with such members."""
    return st.dictionaries(st.one_of(st.sampled_from(NAMES), text), inner, max_size=5)


def objects(text: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    return members(text, values(text))


def canonical(value: Any) -> Any:
    """Equal for equal JSON only: True is not 1, numbers are equal by value, whatever they look like."""
    match value:
        case bool() | None:
            return repr(value)
        case str():
            return "text", value
        case Mapping():
            return "object", frozenset((name, canonical(member)) for name, member in value.items())
        case Sequence():
            return "list", tuple(map(canonical, value))
        case _:
            return "number", Decimal(value).normalize(EXACT)


def written(value: Any, draw: Draw) -> str:
    """The value as JSON, in one of the ways to write it."""
    space: str = draw(st.sampled_from(["", " ", "\n\t"]))
    match value:
        case bool() | None:
            return json.dumps(value) + space
        case str():
            return json.dumps(value, ensure_ascii=draw(st.booleans()) or not is_encodable(value)) + space
        case Mapping():
            names = draw(st.permutations(list(value)))
            parts = [f"{written(name, draw)}:{space}{written(value[name], draw)}" for name in names]
            return "{" + space + ",".join(parts) + "}" + space
        case Sequence():
            return "[" + ",".join(space + written(item, draw) for item in value) + "]" + space
        case _:
            spelling: str = draw(st.sampled_from(spellings(value)))
            return spelling + space


def spellings(number: Decimal) -> list[str]:
    plain = f"{number:f}"
    shifted = [f"{number.scaleb(-exponent, EXACT):f}e{exponent}" for exponent in (-3, 1, 20)]
    return [plain, plain + ("0" if "." in plain else ".0"), plain + "e0", plain + "E-00", *shifted]


def is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
