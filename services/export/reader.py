"""Reads an export's rows page by page, ahead of what is being sent."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

from services.export import store
from services.export.chunker import Boundary
from services.export.filters import Filter
from services.export.formats import Format
from services.export.store import Mark, Page, PageTooLargeError, Span
from services.export.turns import Turns
from shared import db

MIN_SPAN = 1_000
# Pages read at the same time, each by a process of PostgreSQL's own.
READ_AHEAD = 2
MAX_ROWS = 20_000
# Events that one page looks through at most when few of them match: without an index, and with one.
MAX_SPAN = 200_000
MAX_INDEXED_SPAN = 50_000_000
# What a page should come to: so much that its planning, most of a millisecond, costs little beside its rows. And what
# it may come to at most, if it is of more than one event.
PAGE_BYTES = 2 * 1024 * 1024
MAX_PAGE_BYTES = 16 * 1024 * 1024
# The first page fills a chunk, with some room for the guess at its rows: something to send as soon as may be.
FIRST_PAGE_BYTES = 320 * 1024
GROWTH = 8


class ExportReader:
    """One export's way through the log, from `start` on. `limit` None: all events up to the mark."""

    def __init__(
        self,
        pool: db.Pool,
        turns: Turns,
        company_id: str,
        file_format: Format,
        mark: Mark,
        which: Filter,
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
        self._max_span = MAX_INDEXED_SPAN if which.is_indexed else MAX_SPAN
        self._at = start.at
        self._left = (mark.last_sequence if limit is None else limit) - start.rows
        self._span_length = FIRST_PAGE_BYTES // file_format.kind.value
        self._last_length: int | None = None
        # How much of a limit is left is known only when a page has been read.
        self._ahead = READ_AHEAD if limit is None else 1

    async def pages(self) -> AsyncGenerator[tuple[Page, int], None]:
        """All rows, page by page, each with the sequence that the log has then been read to; pages may be empty. Raises
        DatabaseUnavailable when the database is lost.

        Each page is read whole, in a short transaction: a slow reader holds neither a connection nor old row versions.
        Close the generator (`aclosing`) to stop.
        """
        reading: deque[asyncio.Task[list[tuple[Page, int]]]] = deque()
        try:
            self._read_ahead(reading)
            while reading:
                pages = await reading[0]
                reading.popleft()
                self._read_ahead(reading)
                # The next query goes out first: PostgreSQL works on it while this page is cut into chunks.
                await asyncio.sleep(0)
                for page in pages:
                    yield page
        finally:
            for task in reading:
                task.cancel()
            await asyncio.gather(*reading, return_exceptions=True)

    def _read_ahead(self, reading: "deque[asyncio.Task[list[tuple[Page, int]]]]") -> None:
        while len(reading) < self._ahead and (span := self._next_span()).after < span.upto:
            self._at = span.after if self._newest_first else span.upto
            reading.append(asyncio.create_task(self._read(span)))

    def _next_span(self) -> Span:
        if self._left == 0:
            return Span(self._at, self._at)
        if self._newest_first:
            return Span(max(0, self._at - self._length(self._at)), self._at)
        left = self._mark.last_sequence - self._at
        return Span(self._at, self._at + min(left, self._length(left)))

    def _length(self, left: int) -> int:
        # The last pages share what is left, since they are read together. Once: halves of halves would be many pages.
        if self._last_length is None and left <= self._ahead * self._span_length:
            self._last_length = max(MIN_SPAN, -(-left // self._ahead))
        return min(self._span_length, self._last_length or self._span_length)

    async def _read(self, span: Span) -> list[tuple[Page, int]]:
        length = span.upto - span.after
        try:
            async with db.unavailable_if_lost():
                page = await self._copy(span, MAX_PAGE_BYTES if length > 1 else None)
        except PageTooLargeError:
            middle = span.after + length // 2
            halves = (Span(span.after, middle), Span(middle, span.upto))
            self._span_length = max(1, length // 2)
            return [
                page for half in (reversed(halves) if self._newest_first else halves) for page in await self._read(half)
            ]
        self._left -= page.rows
        self._span_length = self._suitable_length(length, page)
        return [(page, span.after if self._newest_first else span.upto)]

    def _suitable_length(self, length: int, page: Page) -> int:
        if page.rows == 0:
            return min(length * GROWTH, self._max_span)
        rows = min(PAGE_BYTES * page.rows // page.size, MAX_ROWS)
        return max(1, min(length * rows // page.rows, length * GROWTH, self._max_span))

    async def _copy(self, span: Span, max_bytes: int | None) -> Page:
        query = store.page_query(
            self._company_id,
            self._format,
            span,
            self._mark.last_change,
            self._which,
            self._newest_first,
            self._left,
        )
        async with self._turns.of(self._company_id), self._pool.acquire() as connection:
            try:
                return await store.copy_page(connection, query, max_bytes)
            except BaseException:
                # A COPY that is broken off is cancelled, and the request may come late: it would then hit whatever
                # statement the connection runs next.
                connection.terminate()
                raise
