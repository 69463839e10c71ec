"""The pages of an export, as PostgreSQL writes them."""

import asyncio

import msgspec

from services.export.column_expressions import expressions
from services.export.filters import Filter
from services.export.formats import Format
from services.export.statements import ASCENDING, DESCENDING, sql
from services.export.store import Span
from shared.db import Connection

# Less than it takes PostgreSQL to fill the socket's buffer, so that it never waits.
GATHER_SECONDS = 0.001
GATHERED_PART = 0.9
# What stands for something that no parameter can be.
_COLUMNS, _PAGE = "e.event_id AS columns", "SELECT 1 AS page"


class PageTooLargeError(Exception):
    """A page's rows come to more bytes than may be held."""


class Page(msgspec.Struct, frozen=True):
    """Rows of a span, as they go into the file."""

    data: list[bytes]
    rows: int

    @property
    def size(self) -> int:
        return sum(map(len, self.data))


class PageQuery(msgspec.Struct, frozen=True):
    """What COPY is to read for a page, and how it is to write it: `quote` None is CSV's own."""

    text: str
    delimiter: str
    quote: str | None = None


def page_query(
    company_id: str,
    file_format: Format,
    span: Span,
    last_change: int,
    which: Filter,
    newest_first: bool,
    limit: int,
) -> PageQuery:
    """The query for the lines of the file, for the events of a span that match, at most `limit`; statuses as of
    `last_change`."""
    order = DESCENDING if newest_first else ASCENDING
    page = sql.inlined(
        "export_page",
        {_COLUMNS: expressions(file_format), ASCENDING: order},
        company_id=company_id,
        after=span.after,
        upto=span.upto,
        last_change=last_change,
        max_rows=limit,
        **msgspec.structs.asdict(which),
    )
    if not file_format.kind.is_json:
        return PageQuery(page, file_format.dialect.delimiter)
    rows = sql.inlined("json_rows", {_PAGE: page}, before=file_format.before_row)
    # Quote and delimiter are characters that JSON never holds as they are: its lines go out byte for byte.
    return PageQuery(rows, delimiter="\x02", quote="\x01")


async def copy_page(connection: Connection, query: PageQuery, max_bytes: int | None, expected_bytes: int) -> Page:
    """Reads a page. What it may be expected to come to, makes it no other, only faster.

    Raises PageTooLargeError when it comes to more than `max_bytes`. After any error the connection is good for nothing
    more.
    """
    pieces: list[bytes] = []
    size = 0

    async def keep(piece: bytes) -> None:
        nonlocal size
        size += len(piece)
        if max_bytes is not None and size > max_bytes:
            raise PageTooLargeError
        pieces.append(piece)
        # PostgreSQL writes 8 KiB at a time. asyncpg reads on only after this, and then all that has come by then: one
        # wake-up for what would be ten. Not near the end: nothing comes after it that it would be worth waiting for.
        if size < expected_bytes * GATHERED_PART:
            await asyncio.sleep(GATHER_SECONDS)

    status: str = await connection.copy_from_query(
        query.text, output=keep, format="csv", delimiter=query.delimiter, quote=query.quote
    )
    return Page(pieces, int(status.removeprefix("COPY ")))
