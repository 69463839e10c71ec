"""What a payload holds: its content, whether PostgreSQL can hold it, its digest, and itself without secrets. Pure."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from decimal import Context, Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

import msgspec

from services.ingest.references import step_into
from shared.platforms.references import Step

MAX_DEPTH = 200
"""Nesting beyond this is no webhook; PostgreSQL's own limit depends on its stack."""
MAX_EXPONENT = 1000
"""jsonb writes every number out: 1e100000 would be a hundred thousand digits in each export."""
_EXACT = Context(prec=1_000_000)


class Flaw(StrEnum):
    """Why a payload can't become an event. The names are those of the contract's OutcomeReason."""

    JSON_MALFORMED = "JSON_MALFORMED"
    JSON_NOT_OBJECT = "JSON_NOT_OBJECT"
    JSON_UNSTORABLE = "JSON_UNSTORABLE"


class Document(msgspec.Struct, frozen=True):
    """A payload read."""

    content: dict[str, Any]
    """Empty where the payload can't be read at all. Numbers that are not whole are Decimals: exact."""
    is_ambiguous: bool = False
    """Whether it holds numbers that can be written in more than one way."""
    flaw: Flaw | None = None
    message: str = ""
    """What the flaw is. Quotes nothing of the payload."""


class _Parser:
    """Parses JSON with exact decimals, noting those on the way that need a second look: only they can be written in
    more than one way, or be too large."""

    def __init__(self) -> None:
        self._suspects: list[Decimal] = []
        self._decode = msgspec.json.Decoder(float_hook=self._number).decode

    def parse(self, payload: bytes) -> tuple[Any, list[Decimal]]:
        self._suspects = []
        return self._decode(payload), self._suspects

    def _number(self, text: str) -> Decimal:
        number = Decimal(text)
        if text[-1] == "0" or "e" in text or "E" in text:
            self._suspects.append(number)
        return number


_parser = _Parser()
# NUL as an escape: an odd number of backslashes before u0000.
_has_nul = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000").search


def read(payload: bytes) -> Document:
    """Reads a payload. Never raises. A document with a flaw may still have content."""
    try:
        content, suspects = _parser.parse(payload)
    except RecursionError:
        return Document({}, flaw=Flaw.JSON_UNSTORABLE, message="the payload is nested too deeply")
    except UnicodeDecodeError:
        return Document({}, flaw=Flaw.JSON_MALFORMED, message="the payload is not UTF-8")
    except (msgspec.ValidationError, InvalidOperation):
        # More digits than an int may have, or an exponent beyond those of Decimal.
        return Document({}, flaw=Flaw.JSON_UNSTORABLE, message="a number in the payload is too large or too small")
    except msgspec.DecodeError as error:
        # The parser's text says what and where (a byte's position), and quotes nothing of the payload.
        return Document({}, flaw=Flaw.JSON_MALFORMED, message=f"the payload is not JSON: {error}")
    if type(content) is not dict:
        return Document({}, flaw=Flaw.JSON_NOT_OBJECT, message="the payload is JSON but not an object")
    message = _unstorable(payload, content, suspects)
    return Document(content, bool(suspects), Flaw.JSON_UNSTORABLE if message else None, message)


def _unstorable(payload: bytes, content: dict[str, Any], suspects: Iterable[Decimal]) -> str:
    """Why PostgreSQL can't hold the payload; empty when it can."""
    if b"\\u0000" in payload and _has_nul(payload):
        return "the payload holds the character NUL"
    if suspects and any(abs(number.adjusted()) > MAX_EXPONENT for number in suspects):
        return "a number in the payload is too large or too small"
    if payload.count(b"{") + payload.count(b"[") > MAX_DEPTH and _depth(content) > MAX_DEPTH:
        return "the payload is nested too deeply"
    return ""


def _depth(content: Any) -> int:
    level, depth = [content], 0
    while level:
        depth += 1
        values = [value for item in level for value in (item.values() if isinstance(item, dict) else item)]
        level = [value for value in values if isinstance(value, dict | list)]
    return depth


def digest(payload: bytes, document: Document) -> bytes:
    """The SHA-256 of the content: white space, the order of members and ways to write a number make no difference.
    `payload` is what `document` was read from, or is written in as now."""
    in_one_form = _decode_in_one_form(payload) if document.is_ambiguous else document.content
    return hashlib.sha256(_encode_in_one_form(in_one_form)).digest()


def _one_form(text: str) -> int | Decimal:
    """One form for one value: 10, 10.0 and 1e1 are the same number."""
    number = Decimal(text).normalize(_EXACT)
    return int(number) if number == number.to_integral_value() else number


_decode_in_one_form = msgspec.json.Decoder(float_hook=_one_form).decode
_encode_in_one_form = msgspec.json.Encoder(order="sorted", decimal_format="number").encode
_encode = msgspec.json.Encoder(decimal_format="number").encode


def strip(content: dict[str, Any], paths: Iterable[Sequence[Step]]) -> bytes | None:
    """Removes the members that the paths lead to from the content itself; gives it as JSON, with every other value as
    it was to the last digit. None: there were none of them, and nothing changed."""
    found = False
    for *steps, member in paths:
        holder: Any = content
        for step in steps:
            holder = step_into(holder, step)
        if type(holder) is dict and member in holder:
            del holder[member]
            found = True
    return _encode(content) if found else None
