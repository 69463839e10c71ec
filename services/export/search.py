"""Searching payloads and words in bounded time, whatever the terms.

How common a term is nobody knows before: PostgreSQL guesses one in a hundred for anything contained. So the first part
of the log is looked through, and tells. What is common there is soon found by going on; for what is not, the indexes
are asked, bucket by bucket of the log. What a bucket costs can't be told before either: two terms that are each common
and never together take many times as long as one that is nowhere. So the server's clock says when enough has been asked
for one call.
"""

from collections.abc import Sequence

from services.export import search_store
from services.export.filters import Filter
from services.export.search_store import Found, TermCount, Terms
from services.export.store import Span
from services.export.walking import Gathered, part, rest

BUCKET_BITS = 16
"""The indexes' buckets: sequence >> 16."""
FIRST = 1_000
"""Events that are looked through to learn how common the terms are."""
MAX_WALK, MAX_INDEXED = 6_000, 1_000
"""Events that may be looked through to fill the page, along the log or along the index on types or sources."""
SECONDS = 0.004
"""How long the server may ask the indexes in one call. It asks for one bucket in any case: each call gets on."""
# Buckets that are asked for together: few at first, which may well fill the page.
GROUP, GROWTH = 2, 8
# What the indexes have found and is looked at one by one: of a bucket, and in one call.
MAX_LOOK, MAX_LOOKS = 1_000, 2_000
# Of so many events that are looked through, one may have a term that the index is to be asked for; more, and looking
# through them is as fast. For a word that is only begun the index collects all that it knows of any such word, from
# before the bucket and after, each time.
RARE, RARE_BEGUN = 20, 200


async def gather(gathered: Gathered) -> None:
    """Gathers what matches. A short page is not the end: what is left is to be gone on with."""
    first = part(gathered.left, gathered.down, of=FIRST)
    await gathered.walk(FIRST)
    if gathered.is_done:
        return
    # To fill a quarter of the page, or more: what the indexes find of a term like that takes them longer.
    if len(gathered.events) * MAX_WALK * 4 >= gathered.room * FIRST:
        await gathered.walk(MAX_WALK)
        return
    counts = await search_store.count_terms(gathered.connection, gathered.company_id, first, gathered.which)
    terms = _rare(gathered.which, counts)
    if terms != Terms():
        await _gather_found(gathered, terms)
    elif gathered.which.is_indexed:
        await gathered.follow(MAX_INDEXED)
    else:
        await gathered.walk(MAX_WALK)


def _rare(which: Filter, counts: Sequence[TermCount]) -> Terms:
    """The terms to ask the indexes for: none of those that are too common for that."""
    rare = [one for one in counts if one.events * (RARE_BEGUN if one.is_begun else RARE) <= FIRST]

    def words(field: str, typed: str | None) -> str | None:
        if typed is None or any(one.field == field for one in counts):
            return " & ".join(one.words for one in rare if one.field == field and one.words) or None
        # There is no word in it: no name has it.
        return ""

    return Terms(
        payload_contains=which.payload_contains if any(one.field == "payload" for one in rare) else None,
        customer_words=words("customer", which.customer),
        text_words=words("text", which.text),
    )


async def _gather_found(gathered: Gathered, terms: Terms) -> None:
    ids = await _ids(gathered)
    months = await search_store.months(gathered.connection, gathered.company_id, gathered.left)
    looks, seconds, group = MAX_LOOKS, SECONDS, GROUP
    for month in reversed(months) if gathered.down else months:
        left = month.span
        while left.after < left.upto:
            buckets = _buckets(left, gathered.down)[:group]
            answer = await search_store.find_terms(
                gathered.connection, gathered.company_id, month, left, buckets, terms, gathered.down, MAX_LOOK, seconds
            )
            found, reached = _reached(left, buckets, answer.buckets, gathered.down, looks)
            await gathered.take(_merged(found, ids, reached, gathered.down), reached)
            looks -= len(found)
            seconds -= answer.seconds
            if gathered.is_done or looks <= 0 or seconds <= 0:
                return
            left = rest(left, reached, gathered.down)
            group *= GROWTH


async def _ids(gathered: Gathered) -> list[Found]:
    if gathered.which.text is None:
        return []
    return await search_store.find_ids(gathered.connection, gathered.company_id, gathered.left, gathered.which.text)


def _buckets(span: Span, down: bool) -> Sequence[int]:
    """The buckets that a span lies in, in the walk's order."""
    buckets = range((span.after + 1) >> BUCKET_BITS, (span.upto >> BUCKET_BITS) + 1)
    return buckets[::-1] if down else buckets


def _reached(
    span: Span, buckets: Sequence[int], answers: Sequence[list[Found]], down: bool, looks: int
) -> tuple[list[Found], Span]:
    """What was found, as far as it may be looked at, and the part of the span that is then dealt with."""
    found: list[Found] = []
    for answer in answers:
        found += answer
        if len(found) >= looks or len(answer) == MAX_LOOK:
            # More may lie behind the last one.
            found = found[:looks]
            return found, part(span, down, to=found[-1].sequence)
    last = buckets[len(answers) - 1]
    # To the bucket's end, which may lie outside the span: its first number downwards, its last one upwards.
    if down:
        return found, Span(max(span.after, (last << BUCKET_BITS) - 1), span.upto)
    return found, Span(span.after, min(span.upto, ((last + 1) << BUCKET_BITS) - 1))


def _merged(found: list[Found], ids: list[Found], span: Span, down: bool) -> list[Found]:
    """What was found, and those of the ids that lie in the span, each once, in the walk's order."""
    within = [one for one in ids if span.after < one.sequence <= span.upto]
    if not within:
        return found
    return sorted({one.sequence: one for one in (*found, *within)}.values(), key=lambda one: one.sequence, reverse=down)
