"""The part of the client for asyncio that works through the quarantine. Each method is documented in
`blocking_quarantine`."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from hookline.client import quarantine
from hookline.client.aio_calls import Calls
from hookline.client.quarantine import QuarantineFilter, Which
from hookline.client.retry import Service
from hookline.ingest.v1.ingest_service_pb2 import (
    EventConflict,
    GetQuarantinedEventRequest,
    ListEventConflictsRequest,
    QuarantinedEvent,
    RetryQuarantinedEventsResponse,
)

if TYPE_CHECKING:
    # The name is in the type stubs only.
    from hookline.ingest.v1.ingest_service_pb2_grpc import IngestServiceAsyncStub


class QuarantineCalls(Calls):
    """What `AsyncClient` does with what could not be understood, and with what contradicts an event."""

    _ingest_service: Service
    _ingest_stub: "IngestServiceAsyncStub"

    def list_quarantined(
        self, company: str, where: QuarantineFilter | None = None, *, with_discarded: bool = False, page_size: int = 0
    ) -> AsyncGenerator[QuarantinedEvent, None]:
        """Goes through what lies in quarantine: see `Client.list_quarantined`."""
        request = quarantine.list_quarantined(company, where, with_discarded, page_size)
        return self._items(
            self._ingest_service,
            self._ingest_stub.ListQuarantinedEvents,
            request,
            lambda page: page.quarantined_events,
        )

    async def get_quarantined(self, company: str, quarantine_id: str) -> QuarantinedEvent:
        """Gives what lies there whole: see `Client.get_quarantined`."""
        request = GetQuarantinedEventRequest(company_id=company, quarantine_id=quarantine_id)
        answer = await self._call(self._ingest_service, self._ingest_stub.GetQuarantinedEvent, request)
        return answer.quarantined_event

    async def retry_quarantined(
        self, company: str, which: Which, *, page_size: int = 0
    ) -> AsyncGenerator[RetryQuarantinedEventsResponse.Retried, None]:
        """Tries them again: see `Client.retry_quarantined`."""
        for request in quarantine.retry_quarantined(company, which, page_size):
            tried = self._items(
                self._ingest_service,
                self._ingest_stub.RetryQuarantinedEvents,
                request,
                lambda page: page.retried,
            )
            async with aclosing(tried):
                async for each in tried:
                    yield each

    async def discard_quarantined(self, company: str, which: Which, reason: str) -> AsyncGenerator[str, None]:
        """Puts them out of sight: see `Client.discard_quarantined`."""
        for request in quarantine.discard_quarantined(company, which, reason):
            more = True
            while more:
                done = await self._call(self._ingest_service, self._ingest_stub.DiscardQuarantinedEvents, request)
                for quarantine_id in done.quarantine_ids:
                    yield quarantine_id
                more = done.more

    def list_conflicts(
        self, company: str, event_id: str = "", *, page_size: int = 0
    ) -> AsyncGenerator[EventConflict, None]:
        """Goes through the payloads that contradict an event: see `Client.list_conflicts`."""
        request = ListEventConflictsRequest(company_id=company, event_id=event_id, page_size=page_size)
        return self._items(
            self._ingest_service, self._ingest_stub.ListEventConflicts, request, lambda page: page.conflicts
        )
