"""Reads a platform's history over HTTP, as the platform's file declares it. `paging` knows what to ask for and what an
answer holds; this asks, politely, and again where that may help."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec
import tenacity
from aiolimiter import AsyncLimiter

from services.sync.connectors import Page, Refused, TryLater, Window
from services.sync.connectors.authorization import Authorization
from services.sync.connectors.backoff import ATTEMPTS, patient
from services.sync.connectors.http import Answer, Http, retry_after
from services.sync.connectors.paging import Pager, Request

LONGEST_PAUSE = 10
"""Before each request, where the platform says that there are too many; in units of the first wait."""
_T = TypeVar("_T")


class DeclaredConnector:
    """Of one source, for one attempt of a run. `first_wait` is that of the first retry, in seconds."""

    def __init__(
        self,
        pager: Pager,
        http: Http,
        authorization: Authorization,
        *,
        first_wait: float,
        attempts: int = ATTEMPTS,
    ) -> None:
        self._pager = pager
        self._http = http
        self._authorization = authorization
        self._first_wait = first_wait
        self._attempts = attempts
        rate = pager.history.rate
        self._limiter = AsyncLimiter(rate.requests, rate.seconds) if rate else None
        self._pause = 0.0
        self.times_match = pager.times_match
        self.item_headers = pager.history.item_headers
        self.on_retry: Callable[[str], None] = lambda reason: None

    def windows(self, start: datetime, until: datetime | None, now: datetime) -> Sequence[Window]:
        """See `Connector.windows`."""
        return self._pager.windows(start, until, now)

    async def page(self, window: Window, position: str | None, most: int | None = None) -> Page:
        """See `Connector.page`."""
        said = None
        if position is None and (request := self._pager.count_request(window)):
            # Before the items: those that are listed meanwhile make the window larger than that, not smaller.
            said = await self._patiently(self._count(request, most))
        page = await self._patiently(self._read(window, position, most))
        return page if said is None else msgspec.structs.replace(page, said=said)

    async def close(self) -> None:
        """See `Connector.close`: connections are the process's."""

    def _count(self, request: Request, most: int | None) -> Callable[[], Coroutine[Any, Any, int]]:
        async def count() -> int:
            return self._pager.read_count((await self._asked(request, most)).body)

        return count

    def _read(self, window: Window, position: str | None, most: int | None) -> Callable[[], Coroutine[Any, Any, Page]]:
        request = self._pager.request(window, position)

        async def read() -> Page:
            answer = await self._asked(request, most)
            page = self._pager.read(window, position, answer.body, answer.headers)
            return msgspec.structs.replace(page, size=len(answer.body))

        return read

    async def _patiently(self, ask: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        def note(state: tenacity.RetryCallState) -> None:
            self.on_retry(str(state.outcome.exception()) if state.outcome else "")

        return await patient(self._first_wait, self._attempts, note)(ask)

    async def _asked(self, request: Request, most: int | None) -> Answer:
        """The answer, which is 200. Raises Larger, Refused, TryLater."""
        answer = await self._sent(request, most)
        if answer.status == 401 and self._authorization.refused():
            self.on_retry("The platform takes the token no more.")
            answer = await self._sent(request, most)
        if answer.status == 429:
            self._pause = min(max(2 * self._pause, self._first_wait / 2), self._first_wait * LONGEST_PAUSE)
        _check_status(answer)
        self._pause = self._pause * 0.9 if self._pause > self._first_wait / 100 else 0.0
        return answer

    async def _sent(self, request: Request, most: int | None) -> Answer:
        authorization = await self._authorization.headers()
        if self._limiter:
            await self._limiter.acquire()
        if self._pause:
            await asyncio.sleep(self._pause)
        headers = {"Accept": "application/json", **request.headers, **authorization}
        return await self._http.ask("GET", request.url, headers=headers, most=most)


def _check_status(answer: Answer) -> None:
    status = answer.status
    if status == 200:
        return
    if status == 429:
        raise TryLater("The platform answers 429: too many requests.", retry_after(answer.headers))
    if status >= 500:
        raise TryLater(f"The platform answers {status}.", retry_after(answer.headers))
    if status in (401, 403):
        raise Refused(f"The platform refuses the credential ({status}).")
    raise Refused(f"The platform answers {status}.")
