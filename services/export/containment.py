"""What a payload is asked to contain: a JSON object that jsonb can hold. Pure rules."""

from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

MAX_BYTES = 4096
MAX_DEPTH = 50
MAX_EXPONENT = 1000
"""Payloads hold no larger numbers."""


class NotContainableError(ValueError):
    """The text says what is wrong, and quotes nothing of what was sent."""


def contained(text: str) -> str | None:
    """The object as it is to be compared with; None when it is empty, and so contained in everything. Raises
    NotContainableError."""
    if len(text.encode()) > MAX_BYTES:
        raise NotContainableError(f"has more than {MAX_BYTES} bytes")
    try:
        content = _decode(text)
    except msgspec.DecodeError as error:
        raise NotContainableError(f"is no JSON: {error}") from None
    except (InvalidOperation, RecursionError, ValueError):
        raise NotContainableError("holds a number that no payload holds, or nests too deeply") from None
    if type(content) is not dict:
        raise NotContainableError("is JSON but not an object")
    _check(content, MAX_DEPTH)
    return text if content else None


_decode = msgspec.json.Decoder(float_hook=Decimal).decode


def _check(value: Any, depth: int) -> None:
    if depth == 0:
        raise NotContainableError("nests too deeply")
    match value:
        case dict():
            for name, member in value.items():
                _check(name, depth)
                _check(member, depth - 1)
        case list():
            for item in value:
                _check(item, depth - 1)
        case str() if "\0" in value:
            raise NotContainableError("holds the character NUL, which no payload does")
        case Decimal() if abs(value.adjusted()) > MAX_EXPONENT:
            raise NotContainableError("holds a number that no payload holds")
        case _:
            pass
