"""HTML forms of every kind, and JSON written as forms: anew, not with the code under test."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from hypothesis import strategies as st

from tests.json_values import NAMES, any_text

FORM = "application/x-www-form-urlencoded"
_brackets = st.sampled_from(["", "", "[]", "[0]", "[1]", "[name]", "[", "]", "[[]]", "[é]", "[01]"])
_names = st.builds("".join, st.tuples(st.sampled_from([*NAMES, ""]), _brackets, _brackets, _brackets))
_fields = st.lists(st.tuples(st.one_of(_names, any_text), any_text), max_size=8)


def as_form(content: dict[str, Any]) -> bytes:
    """Content as PHP's http_build_query writes it: what is null is left out, truth is 1 and falsehood 0."""
    return urlencode(list(_pairs(content))).encode()


def _pairs(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    match value:
        case None:
            return
        case bool():
            yield name, str(int(value))
        case dict() | list():
            for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
                yield from _pairs(inner, f"{name}[{key}]" if name else str(key))
        case _:
            yield name, str(value)


def form_bytes() -> st.SearchStrategy[bytes]:
    """What may come as a form, escaped or raw."""
    escaped = _fields.map(lambda fields: urlencode(fields, errors="surrogatepass").encode())
    raw = _fields.map(lambda fields: "&".join("=".join(one) for one in fields).encode(errors="surrogatepass"))
    return st.one_of(escaped, raw)
