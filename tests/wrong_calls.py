"""Calls that must be refused, and leave no trace."""

import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from hookline.events.v1 import events_pb2
from hookline.ingest.v1 import ingest_service_pb2 as pb
from tests.ingest_process import IngestProcess
from tests.samples import grapfy, incoming

Mark = pb.MarkEventsRequest.Mark


async def _one_company_after_the_other(company: str) -> AsyncIterator[pb.IngestEventStreamRequest]:
    yield pb.IngestEventStreamRequest(company_id=company)
    yield pb.IngestEventStreamRequest(company_id="another", events=[incoming(grapfy("stray"))])


_PROCESSED = Mark(event_id=str(uuid.uuid4()), status=events_pb2.PROCESSING_STATUS_PROCESSED)
REFUSED: dict[str, Callable[[IngestProcess, str], Any]] = {
    "no company": lambda ingest, company: ingest.stub.IngestEvents(pb.IngestEventsRequest(events=[incoming(grapfy())])),
    "a company that is none": lambda ingest, company: ingest.stub.IngestEvent(
        pb.IngestEventRequest(company_id=f"{company}/x", event=incoming(grapfy()))
    ),
    "no event": lambda ingest, company: ingest.stub.IngestEvent(pb.IngestEventRequest(company_id=company)),
    "10,001 events": lambda ingest, company: ingest.stub.IngestEvents(
        pb.IngestEventsRequest(company_id=company, events=[incoming(grapfy("stray"))] * 10_001)
    ),
    "another company on the stream": lambda ingest, company: ingest.stub.IngestEventStream(
        _one_company_after_the_other(company)
    ),
    "a mark twice": lambda ingest, company: ingest.stub.MarkEvents(
        pb.MarkEventsRequest(company_id=company, marks=[_PROCESSED, _PROCESSED])
    ),
    "a mark without a status": lambda ingest, company: ingest.stub.MarkEvents(
        pb.MarkEventsRequest(company_id=company, marks=[Mark(event_id=_PROCESSED.event_id)])
    ),
    "an error with PROCESSED": lambda ingest, company: ingest.stub.MarkEvents(
        pb.MarkEventsRequest(
            company_id=company, marks=[Mark(event_id=_PROCESSED.event_id, status=_PROCESSED.status, error="no")]
        )
    ),
    "bytes that are no message": lambda ingest, company: ingest.raw(
        "unary_unary", "/hookline.ingest.v1.IngestService/IngestEvents"
    )(b"\xff\xff"),
}


@dataclass(frozen=True)
class WrongPost:
    """A request that the door must refuse. `cut`: where its URL ends; `filler`: what makes its payload large."""

    status: int
    method: str = "POST"
    filler: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    cut: int | None = None


REFUSED_POSTS = (
    WrongPost(404, cut=-1),
    WrongPost(404, cut=-43),
    WrongPost(405, method="PUT"),
    WrongPost(413, filler=2**20),
    WrongPost(415, headers=(("Content-Encoding", "gzip"),)),
    WrongPost(431, headers=(("X-Large", "x" * 7000), ("X-Larger", "x" * 7000), ("X-Largest", "x" * 7000))),
    WrongPost(431, headers=tuple((f"X-{number}", "x") for number in range(101))),
)
