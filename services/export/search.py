"""Searching payloads and words in bounded time, whatever the term.

How common a term is nobody knows before: PostgreSQL guesses one in a hundred for anything contained. So the first part
of the log is looked through, and tells. A term that is common there is soon found by going on; for one that is not, the
indexes are asked, bucket by bucket of the log, in growing groups.
"""

from services.export import store
from services.export.store import Found, Span
from services.export.walking import Gathered, part

BUCKET_BITS = 16
"""The indexes' buckets: sequence >> 16."""
FIRST = 1_000
"""Events that are looked through to learn how common a term is."""
MAX_WALK = 8_000
"""Events that may be looked through to fill the page."""
# What the indexes have found and is looked at one by one, at once and in one call.
MAX_LOOK, MAX_LOOKS = 1_000, 3_000


async def gather(gathered: Gathered) -> None:
    """Gathers what matches. A short page is not the end: what is left is to be gone on with."""
    await gathered.walk(FIRST)
    # To fill a quarter of the page, or more: what the indexes find of a term like that takes them longer.
    if gathered.is_done or len(gathered.events) * MAX_WALK * 4 >= gathered.room * FIRST:
        if not gathered.is_done:
            await gathered.walk(MAX_WALK)
        return
    ids = await _ids(gathered)
    looks, group = 0, 1
    while not gathered.is_done and looks < MAX_LOOKS:
        span = _buckets(gathered.left, gathered.down, group)
        buckets = list(range((span.after + 1) >> BUCKET_BITS, (span.upto >> BUCKET_BITS) + 1))
        found = await store.find_terms(
            gathered.connection, gathered.company_id, buckets, span, gathered.which, gathered.down, MAX_LOOK
        )
        if len(found) == MAX_LOOK:
            # More may lie behind the last one; a smaller group then comes next.
            span = part(span, gathered.down, to=found[-1].sequence)
            group = 1
        else:
            group *= 2
        await gathered.take(_merged(found, ids, span, gathered.down), span)
        looks += len(found)


async def _ids(gathered: Gathered) -> list[Found]:
    if gathered.which.text is None:
        return []
    return await store.find_ids(gathered.connection, gathered.company_id, gathered.left, gathered.which.text)


def _buckets(left: Span, down: bool, count: int) -> Span:
    """What is left of the log's next `count` buckets."""
    if down:
        last = left.upto >> BUCKET_BITS
        return Span(max(left.after, ((last - count + 1) << BUCKET_BITS) - 1), left.upto)
    first = (left.after + 1) >> BUCKET_BITS
    return Span(left.after, min(left.upto, ((first + count) << BUCKET_BITS) - 1))


def _merged(found: list[Found], ids: list[Found], span: Span, down: bool) -> list[Found]:
    """What was found, and those of the ids that lie in the span, each once, in the walk's order."""
    within = [one for one in ids if span.after < one.sequence <= span.upto]
    if not within:
        return found
    return sorted({one.sequence: one for one in (*found, *within)}.values(), key=lambda one: one.sequence, reverse=down)
