"""Reads an export's rows page by page, ahead of what is being sent."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

import msgspec

from services.export import page_store, search_store
from services.export.chunker import Boundary
from services.export.filters import Filter
from services.export.formats import Format
from services.export.page_store import Page, PageTooLargeError
from services.export.store import Mark, Span
from services.export.turns import Turns
from shared import db

MIN_SPAN = 1_000
# Pages read at the same time, each by a process of PostgreSQL's own.
READ_AHEAD = 2
MAX_ROWS = 20_000
# Events that one page looks through at most, and how many of them an index may have led to: they are told first, by
# their numbers.
MAX_SPAN = 200_000
MAX_FOUND = 5_000
# What a page should come to: so much that its planning, most of a millisecond, costs little beside its rows. And what
# it may come to at most, if it is of more than one event.
PAGE_BYTES = 2 * 1024 * 1024
MAX_PAGE_BYTES = 16 * 1024 * 1024
# A page that takes longer is followed by a shorter one: what a condition costs depends on the payloads, and no page may
# come near the timeout, or a retry would end there too.
PAGE_SECONDS = 2
# The first page fills a chunk, with some room for the guess at its rows: something to send as soon as may be.
FIRST_PAGE_BYTES = 320 * 1024
GROWTH = 8


class _Part(msgspec.Struct, frozen=True):
    """What a page reads: a span of the log, and the events in it that an index leads to; all, where none does."""

    span: Span
    events: int


_Reading = deque[tuple[_Part, asyncio.Task[Page]]]


class ExportReader:
    """One export's way through a part of the log, from `start` on. `limit` None: all events of the part."""

    def __init__(
        self,
        pool: db.Pool,
        turns: Turns,
        company_id: str,
        file_format: Format,
        mark: Mark,
        which: Filter,
        part: Span,
        start: Boundary,
        *,
        newest_first: bool,
        limit: int | None,
    ) -> None:
        self._pool = pool
        self._turns = turns
        self._company_id = company_id
        self._format = file_format
        self._mark = mark
        self._which = which
        self._newest_first = newest_first
        self._log = part
        self._at = min(start.at, part.upto) if newest_first else max(start.at, part.after)
        self._left = (mark.last_sequence if limit is None else limit) - start.rows
        # In events that are looked at: all, or those that an index leads to.
        self._length = FIRST_PAGE_BYTES // file_format.kind.value
        self._max_length = self._most = MAX_FOUND if which.is_indexed else MAX_SPAN
        self._event_bytes: float = file_format.kind.value
        self._last_length: int | None = None
        # The numbers that an index has led to, and whether there are no more.
        self._found: deque[int] = deque()
        self._is_all_found = False
        # How much of a limit is left is known only when a page has been read.
        self._ahead = READ_AHEAD if limit is None else 1

    async def pages(self) -> AsyncGenerator[tuple[Page, int], None]:
        """All rows, page by page, each with the sequence that the log has then been read to; pages may be empty. Raises
        DatabaseUnavailable when the database is lost.

        Each page is read whole, in a short transaction: a slow reader holds neither a connection nor old row versions.
        Close the generator (`aclosing`) to stop.
        """
        reading: _Reading = deque()
        try:
            await self._read_ahead(reading)
            while reading:
                part, task = reading[0]
                try:
                    page = await task
                except PageTooLargeError:
                    # All that is under way is planned anew, in smaller pages: it, too, would be held at once.
                    await _stop(reading)
                    self._begin_again(part)
                    await self._read_ahead(reading)
                    continue
                reading.popleft()
                self._left -= page.rows
                # The next query goes out first: PostgreSQL works on it while this page is cut into chunks.
                await self._read_ahead(reading)
                await asyncio.sleep(0)
                yield page, self._end(part.span)
        finally:
            await _stop(reading)

    async def _read_ahead(self, reading: _Reading) -> None:
        while len(reading) < self._ahead and (part := await self._next()):
            self._at = self._end(part.span)
            reading.append((part, asyncio.create_task(self._read(part))))

    def _end(self, span: Span) -> int:
        return span.after if self._newest_first else span.upto

    async def _next(self) -> _Part | None:
        left = Span(self._log.after, self._at) if self._newest_first else Span(self._at, self._log.upto)
        if self._left <= 0 or left.after >= left.upto:
            return None
        if self._which.is_indexed:
            return await self._next_found(left)
        length = min(self._length_of(left), left.upto - left.after)
        span = Span(left.upto - length, left.upto) if self._newest_first else Span(left.after, left.after + length)
        return _Part(span, length)

    def _length_of(self, left: Span) -> int:
        # The last pages share what is left, since they are read together. Once: halves of halves would be many pages.
        events = left.upto - left.after
        if self._last_length is None and events <= self._ahead * self._length:
            self._last_length = max(MIN_SPAN, -(-events // self._ahead))
        return min(self._length, self._last_length or self._length)

    async def _next_found(self, left: Span) -> _Part | None:
        """A part from one event that the index leads to, to another: what lies between parts is never looked at, be it
        millions of events, and a part holds no more events than a page may, however many come after few."""
        if not self._found and not self._is_all_found:
            await self._find(left)
        if not self._found:
            return None
        first = last = self._found.popleft()
        events = 1
        while self._found and events < self._length and abs(self._found[0] - first) < MAX_SPAN:
            last = self._found.popleft()
            events += 1
        return _Part(Span(min(first, last) - 1, max(first, last)), events)

    async def _find(self, left: Span) -> None:
        most = self._ahead * self._length
        async with (
            db.unavailable_if_lost(),
            self._turns.of(self._company_id),
            self._pool.acquire() as connection,
        ):
            found = await search_store.find_indexed(
                connection, self._company_id, left, self._which, self._newest_first, most
            )
        self._found.extend(one.sequence for one in found)
        self._is_all_found = len(found) < most

    def _begin_again(self, part: _Part) -> None:
        self._at = part.span.upto if self._newest_first else part.span.after
        # No longer ones until rows have come: what was too much still lies ahead.
        self._most = self._length = max(1, part.events // GROWTH)
        self._last_length = None
        self._found.clear()
        self._is_all_found = False

    def _suitable_length(self, events: int, page: Page, seconds: float) -> int:
        if seconds > PAGE_SECONDS:
            return max(1, int(events * PAGE_SECONDS / seconds))
        if page.rows == 0:
            return min(events * GROWTH, self._most)
        self._most = self._max_length
        rows = min(PAGE_BYTES * page.rows // page.size, MAX_ROWS)
        return max(1, min(events * rows // page.rows, events * GROWTH, self._most))

    async def _read(self, part: _Part) -> Page:
        query = page_store.page_query(
            self._company_id,
            self._format,
            part.span,
            self._mark.last_change,
            self._which,
            self._newest_first,
            self._left,
        )
        async with (
            db.unavailable_if_lost(),
            self._turns.of(self._company_id),
            self._pool.acquire() as connection,
        ):
            began = asyncio.get_running_loop().time()
            try:
                page = await page_store.copy_page(
                    connection, query, MAX_PAGE_BYTES if part.events > 1 else None, int(part.events * self._event_bytes)
                )
            except BaseException:
                # A COPY that is broken off is cancelled, and the request may come late: it would then hit whatever
                # statement the connection runs next. PostgreSQL itself notices that nobody is there any more.
                connection.terminate()
                raise
            if page.rows:
                self._event_bytes = page.size / part.events
            self._length = self._suitable_length(part.events, page, asyncio.get_running_loop().time() - began)
        return page


async def _stop(reading: _Reading) -> None:
    for _, task in reading:
        task.cancel()
    await asyncio.gather(*(task for _, task in reading), return_exceptions=True)
    reading.clear()
