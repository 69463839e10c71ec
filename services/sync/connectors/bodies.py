"""What a platform's answer holds: where things are in its JSON, and what it says is wrong. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from services.sync.connectors import Item, Refused, Unreadable
from shared.platforms.history import History
from shared.platforms.times import moment_of

MAX_ID = 500
"""Characters of an item's id."""
_SHOWN_MEMBERS = 5
_number = re.compile(rb"-?[0-9]{1,20}(\.[0-9]{1,20})?").fullmatch
_is_said = re.compile(r"[A-Za-z0-9_.-]{1,60}|(?=.{1,60}$)[A-Za-z0-9_.-]+( [a-z0-9_.-]+)+").fullmatch
_digits = re.compile(r"[0-9]").findall
_MAX_DIGITS = 4
"""More in what a platform says may be somebody's number."""

_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_any = msgspec.json.Decoder().decode
_whole = msgspec.json.Decoder(msgspec.Raw).decode
_text_or_number = msgspec.json.Decoder(str | int).decode
_text = msgspec.json.Decoder(str).decode

_NULL, _TRUE, _FALSE, _EMPTY = (msgspec.Raw(text) for text in (b"null", b"true", b"false", b"{}"))

Path = tuple[str, ...]
"""Names of members, one in the other. Empty: the whole."""


def path(reference: str) -> Path:
    """What a reference of the platform's file names."""
    return tuple(reference.split(".")) if reference else ()


def _follow(value: msgspec.Raw | None, names: Path) -> msgspec.Raw | None:
    """What is there; None where nothing is, or null. Raises DecodeError where there is no object on the way."""
    for name in names:
        value = None if value is None or value == _NULL else _members(value).get(name)
    return None if value == _NULL else value


class Answer:
    """One answer of a platform. Raises Unreadable for what is no whole JSON, Refused for what says that it failed."""

    def __init__(self, body: bytes, errors: Sequence[Path] = ()) -> None:
        self._members: dict[str, msgspec.Raw] | None = None
        try:
            # Once: a page may be large, and is looked into several times.
            try:
                self._members = _members(body)
            except msgspec.ValidationError:
                self._root = _whole(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Unreadable("The platform's answer is not whole JSON.") from None
        for error in errors:
            if (said := _failure(self._look(error))) is not None:
                raise Refused(f"The platform answers with an error{said}.")

    def text(self, names: Path) -> str | None:
        """A text or whole number, as text; None where there is none, or an empty one, or false. Raises Refused."""
        found = self._look(names)
        try:
            return None if found is None or found == _FALSE else str(_text_or_number(found)) or None
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Refused(f"What the platform's answer has at {'.'.join(names)!r} is no text.") from None

    def flag(self, names: Path) -> bool | None:
        """true or false; None where neither is said."""
        found = self._look(names)
        return True if found == _TRUE else False if found == _FALSE else None

    def number(self, names: Path) -> int | None:
        """A count; None where there is none."""
        found = self._look(names)
        try:
            count = None if found is None else int(_text_or_number(found))
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
            return None
        return count if count is not None and 0 <= count < 2**63 else None

    def list(self, names: Path) -> Sequence[msgspec.Raw]:
        """The list that is there. Raises Refused."""
        found = self._look(names)
        place = ".".join(names)
        if found is None:
            raise Refused(f"The platform's answer has no {place!r}; it {self._shape()}.")
        try:
            return _list(found)
        except msgspec.DecodeError:
            raise Refused(
                f"The platform's answer has no list at {place!r}." if place else "The platform's answer is no list."
            ) from None

    def _look(self, names: Path) -> msgspec.Raw | None:
        try:
            if self._members is None:
                return _follow(self._root, names)
            if not names:
                # An object where something else was looked for.
                return _EMPTY
            return _follow(self._members.get(names[0]), names[1:])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def _shape(self) -> str:
        """What kind of JSON it is: names of members, never values."""
        if self._members is None:
            return "is no object"
        shown = _shown(self._members)
        return f"has: {shown}" if shown else "has nothing else"


def _failure(found: msgspec.Raw | None) -> str | None:
    """None when it is no failure; else what can be shown of it: a short code, or names of members."""
    if found is None:
        return None
    try:
        value = _any(found)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    if value is False or value in ("", [], {}):
        return None
    return _said(value)


def _said(value: Any) -> str:
    """What a platform says is wrong, as far as it can't be personal data: a code, or a phrase in lower case."""
    if isinstance(value, list):
        value = value[0]
    if isinstance(value, Mapping):
        for name in ("code", "type", "reason", "error", "message"):
            if said := _said_text(value.get(name)):
                return f": {said}"
        shown = _shown(value)
        return f" that has: {shown}" if shown else ""
    said = _said_text(value)
    return f": {said}" if said else ""


def _shown(names: Iterable[str]) -> str:
    shown = [name for name in sorted(names) if _is_said(name) and len(_digits(name)) <= _MAX_DIGITS]
    return ", ".join(shown[:_SHOWN_MEMBERS])


def _said_text(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and _is_said(value) and len(_digits(value)) <= _MAX_DIGITS:
        return value
    return None


class Items:
    """Reads the items of one platform's history."""

    def __init__(self, history: History, zone: ZoneInfo) -> None:
        self._zone = zone
        self._paths = tuple(path(text) for text in (history.id, history.time, history.payload))
        self._has_time, self._is_whole = bool(history.time), not history.payload

    def read(self, raw: msgspec.Raw) -> tuple[Item, str]:
        """An item, its payload byte for byte, and its time as the platform wrote it (empty where that is no text).
        Raises Refused, without anything of it."""
        try:
            members = _members(raw)
            found = [_there(members, names) for names in self._paths if names]
            identity = str(_text_or_number(found[0]))
            if not 0 < len(identity) <= MAX_ID or "\0" in identity:
                raise ValueError
            payload = bytes(raw if self._is_whole else found[-1])
            if not self._has_time:
                return Item(identity, None, payload), ""
            time = bytes(found[1])
            if number := _number(time):
                return Item(identity, moment_of(Decimal(number[0].decode()), self._zone), payload), ""
            text = _text(time)
            return Item(identity, moment_of(text, self._zone), payload), text
        except (msgspec.MsgspecError, KeyError, ValueError, RecursionError):
            raise Refused("An event in the platform's history lacks its id, time or payload.") from None


def _there(members: dict[str, msgspec.Raw], names: Path) -> msgspec.Raw:
    """Raises KeyError, or DecodeError, when there is nothing."""
    value = members[names[0]]
    for name in names[1:]:
        value = _members(value)[name]
    return value
