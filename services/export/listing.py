"""One page of a list: a bounded walk along the log, up or down."""

from collections.abc import Sequence

import msgspec

from services.export import store
from services.export.filters import Filter
from services.export.store import Event, Span
from shared.db import Connection

# Events that one call looks through where no index leads to those that match: what keeps a call short.
MAX_SPAN = 20_000
MAX_PAYLOAD_BYTES = 8 * 1024 * 1024


class Walk(msgspec.Struct, frozen=True, array_like=True):
    """Where a page begins, and in which direction of the log it goes. `mark` is the log's end as the first page saw it:
    no page goes beyond. Downwards the event `at` itself comes first, upwards the one after it."""

    mark: int
    at: int
    down: bool


class Page(msgspec.Struct, frozen=True):
    """The events of a page in the walk's order, and the part of the log that it has dealt with."""

    events: Sequence[Event]
    seen: Span


async def read_page(
    connection: Connection, company_id: str, which: Filter, walk: Walk, page_size: int, *, with_payload: bool
) -> Page:
    """At most `page_size` events; fewer, even none, when the part of the log that a call looks through has no more."""
    left = Span(0, walk.at) if walk.down else Span(walk.at, walk.mark)
    span = left if which.is_indexed else _bounded(left, walk.down, max(MAX_SPAN, page_size))
    events = await store.list_events(
        connection, company_id, span, which, walk.down, page_size, MAX_PAYLOAD_BYTES if with_payload else None
    )
    # A page that is full, or cut by its payloads, has dealt with the log as far as its last event.
    cut = with_payload and sum(len(event.payload or b"") for event in events) >= MAX_PAYLOAD_BYTES
    if cut or len(events) == page_size:
        last = events[-1].sequence
        span = Span(last - 1, span.upto) if walk.down else Span(span.after, last)
    return Page(events, span)


def _bounded(span: Span, down: bool, most: int) -> Span:
    if down:
        return Span(max(span.after, span.upto - most), span.upto)
    return Span(span.after, min(span.upto, span.after + most))


def older(walk: Walk, seen: Span) -> Walk | None:
    """The walk on to what lies below what has been seen; None when there is nothing."""
    return Walk(walk.mark, seen.after, down=True) if seen.after > 0 else None


def newer(walk: Walk, seen: Span) -> Walk | None:
    """The walk on to what lies above what has been seen, up to the mark; None when there is nothing."""
    return Walk(walk.mark, seen.upto, down=False) if seen.upto < walk.mark else None
