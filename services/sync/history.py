"""What a page of a platform's history holds, and where the next one begins. Pure rules: no I/O."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from shared.platforms import History


class Refused(Exception):
    """The platform's answer needs a person: trying again would not help. Its text is for that person."""


class Unreadable(Exception):
    """The platform's answer is not whole, such as JSON that ends too early: trying again may help."""


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """Where the next page begins. Pages begin at the last event's time, that time included, since several events may
    share it: `seen` are those that had been read of it."""

    since: str
    seen: tuple[str, ...] = ()

    def encode(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def decode(cls, text: str) -> "Cursor":
        return msgspec.json.decode(text, type=cls)

    @classmethod
    def start(cls, moment: datetime) -> "Cursor":
        """From a time on."""
        return cls(moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"))


class HistoryPage(msgspec.Struct, frozen=True):
    """The events of a page that pages before did not have. None of them: there is nothing more."""

    payloads: Sequence[bytes]
    next_cursor: Cursor
    synced_time: datetime | None
    """Of the last event."""


def read_page(history: History, body: bytes, cursor: Cursor) -> HistoryPage:
    """Reads an answer. Payloads come out byte for byte as the platform wrote them: numbers keep their digits.

    Raises Unreadable for what is no whole JSON, Refused for JSON that is no page, and for a page that leads nowhere.
    """
    try:
        answer = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        raise Refused("The platform's answer is JSON, but not an object.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Unreadable("The platform's answer is not whole JSON.") from None
    if history.items not in answer:
        said = ", ".join(sorted(answer)[:5])
        raise Refused(f"The platform's answer has no {history.items!r}; it has: {said}.")
    try:
        items = msgspec.json.decode(answer[history.items], type=list[dict[str, msgspec.Raw]])
        read = [_read(history, item) for item in items]
    except (msgspec.MsgspecError, KeyError, UnicodeDecodeError, ValueError):
        raise Refused("An event in the platform's history lacks its id, time or payload.") from None
    # Times are compared as moments: the same one can be written in several ways.
    since, seen = _moment(cursor.since), set(cursor.seen)
    new = [item for item in read if not (item.moment == since and item.id in seen)]
    if not new:
        if len(items) >= history.page_size:
            raise Refused(f"The platform has more events at {cursor.since} than a page of {history.page_size} holds.")
        return HistoryPage((), cursor, None)
    last = max(new, key=lambda item: item.moment)
    if last.moment < since:
        raise Refused("The platform's history does not begin at the time asked for.")
    at_last = tuple(item.id for item in read if item.moment == last.moment)
    return HistoryPage([item.payload for item in new], Cursor(last.time, at_last), last.moment)


class _Item(NamedTuple):
    id: str
    time: str
    moment: datetime
    payload: bytes


def _read(history: History, item: dict[str, msgspec.Raw]) -> _Item:
    identity = msgspec.json.decode(item[history.id], type=str | int)
    time = msgspec.json.decode(item[history.time], type=str)
    return _Item(str(identity), time, _moment(time), bytes(item[history.payload]))


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
