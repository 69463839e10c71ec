"""`GET /webhook-events`: the history over HTTP as Grapfy answers it, with faults on demand."""

import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from aiohttp import web

from services.sandbox.faults import Fault, FaultPlan, Gate
from services.sandbox.history import History, Item, to_milliseconds

DEFAULT_LIMIT, LARGEST_LIMIT = 100, 1000

_Time = Annotated[datetime, msgspec.Meta(tz=True)]


class Served(msgspec.Struct, frozen=True):
    """What the shop has done since it started or was reset. A page counts as served once all of it was handed to the
    network, which does not prove that the client has read it."""

    requests: int
    """Requests for pages."""
    outcomes: dict[str, int]
    """How they ended: "page", a Fault's value, "400", "401", "404", or "gone": the client left before its page was
    served. A slow one is counted as "slow", and then as "page" or "gone" too. One still held is not counted."""
    pages: int
    """Pages served."""
    listed: int
    """Items on them."""
    items: int
    """Different items on them."""
    events: int
    """Different events on them: duplicates count once."""
    published: int
    """Different events that the history lists now."""
    held: int
    """Requests that wait at the gate now."""
    too_early: int
    """Requests that did not wait as long as Retry-After had asked for. They were answered 429 again."""


class HistoryApi:
    """Answers requests for pages, and counts. `plan` may be replaced at any time."""

    def __init__(
        self, history: History, plan: FaultPlan, *, token: str, webhook_setting_id: str, late_after: int | None
    ) -> None:
        self.plan = plan
        self.gate = Gate()
        self._history = history
        self._authorization = f"Bearer {token}"
        self._webhook_setting_id = webhook_setting_id
        self._late_after = late_after
        self.forget()

    def forget(self) -> None:
        """Counts from zero."""
        self._requests = self._listed = 0
        self._outcomes: Counter[str] = Counter()
        self._items: set[str] = set()
        self._events: set[int] = set()

    @property
    def served(self) -> Served:
        return Served(
            requests=self._requests,
            outcomes=dict(self._outcomes),
            pages=self._outcomes["page"],
            listed=self._listed,
            items=len(self._items),
            events=len(self._events),
            published=self._history.published,
            held=self.gate.held,
            too_early=self.plan.too_early,
        )

    async def list_events(self, request: web.Request) -> web.StreamResponse:
        self._requests += 1
        if request.headers.get("Authorization") != self._authorization:
            return self._refused(401, "the token is not known")
        if request.query.get("webhookSettingId") != self._webhook_setting_id:
            return self._refused(404, "there is no such webhookSettingId")
        limit = request.query.get("limit", str(DEFAULT_LIMIT))
        if not (re.fullmatch(r"[0-9]{1,4}", limit) and 1 <= int(limit) <= LARGEST_LIMIT):
            return self._refused(400, f"limit is a number from 1 to {LARGEST_LIMIT}")
        try:
            since = msgspec.convert(request.query.get("since", "1970-01-01T00:00:00Z"), _Time)
        except msgspec.ValidationError:
            return self._refused(400, "since is an RFC 3339 time")
        if self._late_after is not None and self._requests > self._late_after:
            self._history.publish()
        fault = self.plan.next(request.query_string)
        if fault is not None:
            self._outcomes[fault] += 1
        if fault is None or fault is Fault.SLOW:
            return await self._page(request, to_milliseconds(since), int(limit), slow=fault is not None)
        return await self._fail(request, fault, self._body(self._history.page(to_milliseconds(since), int(limit))))

    async def _page(self, request: web.Request, since: int, limit: int, *, slow: bool) -> web.StreamResponse:
        try:
            if slow:
                await asyncio.sleep(self.plan.faults.slow_seconds)
            await self.gate.passed()
        except asyncio.CancelledError:
            self._outcomes["gone"] += 1
            raise
        items = self._history.page(since, limit)
        response = web.Response(body=self._body(items), content_type="application/json")
        try:
            await response.prepare(request)
            await response.write_eof()
        except asyncio.CancelledError:
            self._outcomes["gone"] += 1
            raise
        except ConnectionError:
            # Nobody is there to be told.
            self._outcomes["gone"] += 1
            return response
        self._outcomes["page"] += 1
        self._listed += len(items)
        self._items.update(item.id for item in items)
        self._events.update(item.event for item in items)
        return response

    async def _fail(self, request: web.Request, fault: Fault, body: bytes) -> web.StreamResponse:
        half = body[: len(body) // 2]
        match fault:
            case Fault.TOO_MANY_REQUESTS:
                return _error(429, "too many requests", {"Retry-After": str(self.plan.faults.retry_after)})
            case Fault.ERROR_BODY:
                return _error(200, "something went wrong")
            case Fault.TRUNCATED:
                return web.Response(body=half, content_type="application/json")
            case Fault.DROPPED:
                response = web.StreamResponse(headers={"Content-Type": "application/json"})
                response.content_length = len(body)
                await response.prepare(request)
                await response.write(half)
                if request.transport:
                    request.transport.close()
                return response
            case Fault.HUNG:
                # Ends by being cancelled: the client gives up, or the shop closes.
                await asyncio.Event().wait()
        return _error(int(fault), "the shop is unwell")

    def _body(self, items: Sequence[Item]) -> bytes:
        return b'{"events":[%b]}' % b",".join(map(self._history.json, items))

    def _refused(self, status: int, problem: str) -> web.Response:
        self._outcomes[str(status)] += 1
        return _error(status, problem)


def _error(status: int, problem: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": problem}, status=status, headers=headers)
