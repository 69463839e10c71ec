"""The quarantine as a caller works through it."""

from collections.abc import Sequence
from typing import Any

from hookline.ingest.v1 import ingest_service_pb2 as pb
from tests.in_process import Ingesting


async def listed(ingest: Ingesting, company: str = "acme", **request: Any) -> pb.ListQuarantinedEventsResponse:
    return await ingest.stub.ListQuarantinedEvents(pb.ListQuarantinedEventsRequest(company_id=company, **request))


async def whole(ingest: Ingesting, quarantine_id: str, company: str = "acme") -> pb.QuarantinedEvent:
    request = pb.GetQuarantinedEventRequest(company_id=company, quarantine_id=quarantine_id)
    return (await ingest.stub.GetQuarantinedEvent(request)).quarantined_event


async def retried(
    ingest: Ingesting, ids: Sequence[str] = (), company: str = "acme", **request: Any
) -> pb.RetryQuarantinedEventsResponse:
    """By ids, or with `filter` by that."""
    return await ingest.stub.RetryQuarantinedEvents(
        pb.RetryQuarantinedEventsRequest(company_id=company, quarantine_ids=ids, **request)
    )


async def discarded(
    ingest: Ingesting, ids: Sequence[str] = (), company: str = "acme", reason: str = "a test's", **request: Any
) -> pb.DiscardQuarantinedEventsResponse:
    """By ids, or with `filter` by that."""
    return await ingest.stub.DiscardQuarantinedEvents(
        pb.DiscardQuarantinedEventsRequest(company_id=company, quarantine_ids=ids, reason=reason, **request)
    )


def results(response: pb.RetryQuarantinedEventsResponse) -> list[pb.IngestResult]:
    return [one.result for one in response.retried]
