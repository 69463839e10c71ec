"""The history over HTTP, in each platform's form, with faults on demand."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Any

import msgspec
from aiohttp import web

from services.sandbox.faults import Fault, FaultPlan, Gate
from services.sandbox.forms import Asked, Form, Wrong
from services.sandbox.forms.grapfy import Grapfy
from services.sandbox.forms.hotmart import TOKEN_PATH, Hotmart
from services.sandbox.forms.plain import Offsets, Pages
from services.sandbox.forms.shopify import Shopify
from services.sandbox.forms.stripe import Stripe
from services.sandbox.history import History


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
    counted: int
    """Requests for the number of events on its own. They are not among the others."""
    tokens: int
    """Access tokens given out."""


class HistoryApi:
    """Answers requests for pages, and counts. `plan` may be replaced at any time."""

    def __init__(
        self, history: History, plan: FaultPlan, *, token: str, webhook_setting_id: str, late_after: int | None
    ) -> None:
        self.plan = plan
        self.gate = Gate()
        self._history = history
        self._hotmart = Hotmart(history, token)
        self._forms: tuple[Form, ...] = (
            Grapfy(history, token, webhook_setting_id),
            Stripe(history, token),
            Shopify(history, token),
            self._hotmart,
            Pages(history, token),
            Offsets(history, token),
        )
        self._late_after = late_after
        self.forget()

    def forget(self) -> None:
        """Counts from zero."""
        self._requests = self._listed = self._counted = self._hotmart.issued = 0
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
            counted=self._counted,
            tokens=self._hotmart.issued,
        )

    def routes(self) -> Iterable[web.RouteDef]:
        for form in self._forms:
            yield web.get(form.path, partial(self._list, form))
            if form.count_path:
                yield web.get(form.count_path, partial(self._count, form))
        yield web.post(TOKEN_PATH, self._give_token)

    def revoke(self) -> None:
        """Takes no access token any more, until a new one is asked for."""
        self._hotmart.revoke()

    async def _list(self, form: Form, request: web.Request) -> web.StreamResponse:
        self._requests += 1
        try:
            form.authorize(request.headers)
            asked = form.read(request.query)
        except Wrong as wrong:
            self._outcomes[str(wrong.status)] += 1
            return _error(form, wrong.status, str(wrong))
        if self._late_after is not None and self._requests > self._late_after:
            self._history.publish()
        fault = self.plan.next(request.path_qs)
        if fault is not None:
            self._outcomes[fault] += 1
        if fault is None or fault is Fault.SLOW:
            return await self._page(form, request, asked, slow=fault is not None)
        return await self._fail(form, request, fault, form.page(asked, request.url, self.plan.faults.lie).body)

    async def _count(self, form: Form, request: web.Request) -> web.StreamResponse:
        self._counted += 1
        try:
            form.authorize(request.headers)
            return web.json_response(form.count(request.query, self.plan.faults.lie))
        except Wrong as wrong:
            return _error(form, wrong.status, str(wrong))

    async def _give_token(self, request: web.Request) -> web.StreamResponse:
        try:
            # In the query or in the body: both are seen.
            told = {**request.query, **{name: str(value) for name, value in (await request.post()).items()}}
            return web.json_response(self._hotmart.issue(request.headers, told))
        except Wrong as wrong:
            return _error(self._hotmart, wrong.status, str(wrong))

    async def _page(self, form: Form, request: web.Request, asked: Asked, *, slow: bool) -> web.StreamResponse:
        try:
            if slow:
                await asyncio.sleep(self.plan.faults.slow_seconds)
            await self.gate.passed()
        except asyncio.CancelledError:
            self._outcomes["gone"] += 1
            raise
        page = form.page(asked, request.url, self.plan.faults.lie)
        response = web.Response(body=page.body, headers=page.headers, content_type="application/json")
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
        self._listed += len(page.items)
        self._items.update(item.id for item in page.items)
        self._events.update(item.event for item in page.items)
        return response

    async def _fail(self, form: Form, request: web.Request, fault: Fault, body: bytes) -> web.StreamResponse:
        half = body[: len(body) // 2]
        match fault:
            case Fault.TOO_MANY_REQUESTS:
                return _error(form, 429, "too many requests", {"Retry-After": str(self.plan.faults.retry_after)})
            case Fault.ERROR_BODY:
                return _error(form, 200, "something went wrong")
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
        return _error(form, int(fault), "the shop is unwell")


def _error(form: Form, status: int, problem: str, headers: dict[str, str] | None = None) -> web.Response:
    body: Any = form.error(problem)
    return web.json_response(body, status=status, headers=headers)
