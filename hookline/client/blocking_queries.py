"""The part of the client for ordinary code that asks about events."""

import time
from collections.abc import Iterable, Iterator

import grpc

from hookline.client import requests
from hookline.client.blocking_calls import Calls
from hookline.client.requests import Filter, Group, Order
from hookline.client.retry import Retry, Service
from hookline.events.v1.events_pb2 import Event
from hookline.export.v1.event_query_service_pb2 import GetEventRequest, ListEventsResponse, SummarizeEventsResponse
from hookline.export.v1.event_query_service_pb2_grpc import EventQueryServiceStub


class QueryCalls(Calls):
    """What `Client` asks about events."""

    _export_service: Service
    _query_stub: EventQueryServiceStub

    def get(self, company: str, event_id: str) -> Event:
        """Gives an event with its payload. Raises NotFound when the company has none of that id."""
        request = GetEventRequest(company_id=company, event_id=event_id)
        return self._call(self._export_service, self._query_stub.GetEvent, request).event

    def list_page(
        self,
        company: str,
        where: Filter | None = None,
        *,
        page_size: int = 0,
        page_token: str = "",
        order: Order | None = None,
        full: bool = False,
    ) -> ListEventsResponse:
        """Gives one page, with the tokens of the next one and of the one before; a page may be short, even empty, and
        still have a next one.

        Newest first by default, 100 to a page, at most 1,000. `full` brings the payloads.
        """
        request = requests.list_events(company, where, page_size, page_token, order, full)
        return self._call(self._export_service, self._query_stub.ListEvents, request)

    def list(
        self,
        company: str,
        where: Filter | None = None,
        *,
        page_size: int = 0,
        order: Order | None = None,
        full: bool = False,
    ) -> Iterator[Event]:
        """Goes through the events of all pages, asking for each page when it is needed; see `list_page`."""
        request = requests.list_events(company, where, page_size, "", order, full)
        return self._items(self._export_service, self._query_stub.ListEvents, request, lambda page: page.events)

    def summarize(
        self, company: str, where: Filter | None = None, *, by: Iterable[Group] = (), time_zone: str = ""
    ) -> SummarizeEventsResponse:
        """Counts events and adds up their totals, exactly, in groups: at most 3 of `by`, "hour" and "day" not both. One
        group of all when there is none. `time_zone`: whose hours and days are meant, UTC by default.

        Raises InvalidRequest for a filter with statuses, and for more than 10,000 groups.
        """
        request = requests.summarize_events(company, where, by, time_zone)
        return self._call(self._export_service, self._query_stub.SummarizeEvents, request)

    def watch(
        self, company: str, where: Filter | None = None, *, after: int = -1, full: bool = False
    ) -> Iterator[Event]:
        """Gives events as they are stored, in the log's order, without end: those after the sequence `after`; 0 is from
        the first, -1 only those stored from now on. `full` brings the payloads.

        A broken stream is opened again, with the client's patience, and goes on where it broke: no event is left out or
        given twice. Raises InvalidRequest for a filter with statuses, and when `after` lies beyond the last event.
        """
        request, retry = requests.watch_events(company, where, after, full), Retry(self._export_service)
        while True:
            call = self._query_stub.WatchEvents(request)
            try:
                for message in call:
                    retry.progressed()
                    yield from message.events
                    request.after_sequence = message.last_sequence
                delay = retry.delay_after(self._export_service.ended_early("it was asked to"))
            except grpc.RpcError as error:
                delay = retry.delay_after(error)
            finally:
                call.cancel()
            time.sleep(delay)
