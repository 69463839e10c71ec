"""The platforms' forms of the shop's history: where it is asked for, how it is paged, and what an event looks like."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from multidict import MultiMapping
from yarl import URL

from services.sandbox.faults import UNLISTED, Lie
from services.sandbox.history import History, Item, to_milliseconds

json = msgspec.json.encode

_Time = Annotated[datetime, msgspec.Meta(tz=True)]


class Wrong(Exception):
    """A request that is refused."""

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.status = status


@dataclass(frozen=True)
class Asked:
    """What a request asks for."""

    limit: int
    start: int | None = None
    """In milliseconds since 1970, included."""
    until: int | None = None
    """The same, not included."""
    after: tuple[int, str] | None = None
    """What comes after the item of that place in the order."""
    skip: int = 0
    newest_first: bool = False
    copies: bool = False
    """Whether the second ones of an event are listed, too."""
    kinds: frozenset[str] | None = None
    """Only those of these kinds, in the form's own words. None: all."""
    count: int = 0
    """Pages before this one, where cursors are to differ."""


@dataclass(frozen=True)
class Listing:
    """One page."""

    items: Sequence[Item]
    more: bool
    """Whether there is more, as it is said."""
    total: int
    """How many there are without the paging, as it is said."""
    begins: int
    """Which of them is the first of the page, counted from 0."""


@dataclass(frozen=True)
class Answer:
    """A page as it is sent."""

    items: Sequence[Item]
    body: bytes
    headers: Mapping[str, str]


class Form:
    """How one platform does it."""

    path: str
    count_path: str | None = None
    """Where the number of events is asked for on its own. None: nowhere."""

    def authorize(self, headers: Mapping[str, str]) -> None:
        """Raises Wrong when the credential is."""
        raise NotImplementedError

    def read(self, query: MultiMapping[str]) -> Asked:
        """What is asked for. Raises Wrong."""
        raise NotImplementedError

    def page(self, asked: Asked, url: URL, lie: Lie | None) -> Answer:
        raise NotImplementedError

    def count(self, query: MultiMapping[str], lie: Lie | None) -> Any:
        """How many events there are; becomes JSON. Raises Wrong."""
        raise NotImplementedError

    def error(self, problem: str) -> Any:
        """The body of an answer that is an error: becomes JSON."""
        return {"error": problem}


def listing(history: History, asked: Asked, lie: Lie | None, kind: Callable[[Item], str] = lambda item: "") -> Listing:
    """The page asked for. `kind` says of which an item is."""
    items = history.between(asked.start, asked.until, copies=asked.copies)
    if asked.kinds is not None:
        items = [item for item in items if kind(item) in asked.kinds]
    at = asked.skip
    if asked.after is not None:
        at = bisect_right(items, asked.after, key=lambda item: item.order)
    if asked.newest_first:
        if asked.after is not None:
            at = len(items) - bisect_left(items, asked.after, key=lambda item: item.order)
        items = items[::-1]
    total = len(items)
    match lie:
        case Lie.CIRCLE:
            at %= 2 * asked.limit
        case Lie.SAME:
            at = 0
        case Lie.SAYS_MORE:
            total += UNLISTED
    end = at + asked.limit
    more = end < len(items) or lie in (Lie.CIRCLE, Lie.SAME, Lie.MORE_OF_NOTHING)
    return Listing(items[at:end], more, total, at)


def number(query: Mapping[str, str], name: str, default: int, most: int, least: int = 1) -> int:
    """A query parameter that is a number. Raises Wrong."""
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 16 and least <= int(text) <= most):
        raise Wrong(400, f"{name} is a number from {least} to {most}")
    return int(text)


def optional(query: Mapping[str, str], name: str, read: Callable[[str], int]) -> int | None:
    """A query parameter as `read` reads it. Raises Wrong when that raises ValueError."""
    if name not in query:
        return None
    try:
        return read(query[name])
    except ValueError:
        raise Wrong(400, f"{name} is no time") from None


def milliseconds(text: str) -> int:
    """The milliseconds since 1970 of an RFC 3339 time, rounded up. Raises ValueError."""
    return to_milliseconds(msgspec.convert(text, _Time))


def bearer(headers: Mapping[str, str], token: str) -> None:
    """Raises Wrong unless the request has the token."""
    if headers.get("Authorization") != f"Bearer {token}":
        raise Wrong(401, "the token is not known")


def rfc3339(time: datetime, timespec: str = "milliseconds") -> str:
    return time.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")
