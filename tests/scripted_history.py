"""A history that a test makes up, and a worker that pulls it: the connector is scripted; runner, ingest and PostgreSQL
are the real ones."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec

from hookline.client import AsyncClient
from services.sync import run_store
from services.sync.connectors import Connector, Item, Larger, Page, Window
from services.sync.run_store import Run, Wish
from services.sync.runner import Runner
from services.sync.source_store import Secret
from shared import db
from shared.db import Connection
from shared.platforms import Platform
from tests.in_process import Ingesting
from tests.sync_in_process import COMPANY, SOURCE, make_source
from tests.waiting import eventually

BEGIN = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=10)
"""Where the histories begin."""
MINUTE = timedelta(minutes=1)


def item(number: int, moment: datetime | None = None, *, payload: bytes | None = None) -> Item:
    """An event a minute, understood unless another payload is given."""
    moment = moment or BEGIN + number * MINUTE
    told = {"type": "order", "event_id": f"o-{number}", "created_at": moment.isoformat()}
    return Item(f"i-{number:06}", moment, msgspec.json.encode(told) if payload is None else payload, "generic")


def items(count: int, first: int = 0) -> list[Item]:
    return [item(number) for number in range(first, first + count)]


async def _nothing(request: int) -> None:
    pass


@dataclass
class History:
    """What the source has, and how it gives it. Positions are offsets."""

    items: list[Item]
    page_size: int = 10
    window: timedelta | None = None
    """None: the span is one window."""
    is_ordered: bool = False
    """Whether pages say up to where they are complete."""
    is_newest_first: bool = False
    says: bool = False
    """Whether it says how many items a window has."""
    withheld: set[str] = field(default_factory=set)
    """Ids that it counts and does not list."""
    cut_off: bool = False
    """Whether windows end with the word that there is more."""
    item_headers: Mapping[str, str] = field(default_factory=dict)
    page_bytes: int = 0
    """How large it says that each page is; those that are asked for with less room are not given."""
    largest_page: int = 32 * 1024 * 1024
    asked: list[int] = field(default_factory=list)
    """How much room there was for each page that was asked for."""
    before: Callable[[int], Awaitable[None]] = _nothing
    """Called with the number of each request, from 1, before it is answered."""
    requests: list[tuple[datetime, str | None]] = field(default_factory=list)
    opened: list["ScriptedConnector"] = field(default_factory=list)

    def open(self, secret: Secret, platform: Platform) -> Connector:
        self.opened.append(ScriptedConnector(self))
        return self.opened[-1]

    def within(self, window: Window) -> Sequence[Item]:
        found = [
            one
            for one in self.items
            if one.moment is None
            or (window.start <= one.moment and (window.until is None or one.moment < window.until))
        ]
        return found[::-1] if self.is_newest_first else found

    async def page(self, window: Window, position: str | None) -> Page:
        self.requests.append((window.start, position))
        await self.before(len(self.requests))
        there = self.within(window)
        listed = [one for one in there if one.id not in self.withheld]
        begin = int(position or 0)
        given = listed[begin : begin + self.page_size]
        is_last = begin + self.page_size >= len(listed)
        last = given[-1].moment if given else None
        return Page(
            given,
            None if is_last else str(begin + self.page_size),
            len(there) if self.says else None,
            last if self.is_ordered else None,
            self.cut_off if is_last else True,
        )


class ScriptedConnector:
    """One attempt's reading of a history."""

    times_match = True

    def __init__(self, history: History) -> None:
        self.history = history
        self.item_headers = history.item_headers
        self.on_retry: Callable[[str], None] = lambda reason: None
        self.is_closed = False

    def windows(self, start: datetime, until: datetime | None, now: datetime) -> Sequence[Window]:
        if self.history.window is None:
            return [Window(start, until)]
        starts = [start]
        while (following := starts[-1] + self.history.window) < (until or now):
            starts.append(following)
        return [Window(*pair) for pair in zip(starts, [*starts[1:], until], strict=True)]

    def again(self, reason: str) -> None:
        """What a connector does before it asks again."""
        self.on_retry(reason)

    async def page(self, window: Window, position: str | None, most: int | None = None) -> Page:
        self.history.asked.append(most or 0)
        if self.history.page_bytes > (most or 0):
            raise Larger(self.history.largest_page)
        return msgspec.structs.replace(await self.history.page(window, position), size=self.history.page_bytes)

    async def close(self) -> None:
        self.is_closed = True


@dataclass(frozen=True)
class Working:
    """Workers for a company's source, and what they did."""

    pool: db.Pool
    connection: Connection
    client: AsyncClient

    def runner(self, history: History, *, lease: float = 30, first_wait: float = 0.0001) -> Runner:
        return Runner(self.pool, self.client, history.open, lease=lease, first_wait=first_wait)

    async def ask(self, start: datetime | None = BEGIN, until: datetime | None = None) -> uuid.UUID:
        found = await run_store.create_run(self.connection, COMPANY, SOURCE, None, Wish(start, until))
        assert found is not None
        return found[0].run_id

    async def attempt(self, history: History, run_id: uuid.UUID) -> Run:
        """One attempt at the run; gives the run then."""
        await self.runner(history).run(COMPANY, run_id)
        assert all(one.is_closed for one in history.opened)
        return await self.now(run_id)

    async def pull(self, history: History, start: datetime | None = BEGIN, until: datetime | None = None) -> Run:
        """Asks for a run, and works on it once."""
        return await self.attempt(history, await self.ask(start, until))

    async def now(self, run_id: uuid.UUID) -> Run:
        run = await run_store.get_run(self.connection, COMPANY, run_id)
        assert run is not None
        return run

    async def codes(self, run_id: uuid.UUID) -> list[str]:
        """What its log tells of, in order."""
        rows = await self.connection.fetch(
            "SELECT code FROM hookline.sync_log WHERE run_id = $1 ORDER BY entry", run_id
        )
        return [row["code"] for row in rows]

    async def synced_time(self) -> datetime | None:
        """The source's."""
        moment: datetime | None = await self.connection.fetchval("SELECT synced_time FROM hookline.sources")
        return moment

    async def stored(self) -> list[str]:
        """The keys of all events, in the log's order."""
        rows = await self.connection.fetch("SELECT dedup_key FROM hookline.events ORDER BY sequence")
        return [row["dedup_key"] for row in rows]

    async def pages(self) -> int:
        count: int = await self.connection.fetchval("SELECT count(*) FROM hookline.sync_pages")
        return count


@asynccontextmanager
async def working(database_url: str, ingest: Ingesting) -> AsyncIterator[Working]:
    """A worker for a source, which is all that there is in the database."""
    async with (
        await db.open_pool(database_url, 6, application_name="worker") as pool,
        pool.acquire() as connection,
        AsyncClient(ingest.address, patience=10) as client,
    ):
        await connection.execute(
            "TRUNCATE hookline.sources, hookline.companies, hookline.event_keys, hookline.events, hookline.unprocessed,"
            " hookline.event_status, hookline.quarantine, hookline.event_conflicts CASCADE"
        )
        await make_source(connection)
        yield Working(pool, connection, client)


async def until_asked(history: History, requests: int) -> None:
    """Returns once so many requests have been made."""
    await eventually(lambda: len(history.requests) >= requests, what=f"{requests} requests are made")
