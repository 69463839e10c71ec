"""The part of the client for ordinary code that works through the quarantine."""

from collections.abc import Iterator

from hookline.client import quarantine
from hookline.client.blocking_calls import Calls
from hookline.client.quarantine import QuarantineFilter, Which
from hookline.client.retry import Service
from hookline.ingest.v1.ingest_service_pb2 import (
    EventConflict,
    GetQuarantinedEventRequest,
    ListEventConflictsRequest,
    QuarantinedEvent,
    RetryQuarantinedEventsResponse,
)
from hookline.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub


class QuarantineCalls(Calls):
    """What `Client` does with what could not be understood, and with what contradicts an event."""

    _ingest_service: Service
    _ingest_stub: IngestServiceStub

    def list_quarantined(
        self, company: str, where: QuarantineFilter | None = None, *, with_discarded: bool = False, page_size: int = 0
    ) -> Iterator[QuarantinedEvent]:
        """Goes through what lies in quarantine, newest first, without what was discarded unless asked for. Each has
        the beginning of its payload only: see `get_quarantined`."""
        request = quarantine.list_quarantined(company, where, with_discarded, page_size)
        return self._items(
            self._ingest_service,
            self._ingest_stub.ListQuarantinedEvents,
            request,
            lambda page: page.quarantined_events,
        )

    def get_quarantined(self, company: str, quarantine_id: str) -> QuarantinedEvent:
        """Gives what lies there whole, with its payload and headers. Raises NotFound when nothing has that id."""
        request = GetQuarantinedEventRequest(company_id=company, quarantine_id=quarantine_id)
        return self._call(self._ingest_service, self._ingest_stub.GetQuarantinedEvent, request).quarantined_event

    def retry_quarantined(
        self, company: str, which: Which, *, page_size: int = 0
    ) -> Iterator[RetryQuarantinedEventsResponse.Retried]:
        """Tries them again by the mappings of now, and gives what became of each. What is understood leaves the
        quarantine. They are tried as the iterator is read, 100 in a call or `page_size`; with a filter the oldest
        first, and those that were discarded not at all.

        Stopping midway, and doing it again, is safe. With ids raises NotFound, with that call's up to 500 not tried,
        when one is not there; also when this very call moved it, but the answer did not get through.
        """
        for request in quarantine.retry_quarantined(company, which, page_size):
            yield from self._items(
                self._ingest_service,
                self._ingest_stub.RetryQuarantinedEvents,
                request,
                lambda page: page.retried,
            )

    def discard_quarantined(self, company: str, which: Which, reason: str) -> Iterator[str]:
        """Puts them out of sight, for a reason that is kept, and gives the ids of those that were not out of sight
        before. Deletes nothing. They are discarded as the iterator is read, up to 500 in a call.

        Stopping midway, and doing it again, is safe. With ids raises NotFound, with that call's up to 500 not
        discarded, when one is not there.
        """
        for request in quarantine.discard_quarantined(company, which, reason):
            more = True
            while more:
                done = self._call(self._ingest_service, self._ingest_stub.DiscardQuarantinedEvents, request)
                yield from done.quarantine_ids
                more = done.more

    def list_conflicts(self, company: str, event_id: str = "", *, page_size: int = 0) -> Iterator[EventConflict]:
        """Goes through the payloads that came under the key of an event, or of any, with another content. The event
        stays what came first."""
        request = ListEventConflictsRequest(company_id=company, event_id=event_id, page_size=page_size)
        return self._items(
            self._ingest_service, self._ingest_stub.ListEventConflicts, request, lambda page: page.conflicts
        )
