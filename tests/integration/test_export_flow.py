"""Readers that stall or leave: what an export holds is given back, and none holds more than a few pages."""

import asyncio
from datetime import timedelta
from typing import Any

import grpc
import pytest

from hookline.events.v1.events_pb2 import EVENT_ORDER_NEWEST_FIRST, EVENT_ORDER_OLDEST_FIRST, EventFilter
from hookline.export.v1 import export_service_pb2 as pb
from services.export import page_store, reader
from services.export.formats import FileKind
from services.export.page_store import Page, PageQuery, PageTooLargeError
from shared.db import Connection
from tests.exports import NDJSON, exported
from tests.in_process import Exporting, Ingesting, exporting
from tests.samples import grapfy, send
from tests.waiting import eventually

REQUEST = pb.ExportEventsRequest(company_id="acme", format=NDJSON)


async def store_much(ingest: Ingesting) -> None:
    for start in (0, 12, 24):
        await send(ingest.stub, "acme", [grapfy(n, x="x" * 1_000_000) for n in range(start, start + 12)])


async def is_idle(connection: Connection) -> bool:
    busy = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'hookline'"
        " AND (state <> 'idle' OR backend_xmin IS NOT NULL)"
    )
    return bool(busy == 0)


async def test_readers_that_leave_give_back_their_connections(
    ingest: Ingesting, database_url: str, connection: Connection
) -> None:
    await store_much(ingest)
    async with exporting(database_url, database_connections=2) as export:
        for _ in range(6):
            stream = export.export.ExportEvents(REQUEST)
            # The header and a chunk: pages are being read.
            await stream.read()
            await stream.read()
            stream.cancel()
        await eventually(lambda: is_idle(connection), timeout=5, what="all connections are idle")
        # With as many leaks as connections this one would wait for ever.
        assert (await exported(export.export, "acme", NDJSON)).trailer.rows == 36


async def test_a_reader_that_stalls_holds_no_connection(
    ingest: Ingesting, database_url: str, connection: Connection
) -> None:
    await store_much(ingest)
    async with exporting(database_url, database_connections=2) as export:
        stalled = [export.export.ExportEvents(REQUEST) for _ in range(3)]
        for stream in stalled:
            await stream.read()
        await eventually(lambda: is_idle(connection), what="all connections are idle")
        assert (await exported(export.export, "acme", NDJSON)).trailer.rows == 36
        for stream in stalled:
            rows = 0
            while (part := await stream.read()) is not grpc.aio.EOF:
                assert isinstance(part, pb.ExportEventsResponse)
                rows = part.trailer.rows
            assert rows == 36


@pytest.mark.parametrize("ended_by", ["cancel", "deadline"])
async def test_a_query_whose_caller_is_gone_ends(
    ingest: Ingesting, database_url: str, connection: Connection, ended_by: str
) -> None:
    await send(ingest.stub, "acme", [grapfy()])

    async def waiting() -> bool:
        return bool(await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

    async def over() -> bool:
        return not await waiting()

    async with exporting(database_url, export_connections=1) as export:
        # As a query that goes through millions of events and finds nothing: it has nothing to send, ever.
        async with connection.transaction():
            await connection.execute("LOCK TABLE hookline.event_status IN ACCESS EXCLUSIVE MODE")
            call = export.export.ExportEvents(REQUEST, timeout=2 if ended_by == "deadline" else None)
            reading = asyncio.ensure_future(call.read())
            await eventually(waiting, what="the page is being read")
            if ended_by == "cancel":
                call.cancel()
            await eventually(over, timeout=5, what="PostgreSQL has given up the query")
            with pytest.raises(asyncio.CancelledError if ended_by == "cancel" else grpc.aio.AioRpcError):
                await reading
            if ended_by == "deadline":
                assert await call.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        # Its turn and its connection are free: there is one of each.
        assert (await exported(export.export, "acme", NDJSON)).trailer.rows == 1


class Pages:
    """Counts what is read of the database: rows and bytes of pages, and those that were too large to be held."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self.too_large = 0
        monkeypatch.setattr(page_store, "copy_page", self._copy)

    async def _copy(self, connection: Connection, query: PageQuery, max_bytes: int | None, expected_bytes: int) -> Page:
        try:
            page = await _copy_page(connection, query, max_bytes, expected_bytes)
        except PageTooLargeError:
            self.too_large += 1
            raise
        self.sizes.append(page.size)
        return page


_copy_page = page_store.copy_page


@pytest.mark.parametrize(
    ("which", "newest_first"),
    [
        ({"types": ["sale"]}, False),
        ({"types": ["sale", "lead"], "currency": "USD"}, True),
        ({"currency": "USD"}, False),
        ({"currency": "USD"}, True),
    ],
    ids=str,
)
async def test_many_large_events_behind_many_that_do_not_match(
    ingest: Ingesting, export: Exporting, monkeypatch: pytest.MonkeyPatch, which: dict[str, Any], newest_first: bool
) -> None:
    # A tenth of what it is, to take a tenth of the time.
    monkeypatch.setattr(reader, "PAGE_BYTES", reader.PAGE_BYTES // 10)
    monkeypatch.setattr(reader, "MAX_PAGE_BYTES", reader.MAX_PAGE_BYTES // 10)
    barren = [grapfy(f"b{n}", eventType="lead") for n in range(4000)]
    dense = [grapfy(f"d{n}", eventType="sale", currency="USD", x="x" * 90_000) for n in range(150)]
    for batch in [dense, barren] if newest_first else [barren, dense]:
        await send(ingest.stub, "acme", batch)
    pages = Pages(monkeypatch)
    request = pb.ExportEventsRequest(
        company_id="acme",
        format=NDJSON,
        filter=EventFilter(**which),
        order=EVENT_ORDER_NEWEST_FIRST if newest_first else EVENT_ORDER_OLDEST_FIRST,
    )
    stream = export.export.ExportEvents(request)
    await stream.read()
    await stream.read()
    # All of it comes to 13.6 MB. What was read when the first chunk had come: one page, those ahead, and what flows
    # ahead of a reader.
    assert sum(pages.sizes) < 10_000_000
    assert max(pages.sizes) <= reader.MAX_PAGE_BYTES
    stream.cancel()
    file = await exported(export.export, "acme", NDJSON, filter=request.filter, order=request.order)
    keys = [row["dedup_key"] for row in file.json()]
    expected = [f"d{n}" for n in range(150)]
    assert keys == (expected[::-1] if newest_first else expected)
    assert max(pages.sizes) <= reader.MAX_PAGE_BYTES
    assert pages.too_large < 20
    if which == {"types": ["sale"]}:
        assert min(pages.sizes) > 0, "what the index does not lead to is not looked at"


async def test_a_page_that_takes_long_is_followed_by_shorter_ones(
    ingest: Ingesting, export: Exporting, monkeypatch: pytest.MonkeyPatch
) -> None:
    await send(ingest.stub, "acme", [grapfy(number) for number in range(800)])
    pages = Pages(monkeypatch)
    monkeypatch.setattr(reader, "PAGE_SECONDS", 0)
    first = reader.FIRST_PAGE_BYTES // FileKind.NDJSON.value
    assert (await exported(export.export, "acme", NDJSON)).trailer.rows == 800
    # Two were under way before either had taken any time.
    assert len(pages.sizes) == 2 + (800 - 2 * first)


@pytest.mark.parametrize("newest_first", [False, True])
async def test_only_what_was_received_in_time_is_looked_at(
    ingest: Ingesting,
    export: Exporting,
    connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
    newest_first: bool,
) -> None:
    for batch in ("a", "b", "c"):
        await send(ingest.stub, "acme", [grapfy(f"{batch}{number}") for number in range(300)])
    start, end = await connection.fetchrow(
        "SELECT min(received_time), max(received_time) FROM hookline.events WHERE sequence > 300 AND sequence <= 600"
    )
    which = EventFilter()
    which.received_start_time.FromDatetime(start)
    which.received_end_time.FromDatetime(end + timedelta(microseconds=1))
    order = EVENT_ORDER_NEWEST_FIRST if newest_first else EVENT_ORDER_OLDEST_FIRST
    pages = Pages(monkeypatch)
    monkeypatch.setattr(reader, "MAX_SPAN", 100)
    file = await exported(export.export, "acme", NDJSON, filter=which, order=order)
    expected = [f"b{number}" for number in range(300)]
    assert [row["dedup_key"] for row in file.json()] == (expected[::-1] if newest_first else expected)
    assert min(pages.sizes) > 0, "what was received before or after is not looked at"
