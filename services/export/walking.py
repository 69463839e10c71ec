"""Gathering a page's events along the log, up or down, part by part."""

from collections.abc import Sequence

from services.export import event_store, search_store
from services.export.event_store import Event
from services.export.filters import Filter
from services.export.search_store import Found
from services.export.store import Span
from shared.db import Connection


class Gathered:
    """What a page has so far, and what of the log is left to look at. Events are in the order of the walk.

    `most` is the number of events, `max_payload_bytes` the size of payloads, at which it is full (None: without them).
    """

    def __init__(
        self,
        connection: Connection,
        company_id: str,
        which: Filter,
        left: Span,
        down: bool,
        most: int,
        max_payload_bytes: int | None,
    ) -> None:
        self.connection = connection
        self.company_id = company_id
        self.which = which
        self.down = down
        self.events: list[Event] = []
        self.left = left
        self._whole = left
        self._most = most
        self._bytes_left = max_payload_bytes

    @property
    def room(self) -> int:
        """How many more events there is room for; 0 when the page is full."""
        if self._bytes_left is not None and self._bytes_left <= 0:
            return 0
        return self._most - len(self.events)

    @property
    def is_done(self) -> bool:
        """Whether the page is full, or nothing is left."""
        return self.room == 0 or self.left.after == self.left.upto

    @property
    def seen(self) -> Span:
        """The part of the log that has been dealt with."""
        if self.down:
            return Span(self.left.upto, self._whole.upto)
        return Span(self._whole.after, self.left.after)

    async def walk(self, events: int) -> None:
        """Looks through the next `events` of the log."""
        span = part(self.left, self.down, of=events)
        found = await event_store.list_events(
            self.connection, self.company_id, span, self.which, self.down, self.room, self._bytes_left
        )
        self._add(found, span)

    async def follow(self, events: int) -> None:
        """Goes along the index on types, or that on sources, past the next `events` that it leads to."""
        most = self.room if self.which.is_index_alone else max(events, self.room)
        found = await search_store.find_indexed(
            self.connection, self.company_id, self.left, self.which, self.down, most
        )
        # As far as the last one, where there may be more.
        reached = part(self.left, self.down, to=found[-1].sequence) if len(found) == most else self.left
        await self.take(found, reached)

    async def take(self, found: Sequence[Found], reached: Span) -> None:
        """Takes what matches among events found in the next part of the log, which they come to stand for."""
        if not found:
            self._add([], reached)
            return
        events = await event_store.list_found(
            self.connection, self.company_id, found, self.which, self.down, self.room, self._bytes_left
        )
        self._add(events, reached)

    def _add(self, events: Sequence[Event], span: Span) -> None:
        self.events += events
        if self._bytes_left is not None:
            self._bytes_left -= sum(len(event.payload or b"") for event in events)
        if self.room == 0:
            # Cut short: dealt with as far as the last event only.
            span = part(span, self.down, to=events[-1].sequence)
        self.left = rest(self.left, span, self.down)


def part(span: Span, down: bool, *, of: int | None = None, to: int | None = None) -> Span:
    """The first part of a span in the walk's direction: `of` so many events, or as far as the event `to`, which is in
    it."""
    if down:
        return Span(max(span.after, span.upto - of) if of is not None else (to or 0) - 1, span.upto)
    return Span(span.after, min(span.upto, span.after + of) if of is not None else to or 0)


def rest(span: Span, dealt_with: Span, down: bool) -> Span:
    """What is left of a span behind its first part."""
    return Span(span.after, dealt_with.after) if down else Span(dealt_with.upto, span.upto)
