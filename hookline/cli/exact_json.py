"""JSON whose numbers stay as they were written: 1169.80 does not become 1169.8, nor 1e400 infinity."""

import json
import re
from typing import Any

# JSON need not escape these, but a terminal would obey the control characters and the reversals of direction.
_UNSAFE = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Number(str):
    """A number's own digits."""

    __slots__ = ()


def loads(text: bytes) -> Any:
    """Reads JSON; numbers become Number. Raises ValueError, or RecursionError when it is nested too deeply."""
    return json.loads(text, parse_float=Number, parse_int=Number)


def dumps(value: Any, indent: int = 0) -> str:
    """Writes JSON, on one line when `indent` is 0. Control characters of all kinds are escaped."""
    return _dumps(value, indent, "\n")


def _dumps(value: Any, indent: int, newline: str) -> str:
    inner = newline + " " * indent
    match value:
        case Number():
            return str(value)
        case dict():
            members = [f"{_plain(str(name))}: {_dumps(each, indent, inner)}" for name, each in value.items()]
            return _enclosed("{", members, "}", indent, newline)
        case list() | tuple():
            return _enclosed("[", [_dumps(each, indent, inner) for each in value], "]", indent, newline)
    return _plain(value)


def _enclosed(opening: str, parts: list[str], closing: str, indent: int, newline: str) -> str:
    if not indent or not parts:
        return opening + ", ".join(parts) + closing
    inner = newline + " " * indent
    return opening + inner + f",{inner}".join(parts) + newline + closing


def _plain(value: Any) -> str:
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))
