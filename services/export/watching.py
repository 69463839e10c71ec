"""The ends of logs that someone watches: one look now and then for each company, however many watch it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from services.export import store
from shared import db, logs
from shared.errors import ServerStopping

LOOK_SECONDS = 0.2
LIFE_SECONDS = 15.0
"""A watcher hears something at least so often."""

_log = structlog.get_logger()


class Tail:
    """The end of one company's log, as seen last."""

    def __init__(self, pool: db.Pool, company_id: str, stopping: asyncio.Event) -> None:
        self._pool = pool
        self._company_id = company_id
        self._stopping = stopping
        self._moved = asyncio.Event()
        self._end = 0
        self.watchers = 0
        self.looking = asyncio.create_task(self._look())

    async def beyond(self, sequence: int) -> int:
        """The log's end once it is beyond `sequence`, or `sequence` itself after a while without anything new. Raises
        ServerStopping."""
        give_up = asyncio.get_running_loop().time() + LIFE_SECONDS
        while not self._stopping.is_set():
            if self._end > sequence:
                return self._end
            try:
                async with asyncio.timeout_at(give_up):
                    await self._moved.wait()
            except TimeoutError:
                return sequence
        raise ServerStopping

    async def _look(self) -> None:
        while not self._stopping.is_set():
            try:
                async with db.acquired(self._pool) as connection:
                    end = (await store.mark(connection, self._company_id)).last_sequence
            except Exception as error:
                # The next look tries again; watchers wait meanwhile.
                _log.warning("look_failed", **logs.describe(error))
            else:
                if end > self._end:
                    self._end = end
                    self._wake()
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._stopping.wait()
            except TimeoutError:
                pass
        self._wake()

    def _wake(self) -> None:
        # Whoever waits gets this event; who comes later waits for the next one.
        self._moved.set()
        self._moved = asyncio.Event()


class Tails:
    """The tails of all companies that are watched."""

    def __init__(self, pool: db.Pool, stopping: asyncio.Event) -> None:
        self._pool = pool
        self._stopping = stopping
        self._tails: dict[str, Tail] = {}

    @asynccontextmanager
    async def of(self, company_id: str) -> AsyncIterator[Tail]:
        """The company's tail, looked at for as long as someone is inside the block."""
        tail = self._tails.get(company_id)
        if tail is None:
            tail = self._tails[company_id] = Tail(self._pool, company_id, self._stopping)
        tail.watchers += 1
        try:
            yield tail
        finally:
            tail.watchers -= 1
            if tail.watchers == 0:
                del self._tails[company_id]
                tail.looking.cancel()
                await asyncio.gather(tail.looking, return_exceptions=True)
