"""Events for tests, and the calls that bring them in."""

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from hookline.ingest.v1 import ingest_service_pb2 as pb

if TYPE_CHECKING:
    from hookline.ingest.v1.ingest_service_pb2_grpc import IngestServiceAsyncStub

ACCEPTED, DUPLICATE = pb.OUTCOME_ACCEPTED, pb.OUTCOME_DUPLICATE
QUARANTINED, REJECTED = pb.OUTCOME_QUARANTINED, pb.OUTCOME_REJECTED


def grapfy(event_id: str | int = "evt_1", **members: Any) -> bytes:
    """A payload in Grapfy's form; `members` replace its own, None removes one."""
    content: dict[str, Any] = {
        "eventId": str(event_id),
        "eventType": "order_approved",
        "orderId": "ord_1",
        "total": 197.9,
        "customer": {"name": "Ana Conceição"},
        "product": {"name": "Curso de Violão"},
        "createdAt": "2026-10-01T12:00:00.000Z",
        **members,
    }
    return json.dumps({name: value for name, value in content.items() if value is not None}).encode()


def incoming(payload: bytes, platform: str = "", source: str = "") -> pb.IncomingEvent:
    return pb.IncomingEvent(platform=platform, source=source, payload=payload)


async def send(
    stub: "IngestServiceAsyncStub", company: str, events: Iterable[bytes | pb.IncomingEvent]
) -> Sequence[pb.IngestResult]:
    """Brings in a batch; gives its results."""
    messages = [event if isinstance(event, pb.IncomingEvent) else incoming(event) for event in events]
    answer = await stub.IngestEvents(pb.IngestEventsRequest(company_id=company, events=messages))
    assert len(answer.results) == len(messages)
    return answer.results


def outcomes(results: Iterable[pb.IngestResult]) -> list[str]:
    """What became of each event, such as "ACCEPTED" or "QUARANTINED JSON_MALFORMED"."""
    return [
        " ".join(
            name
            for name in (
                pb.Outcome.Name(result.outcome).removeprefix("OUTCOME_"),
                pb.OutcomeReason.Name(result.reason).removeprefix("OUTCOME_REASON_") if result.reason else "",
            )
            if name
        )
        for result in results
    ]
