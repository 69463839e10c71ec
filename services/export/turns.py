"""Turns at something scarce, company after company, however many of them one asks for."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """At most `count` turns at a time. Who waits gets one in the order of asking within its company, and companies that
    wait go round: one with many exports under way does not slow the only one of another."""

    def __init__(self, count: int) -> None:
        self._free = count
        # By company, in the order of who is next.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def of(self, company_id: str) -> AsyncIterator[None]:
        """A turn of the company's for the block."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(company_id)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, company_id: str) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(company_id, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # It was given, and will not be used.
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            company_id, waiting = next(iter(self._waiting.items()))
            turn = waiting.popleft()
            # The company's next one goes behind the other companies.
            del self._waiting[company_id]
            if waiting:
                self._waiting[company_id] = waiting
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
