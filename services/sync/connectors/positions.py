"""Where the next page begins, for each way of paging. Pure.

Each rule is given the place that was read and what was there, and says where to go on. What every rule keeps to: an
item that was listed from the beginning to the end is read at least once, whatever is listed late in between, and a
platform that leads in a circle, or nowhere, is found out.
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from services.sync.connectors import Item, Refused
from shared.platforms.history import ByOffset, ByPage

IDLE_PAGES = 10
"""So many pages in a row may bring nothing new."""
SAME_PAGES = 3
"""So often may the very same page come again."""
STEPS_BACK = 100
"""So often in a window a list may be found to have become shorter, and be read again from a page before."""
_NOTHING_NEW = "The platform's pages go on without bringing anything new."
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Trail(msgspec.Struct, frozen=True, array_like=True):
    """Finds out a circle of any length while it holds one mark only (Brent's algorithm): the mark is set anew after 1,
    2, 4, 8 … steps, so that some mark lies within the circle and the circle is walked through before the next."""

    mark: str = ""
    steps: int = 0
    power: int = 1

    def step(self, text: str) -> "Trail | None":
        """The trail with one more step; None when this one was at the mark before."""
        here = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=12).hexdigest()
        if here == self.mark:
            return None
        if not self.mark or self.steps + 1 == self.power:
            return Trail(here, 0, self.power * 2 if self.mark else 1)
        return Trail(self.mark, self.steps + 1, self.power)


Seen = tuple[str, int]
"""An item's id and its time, in microseconds since 1970."""


class Position(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Where a page begins: as JSON, the checkpoint of a run holds it."""

    kind: str = ""
    """The way of paging. A position of another way, such as before the platform's file was changed, is none."""
    since: str = ""
    """By time: the time, as the platform takes it …"""
    boundary: int = 0
    """… in microseconds since 1970 …"""
    seen: tuple[Seen, ...] = ()
    """… and what was read from there on."""
    number: int = 0
    """The page's number, or how many items are before it."""
    anchor: str = ""
    """By offset: the item that must be on the page, since the page before ended with it."""
    size: int = 0
    """By time: how many items to ask for. By page and offset: how many the first page had."""
    token: str = ""
    """What the platform said, or the last item's id, or the URL after the host."""
    ids: tuple[str, ...] = ()
    """The items of the page before."""
    idle: int = 0
    """Pages in a row that brought nothing new."""
    same: int = 0
    backs: int = 0
    tokens: Trail = Trail()
    pages: Trail = Trail()

    def encode(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def decode(cls, text: str | None, kind: str) -> "Position":
        """The position, or the window's first one where there is none, or one of another kind."""
        try:
            position = msgspec.json.decode(text, type=cls) if text else None
        except msgspec.DecodeError:
            position = None
        return position if position is not None and position.kind == kind else cls(kind=kind)


class Listed(NamedTuple):
    """An item, and its time as the platform wrote it."""

    item: Item
    time: str


class Found(msgspec.Struct, frozen=True):
    """What was on a page."""

    listed: Sequence[Listed]
    more: bool | None
    """Whether the platform says that there is more; None: it says nothing."""
    said: int | None
    """How many there are in all, by what the platform says."""
    next: str | None = None
    """What the platform says to ask for next."""


class Onward(msgspec.Struct, frozen=True):
    """What is new on a page, and where to go on. No position: the window is read."""

    new: Sequence[Listed]
    position: Position | None
    has_hole: bool = False
    """Whether something before this page may not have been read yet."""
    is_promised: bool = False
    """Whether the platform says that there is more, and gives nothing."""


def microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


class TimeRules(NamedTuple):
    """How times are told to a platform."""

    page_size: int
    largest_page: int
    write: Callable[[datetime, str], tuple[str, datetime]]
    """Of a moment, and of it as the platform wrote it: how to ask for it, and what that means."""


def by_time(at: Position, found: Found, rules: TimeRules) -> Onward:
    """Pages begin at the last item's time, that time included, since several items may share it: `seen` are those that
    were read of it."""
    size = at.size or rules.page_size
    seen = set(at.seen)
    keyed = [(one, _seen(one.item)) for one in found.listed]
    new = [one for one, key in keyed if key not in seen]
    if not any(key[1] >= at.boundary for one, key in keyed if key not in seen):
        return Onward(new, _stuck(at, found, size, rules))
    last = found.listed[-1]
    assert last.item.moment
    since, boundary = rules.write(last.item.moment, last.time)
    micros = microseconds(boundary)
    # Times may go on while the items are the same ones.
    at = _not_the_same(at, found)
    at_last = tuple(key for _, key in keyed if key[1] >= micros)
    if micros == at.boundary:
        at_last = tuple(dict.fromkeys((*at.seen, *at_last)))
    following = msgspec.structs.replace(
        at, since=since, boundary=micros, seen=at_last, size=size if micros == at.boundary else 0
    )
    return Onward(new, None if found.more is False else following)


def _stuck(at: Position, found: Found, size: int, rules: TimeRules) -> Position | None:
    """Nothing on the page leads on: it is the end, unless the page is full. Then more may share the time than it holds,
    and a larger one tells."""
    if len(found.listed) < size or found.more is False:
        return None
    if all(_seen(one.item)[1] < at.boundary for one in found.listed):
        raise Refused("The platform's history does not begin at the time asked for.")
    if size >= rules.largest_page:
        raise Refused(f"The platform has more events at {at.since} than a page of {size} holds.")
    return msgspec.structs.replace(at, size=min(2 * size, rules.largest_page))


def _seen(item: Item) -> Seen:
    assert item.moment
    return item.id, microseconds(item.moment)


def by_page(at: Position, found: Found, pagination: ByPage) -> Onward:
    """Numbered pages. What is listed late moves what comes after it to the right, so it is seen again. What is taken
    away moves it to the left, unseen: that only the count tells, and a second reading mends it."""
    at = msgspec.structs.replace(at, size=at.size or len(found.listed))
    new, idle = _new(at, found)
    asked = at.number or pagination.first
    # By the platform's own sum: how large its pages are, the first one shows.
    reached = found.said is not None and (asked - pagination.first + 1) * at.size >= found.said
    if not found.listed or found.more is False or (found.more is None and reached):
        return Onward(new, None)
    return Onward(new, msgspec.structs.replace(_looked_through(at, found, idle), number=asked + 1))


def by_offset(at: Position, found: Found, pagination: ByOffset) -> Onward:
    """Pages overlap by one item, so that a list which has become shorter is noticed: that item is missing then, and
    the page before is read again."""
    at = msgspec.structs.replace(at, size=at.size or len(found.listed))
    new, idle = _new(at, found)
    ids = [one.item.id for one in found.listed]
    if at.anchor and at.anchor not in ids and at.number and at.backs < STEPS_BACK:
        back = msgspec.structs.replace(
            at, number=max(0, at.number - max(1, at.size - 1)), anchor="", backs=at.backs + 1, same=0, pages=Trail()
        )
        return Onward(new, back, has_hole=True)
    reached = found.said is not None and at.number + len(ids) >= found.said
    is_end = not ids or (len(ids) == 1 and ids[0] == at.anchor)
    if is_end or found.more is False or (found.more is None and reached):
        return Onward(new, None)
    overlap = 1 if at.size > 1 and len(ids) > 1 else 0
    onward = _looked_through(at, found, idle)
    return Onward(
        new,
        msgspec.structs.replace(onward, number=at.number + len(ids) - overlap, anchor=ids[-1] if overlap else ""),
    )


def by_token(at: Position, found: Found) -> Onward:
    """By what the platform says: a cursor, or a URL."""
    new, idle = _new(at, found)
    if found.next is None or found.more is False:
        return Onward(new, None)
    if not found.listed and found.next == at.token:
        return Onward(new, None, is_promised=True)
    return Onward(new, _to_token(at, found, idle, found.next))


def by_last_id(at: Position, found: Found) -> Onward:
    """After the last item."""
    new, idle = _new(at, found)
    if not found.listed or found.more is False:
        return Onward(new, None)
    return Onward(new, _to_token(at, found, idle, found.listed[-1].item.id))


def _to_token(at: Position, found: Found, idle: int, token: str) -> Position:
    tokens = at.tokens.step(token)
    if tokens is None or token == at.token:
        raise Refused("The platform's pages lead in a circle: what it says to ask for next has been asked for before.")
    return msgspec.structs.replace(_looked_through(at, found, idle), token=token, tokens=tokens)


def _new(at: Position, found: Found) -> tuple[Sequence[Listed], int]:
    """What the page before did not have, and how many pages in a row had nothing new."""
    before = set(at.ids)
    new = [one for one in found.listed if one.item.id not in before]
    return new, 0 if new else at.idle + 1


def _looked_through(at: Position, found: Found, idle: int) -> Position:
    """The position with the page's items noted. Raises Refused where pages bring nothing new for too long."""
    if idle >= IDLE_PAGES:
        raise Refused(_NOTHING_NEW)
    ids = tuple(one.item.id for one in found.listed)
    return msgspec.structs.replace(_not_the_same(at, found), ids=ids or at.ids, idle=idle)


def _not_the_same(at: Position, found: Found) -> Position:
    """The position with the page noted. Raises Refused where the very same ones come again and again."""
    if not found.listed:
        return at
    pages = at.pages.step("\0".join(one.item.id for one in found.listed))
    if pages is not None:
        return msgspec.structs.replace(at, pages=pages)
    if at.same + 1 >= SAME_PAGES:
        raise Refused(_NOTHING_NEW)
    return msgspec.structs.replace(at, same=at.same + 1)
