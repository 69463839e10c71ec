"""The part of the client for asyncio that asks about events. Each method is documented in `blocking_queries`."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from typing import TYPE_CHECKING

import grpc

from hookline.client import requests
from hookline.client.aio_calls import Calls
from hookline.client.requests import Filter, Group, Order
from hookline.client.retry import Retry, Service
from hookline.events.v1.events_pb2 import Event
from hookline.export.v1.event_query_service_pb2 import GetEventRequest, ListEventsResponse, SummarizeEventsResponse

if TYPE_CHECKING:
    # The name is in the type stubs only.
    from hookline.export.v1.event_query_service_pb2_grpc import EventQueryServiceAsyncStub


class QueryCalls(Calls):
    """What `AsyncClient` asks about events."""

    _export_service: Service
    _query_stub: "EventQueryServiceAsyncStub"

    async def get(self, company: str, event_id: str) -> Event:
        """Gives an event with its payload: see `Client.get`."""
        request = GetEventRequest(company_id=company, event_id=event_id)
        return (await self._call(self._export_service, self._query_stub.GetEvent, request)).event

    async def list_page(
        self,
        company: str,
        where: Filter | None = None,
        *,
        page_size: int = 0,
        page_token: str = "",
        order: Order | None = None,
        full: bool = False,
    ) -> ListEventsResponse:
        """Gives one page and the tokens of its neighbours: see `Client.list_page`."""
        request = requests.list_events(company, where, page_size, page_token, order, full)
        return await self._call(self._export_service, self._query_stub.ListEvents, request)

    def list(
        self,
        company: str,
        where: Filter | None = None,
        *,
        page_size: int = 0,
        order: Order | None = None,
        full: bool = False,
    ) -> AsyncGenerator[Event, None]:
        """Goes through the events of all pages: see `Client.list`."""
        request = requests.list_events(company, where, page_size, "", order, full)
        return self._items(self._export_service, self._query_stub.ListEvents, request, lambda page: page.events)

    async def summarize(
        self, company: str, where: Filter | None = None, *, by: Iterable[Group] = (), time_zone: str = ""
    ) -> SummarizeEventsResponse:
        """Counts events and adds up their totals, in groups: see `Client.summarize`."""
        request = requests.summarize_events(company, where, by, time_zone)
        return await self._call(self._export_service, self._query_stub.SummarizeEvents, request)

    async def watch(
        self, company: str, where: Filter | None = None, *, after: int = -1, full: bool = False
    ) -> AsyncGenerator[Event, None]:
        """Gives events as they are stored, without end: see `Client.watch`."""
        request, retry = requests.watch_events(company, where, after, full), Retry(self._export_service)
        while True:
            call = self._query_stub.WatchEvents(request)
            try:
                async for message in call:
                    retry.progressed()
                    for event in message.events:
                        yield event
                    request.after_sequence = message.last_sequence
                delay = retry.delay_after(self._export_service.ended_early("it was asked to"))
            except grpc.RpcError as error:
                delay = retry.delay_after(error)
            finally:
                call.cancel()
            await asyncio.sleep(delay)
