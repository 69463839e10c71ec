"""Databases with many events, made when first asked for, and kept for the benchmarks that come after."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from bench import many_events
from bench.many_events import BIG, COMPANIES
from bench.suite import Bench, running
from services.suite.embedded_postgres import SMALL_MACHINE
from shared.migrate import migrate

MILLION = 1_000_000


class Filled:
    """A suite whose `big` company has a million events, and beside it, on the same server, databases of other sizes."""

    def __init__(self, stack: AsyncExitStack, postgres: Mapping[str, str]) -> None:
        self._stack = stack
        self._postgres = postgres
        self._bench: Bench | None = None
        self._urls: dict[int, str] = {}

    async def bench(self) -> Bench:
        """The suite."""
        if self._bench is None:
            self._bench = await self._stack.enter_async_context(running(self._postgres))
            await self._fill(self._bench.database_url, MILLION)
        return self._bench

    async def database_url(self, events: int) -> str:
        """The database where `big` has so many events, and the other companies as many again at most."""
        bench = await self.bench()
        if events not in self._urls:
            name = f"of_{events}"
            await bench.database.execute(f"CREATE DATABASE {name}")
            url = urlunsplit(urlsplit(bench.database_url)._replace(path=f"/{name}"))
            await migrate(url)
            await self._fill(url, events)
        return self._urls[events]

    async def _fill(self, url: str, events: int) -> None:
        began = time.monotonic()
        total = events * sum(COMPANIES.values()) // COMPANIES[BIG]
        connection = await asyncpg.connect(url)
        try:
            await many_events.fill(connection, total)
        finally:
            await connection.close()
        self._urls[events] = url
        print(f"filled a database with {total:,} events ({time.monotonic() - began:.0f} s)", flush=True)


@asynccontextmanager
async def filling(*, full: bool) -> AsyncIterator[Filled]:
    """Nothing is left afterwards. `full`: the server has memory for ten million events, as whoever has so many would
    give it."""
    async with AsyncExitStack() as stack:
        yield Filled(stack, {**SMALL_MACHINE, "shared_buffers": "2GB"} if full else SMALL_MACHINE)
