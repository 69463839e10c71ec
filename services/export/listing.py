"""One page of a list, in bounded time: a short page rather than a slow one."""

from collections.abc import Sequence

import msgspec

from services.export import search, search_store, store
from services.export.event_store import Event
from services.export.filters import Filter
from services.export.store import Span
from services.export.walking import Gathered, part
from shared.db import Connection

# Events that one call looks through: along the log itself, and along an index that leads to some that match.
MAX_SPAN = 20_000
MAX_INDEXED = 2_000
# Events that occurred in a time, where it is gone on among them: of more, each call finds some along the log.
MAX_OCCURRED = 3_000
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
    whole = Span(0, walk.at) if walk.down else Span(walk.at, walk.mark)
    # What was received before or after the filter's time is dealt with by that.
    left = await store.received_part(connection, company_id, whole, which)
    if left.after >= left.upto:
        return Page([], whole)
    gathered = Gathered(
        connection, company_id, which, left, walk.down, page_size, MAX_PAYLOAD_BYTES if with_payload else None
    )
    if which.is_search:
        await search.gather(gathered)
    elif which.is_indexed:
        await gathered.follow(MAX_INDEXED)
    else:
        await gathered.walk(max(MAX_SPAN, page_size))
    if which.has_occurred and not gathered.is_done:
        await _take_occurred(gathered)
    seen = gathered.seen
    if walk.down:
        return Page(gathered.events, Span(whole.after if seen.after == left.after else seen.after, whole.upto))
    return Page(gathered.events, Span(whole.after, whole.upto if seen.upto == left.upto else seen.upto))


async def _take_occurred(gathered: Gathered) -> None:
    """Goes on along the index on the time of occurring, wherever in the log that leads to: to all there is, if that is
    not too much."""
    all_of_them = await search_store.find_occurred(
        gathered.connection, gathered.company_id, gathered.which, gathered.down, MAX_OCCURRED
    )
    if all_of_them is None:
        return
    left = gathered.left
    found = [one for one in all_of_them if left.after < one.sequence <= left.upto]
    most = max(MAX_INDEXED, gathered.room)
    reached = part(left, gathered.down, to=found[most - 1].sequence) if len(found) > most else left
    await gathered.take(found[:most], reached)


def older(walk: Walk, seen: Span) -> Walk | None:
    """The walk on to what lies below what has been seen; None when there is nothing."""
    return Walk(walk.mark, seen.after, down=True) if seen.after > 0 else None


def newer(walk: Walk, seen: Span) -> Walk | None:
    """The walk on to what lies above what has been seen, up to the mark; None when there is nothing."""
    return Walk(walk.mark, seen.upto, down=False) if seen.upto < walk.mark else None
