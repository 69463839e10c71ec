"""The shop's history: made-up items around given payloads, the same for the same seed."""

import random
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

MOST_TIED = 4
"""Generated events of one millisecond, at most (a duplicate may come on top): larger pages get past any of them."""

_TIED = 0.1
_UNDELIVERED = 0.1
_LATEST_DUPLICATE = 600_000
_MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Item:
    """One line of the history. Several may tell of the same event."""

    id: str
    event: int
    """Which event, counted from 0: the same number has the same payload."""
    created: int
    """In milliseconds since 1970."""
    delivered: bool
    copy: bool = False
    """Whether it tells of an event that another item has told of."""
    json: bytes | None = None
    """As Grapfy lists it; made when first asked for."""

    @property
    def order(self) -> tuple[int, str]:
        return self.created, self.id


class History:
    """What the shop has to list, oldest first, of one time by id.

    `events` of them, dated over `span` before `end` (the last full hour unless given), with ties of up to MOST_TIED.
    Of the events, the fraction `duplicates` is listed a second time, under another id and up to ten minutes later;
    the fraction `late`, none of those, is not listed before `publish`.

    `payloads` are taken in turn and only as far as asked for, so that there may be more of them than events: `add` uses
    the next. Each must be a JSON value. They are listed as they are: the times in them are not the items'.
    """

    def __init__(
        self,
        payloads: Iterable[bytes],
        *,
        events: int,
        seed: int,
        duplicates: float = 0,
        late: float = 0,
        end: datetime | None = None,
        span: timedelta = timedelta(days=20),
    ) -> None:
        duplicated, withheld = round(events * duplicates), round(events * late)
        if not (duplicated >= 0 <= withheld and duplicated + withheld <= events):
            raise ValueError("duplicates and late are fractions, together at most 1")
        self._more = iter(payloads)
        self._payloads: list[bytes] = []
        self._events = events
        rng = random.Random(f"history/{seed}")  # noqa: S311  # made-up data, nothing secret
        last = to_milliseconds(end or datetime.now(UTC).replace(minute=0, second=0, microsecond=0))
        items = list(_originals(rng, events, last, span // _MILLISECOND))
        chosen = rng.sample(range(events), duplicated + withheld)
        late_events = set(chosen[duplicated:])
        self._late = [item for item in items if item.event in late_events]
        copies = [_copy(rng, items[event], last) for event in chosen[:duplicated]]
        self._listed = [item for item in items if item.event not in late_events] + copies
        self._sort()

    @property
    def published(self) -> int:
        """How many different events are listed now."""
        return self._events - len(self._late)

    @property
    def payloads(self) -> Mapping[int, bytes]:
        """Those of the different events that are listed now, by the events' numbers."""
        return {event: self.payload(event) for event in self._by_event}

    def withheld(self, since: int) -> int:
        """How many late events of that time (milliseconds) or later are not listed yet."""
        return sum(item.created >= since for item in self._late)

    def page(self, since: int, limit: int) -> Sequence[Item]:
        """The first `limit` items that were created at `since` (milliseconds) or later."""
        first = bisect_left(self._listed, since, key=lambda item: item.created)
        return self._listed[first : first + limit]

    def between(self, start: int | None, until: int | None, *, copies: bool) -> Sequence[Item]:
        """Those created at `start` (milliseconds) or later, and before `until`; with the second ones of an event or
        without."""
        items = self._listed if copies else self._firsts
        first = 0 if start is None else bisect_left(items, start, key=lambda item: item.created)
        end = len(items) if until is None else bisect_left(items, until, key=lambda item: item.created)
        return items[first:end]

    def find(self, event: int) -> Item | None:
        """The first item of an event; None when none is listed."""
        return self._by_event.get(event)

    def publish(self) -> int:
        """Lists the late events, at the place of their time. Says how many: 0 the second time."""
        late, self._late = self._late, []
        if late:
            self._list(late)
        return len(late)

    def add(self, count: int, created: datetime | None = None) -> Sequence[str]:
        """Lists `count` new events: all of the time `created`, or else one a millisecond up to now. Gives their items'
        ids. Raises ValueError when payloads run out."""
        self.payload(self._events + count - 1)
        last = to_milliseconds(created or datetime.now(UTC))
        step = 0 if created else 1
        added = [
            Item(_id(event), event, last - step * (self._events + count - 1 - event), delivered=True)
            for event in range(self._events, self._events + count)
        ]
        self._events += count
        self._list(added)
        return [item.id for item in added]

    def payload(self, event: int) -> bytes:
        """What the event's webhook carries. Raises ValueError when payloads run out."""
        while len(self._payloads) <= event:
            payload = next(self._more, None)
            if payload is None:
                raise ValueError(f"the shop was given {len(self._payloads)} payloads, and needs more")
            self._payloads.append(payload)
        return self._payloads[event]

    def _list(self, items: Iterable[Item]) -> None:
        self._listed.extend(items)
        self._sort()

    def _sort(self) -> None:
        self._listed.sort(key=lambda item: item.order)
        self._firsts = [item for item in self._listed if not item.copy]
        self._by_event = {item.event: item for item in self._firsts}


def to_time(milliseconds: int) -> datetime:
    return _EPOCH + milliseconds * _MILLISECOND


def to_milliseconds(time: datetime) -> int:
    """Milliseconds since 1970, rounded up: what is created then or later is created at `time` or later."""
    return -((_EPOCH - time) // _MILLISECOND)


def _originals(rng: random.Random, events: int, end: int, span: int) -> Iterator[Item]:
    created, tied = 0, MOST_TIED
    for event in range(events):
        if rng.random() < _TIED and tied < MOST_TIED:
            tied += 1
        else:
            # Each in a stretch of its own, so that only ties tie.
            begin, stop = (end - span + span * number // events for number in (event, event + 1))
            created, tied = rng.randrange(begin, max(stop, begin + 1)), 1
        yield Item(_id(event), event, created, delivered=rng.random() >= _UNDELIVERED)


def _copy(rng: random.Random, item: Item, end: int) -> Item:
    later = rng.randint(1, max(1, min(_LATEST_DUPLICATE, end - item.created)))
    return Item(f"{item.id}-again", item.event, item.created + later, delivered=True, copy=True)


def _id(event: int) -> str:
    return f"whe_{event:08}"
