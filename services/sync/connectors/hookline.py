"""Reads the log of another Hookline, over gRPC.

An event is dated here by when the other one has received it: its log is in that order, and never gets older events
afterwards. What it received late, or has backfilled itself, is thus found as well. Pages go along the log, and the
position is the other's own token for a page, which is good for as long as its log is.

An event comes with the platform that understood it there, and is understood by the same mapping here: it gets the same
key, and is not stored twice beside what comes here by webhook. That does not hold where the mappings differ, such as a
company's own one that only one of the two has; nor where the key is in headers (Shopify's topic, the id of Standard
Webhooks), which are not kept with events: there what the payload alone says counts.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import grpc
import tenacity

from hookline.client.errors import HooklineError, PermissionDenied, Unavailable, from_grpc
from hookline.client.requests import CHANNEL_OPTIONS, MAX_MESSAGE_BYTES
from hookline.events.v1.events_pb2 import Event, EventFilter, EventOrder
from hookline.export.v1.event_query_service_pb2 import (
    EventView,
    ListEventsRequest,
    ListEventsResponse,
    SummarizeEventsRequest,
    SummarizeEventsResponse,
)
from hookline.export.v1.event_query_service_pb2_grpc import EventQueryServiceStub
from services.sync.connectors import Item, Larger, Page, Refused, TryLater, Window
from services.sync.connectors.backoff import ATTEMPTS, patient
from services.sync.connectors.bodies import MAX_ID
from services.sync.connectors.vetting import NotPublic, vetted_addresses
from shared.settings import is_loopback
from shared.timestamps import timestamp

if TYPE_CHECKING:
    # The name is in the type stubs only.
    from hookline.export.v1.event_query_service_pb2_grpc import EventQueryServiceAsyncStub

PAGE_SIZE = 1_000
CALL_SECONDS = 60.0
LOOK_UP_SECONDS = 10.0
COUNT_SECONDS = 20.0
"""For the count alone: a run can do without it."""
LONGEST_RETRY_AFTER = 600.0
EMPTY_PAGES = 100
"""Pages without a match that are gone over before it is noted how far that was."""
MAX_TOKEN = 8_000
"""Characters of a page's token. It is kept with the run."""

_WHO = "The other Hookline"
_is_reason = re.compile(r"[A-Z][A-Z_]{0,62}").fullmatch
_R = TypeVar("_R")
_T = TypeVar("_T")


class HooklineConnector:
    """Of one source. Its channel is opened with the first call."""

    times_match = False

    def __init__(
        self,
        base_url: str,
        credential: str,
        parameters: Mapping[str, str],
        *,
        first_wait: float,
        attempts: int = ATTEMPTS,
        allow_loopback: bool,
        roots: bytes | None = None,
    ) -> None:
        self._base_url = base_url
        self._metadata = (("authorization", f"Bearer {credential}"),)
        self._company = parameters["company_id"]
        self._sources = [parameters["source"]] if parameters.get("source") else []
        self._first_wait = first_wait
        self._attempts = attempts
        self._allow_loopback = allow_loopback
        self._roots = roots
        self._channel: grpc.aio.Channel | None = None
        self.item_headers: Mapping[str, str] = {}
        self.on_retry: Callable[[str], None] = lambda reason: None

    def windows(self, start: datetime, until: datetime | None, now: datetime) -> Sequence[Window]:
        """One: pages go along the log, and a checkpoint is made after each."""
        return [Window(start, until)]

    async def page(self, window: Window, position: str | None, most: int | None = None) -> Page:
        """See `Connector.page`. gRPC takes a message whole or not at all, whatever there is room for."""
        if most is not None and most < MAX_MESSAGE_BYTES:
            raise Larger(MAX_MESSAGE_BYTES)
        said = await self._said(window) if position is None else None
        if said == 0:
            return Page((), None, 0, None, more=False)
        request = ListEventsRequest(
            company_id=self._company,
            filter=self._filter(window),
            order=EventOrder.EVENT_ORDER_OLDEST_FIRST,
            page_size=PAGE_SIZE,
            page_token=position or "",
            view=EventView.EVENT_VIEW_FULL,
        )
        asked = set[str]()
        for _ in range(EMPTY_PAGES):
            asked.add(request.page_token)
            answer = await self._patiently(self._list, request)
            if len(answer.next_page_token) > MAX_TOKEN:
                raise Refused(f"{_WHO} gives a page token of more than {MAX_TOKEN:,} characters.")
            if answer.next_page_token and answer.next_page_token in asked:
                raise Refused(f"{_WHO} gives the same page again and again.")
            request.page_token = answer.next_page_token
            # Without a match, the other one has looked through a part of its log in vain.
            if answer.events or not answer.next_page_token:
                break
        items = [_item(event) for event in answer.events]
        following = answer.next_page_token or None
        read_until = items[-1].moment if items else None
        return Page(items, following, said, read_until, more=following is not None, size=answer.ByteSize())

    async def close(self) -> None:
        """See `Connector.close`."""
        if self._channel:
            await self._channel.close()
            self._channel = None

    def _filter(self, window: Window) -> EventFilter:
        return EventFilter(
            sources=self._sources,
            received_start_time=timestamp(window.start),
            received_end_time=timestamp(window.until),
        )

    async def _said(self, window: Window) -> int | None:
        """How many events the window has now. None: it takes too long to count them, or is no number of events."""
        request = SummarizeEventsRequest(company_id=self._company, filter=self._filter(window))
        try:
            summary = await self._patiently(self._summarize, request)
        except TryLater:
            return None
        said = sum(group.count for group in summary.groups)
        return said if 0 <= said < 2**63 else None

    async def _list(self, request: ListEventsRequest) -> ListEventsResponse:
        stub = await self._stub()
        return await self._called(stub.ListEvents(request, timeout=CALL_SECONDS, metadata=self._metadata))

    async def _summarize(self, request: SummarizeEventsRequest) -> SummarizeEventsResponse:
        stub = await self._stub()
        return await self._called(stub.SummarizeEvents(request, timeout=COUNT_SECONDS, metadata=self._metadata))

    async def _patiently(self, call: Callable[[_R], Coroutine[Any, Any, _T]], request: _R) -> _T:
        def note(state: tenacity.RetryCallState) -> None:
            self.on_retry(str(state.outcome.exception()) if state.outcome else "")

        return await patient(self._first_wait, self._attempts, note)(call, request)

    async def _called(self, call: Awaitable[_T]) -> _T:
        try:
            return await call
        except grpc.RpcError as error:
            raise _explained(from_grpc(error, self._base_url, reached=True)) from None

    async def _stub(self) -> "EventQueryServiceAsyncStub":
        if self._channel is None:
            self._channel = await self._opened()
        return EventQueryServiceStub(self._channel)

    async def _opened(self) -> grpc.aio.Channel:
        """A channel to the addresses that were vetted, which never looks for others; the other one still has to show a
        certificate of the name in the URL."""
        parts = urlsplit(self._base_url)
        host, is_secure = parts.hostname or "", parts.scheme == "https"
        if not is_secure and not (self._allow_loopback and is_loopback(host)):
            raise Refused(f"{_WHO} must be asked over https.")
        port = parts.port or (443 if is_secure else 80)
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS):
                addresses = await vetted_addresses(host, port, allow_loopback=self._allow_loopback)
        except NotPublic as error:
            raise Refused(f"{_WHO} can't be asked: {error}.") from None
        except OSError:
            raise TryLater(f"{_WHO} can't be reached: its name is not known.") from None
        # gRPC takes addresses of one kind only.
        four = [address for address in addresses if ":" not in address]
        target = (
            "ipv4:" + ",".join(f"{address}:{port}" for address in four)
            if four
            else "ipv6:" + ",".join(f"[{address}]:{port}" for address in addresses)
        )
        options = [
            *CHANNEL_OPTIONS,
            ("grpc.enable_http_proxy", 0),
            # A connection is this source's own: others may have been opened with another name, or other trust.
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.default_authority", parts.netloc),
        ]
        if not is_secure:
            return grpc.aio.insecure_channel(target, options)
        options.append(("grpc.ssl_target_name_override", host))
        return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(self._roots), options)


def _item(event: Event) -> Item:
    """Raises Refused for what no Hookline gives: the other one may be anyone."""
    try:
        moment = event.received_time.ToDatetime(UTC)
    except ValueError:
        moment = None
    if moment is None or not 0 < len(event.event_id) <= MAX_ID:
        raise Refused(f"{_WHO} gives an event without an id, or of a time that is none.")
    return Item(event.event_id, moment, event.payload, event.platform)


def _explained(error: HooklineError) -> Refused | TryLater:
    """The sentence for what the other one answers: in words of our own, since that may be anyone."""
    said = error.reason if _is_reason(error.reason) else error.code.name if error.code else "nothing"
    if isinstance(error, PermissionDenied):
        return Refused(f"{_WHO} refuses the credential ({said}).")
    told = error.retry_delay
    if isinstance(error, Unavailable):
        if error.code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return TryLater(f"{_WHO} did not answer in time.")
        if not error.reason:
            return TryLater(f"{_WHO} can't be reached, or broke off ({said}).")
        return TryLater(f"{_WHO} answers {said}.", None if told is None else min(told, LONGEST_RETRY_AFTER))
    if error.code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN):
        return TryLater(f"{_WHO} answers {said}.")
    return Refused(f"{_WHO} answers {said}.")
