"""JSON whose numbers stay as they were written: 1169.80 does not become 1169.8, nor 1e400 infinity."""

import json
import re
from typing import Any

# JSON need not escape these, but a terminal would obey the control characters and the reversals of direction.
_UNSAFE = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Verbatim(str):
    """JSON text that is put in as it is."""

    __slots__ = ()


def verbatim(text: bytes) -> Verbatim:
    """JSON to be put in as it is, on one line: line breaks can only be between its parts."""
    return Verbatim(_safe(text.strip().decode().translate({10: " ", 13: " "})) or "null")


def loads(text: bytes) -> Any:
    """Reads JSON to be written anew, with its numbers verbatim; all of it, when it is nested too deeply for that.
    Raises ValueError, for NaN and the like too."""
    try:
        value = json.loads(text, parse_float=Verbatim, parse_int=Verbatim, parse_constant=_no_json)
        dumps(value)
    except RecursionError:
        return verbatim(text)
    return value


def dumps(value: Any, indent: int = 0) -> str:
    """Writes JSON, on one line when `indent` is 0. Control characters of all kinds are escaped."""
    return _dumps(value, indent, "\n")


def _no_json(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _dumps(value: Any, indent: int, newline: str) -> str:
    inner = newline + " " * indent
    match value:
        case Verbatim():
            return str(value)
        case dict():
            members = [
                f"{_safe(json.dumps(name, ensure_ascii=False))}: {_dumps(each, indent, inner)}"
                for name, each in value.items()
            ]
            return _enclosed("{", members, "}", indent, newline)
        case list() | tuple():
            return _enclosed("[", [_dumps(each, indent, inner) for each in value], "]", indent, newline)
    return _safe(json.dumps(value, ensure_ascii=False))


def _enclosed(opening: str, parts: list[str], closing: str, indent: int, newline: str) -> str:
    if not indent or not parts:
        return opening + ", ".join(parts) + closing
    inner = newline + " " * indent
    return opening + inner + f",{inner}".join(parts) + newline + closing


def _safe(text: str) -> str:
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
