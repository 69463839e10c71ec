"""Sends prebuilt batches over a stream, as fast as they are acknowledged."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING

from bench.measure import InexactError
from hookline.ingest.v1.ingest_service_pb2 import IncomingEvent, IngestEventStreamRequest, Outcome

if TYPE_CHECKING:
    from hookline.ingest.v1.ingest_service_pb2_grpc import IngestServiceAsyncStub

BATCH_EVENTS = 1000
IN_FLIGHT = 4
"""Batches on their way at once: the server maps one while it commits another."""


def batches(payloads: Iterable[bytes]) -> list[IngestEventStreamRequest]:
    """Requests for the payloads, in order; of no company yet."""
    events = [IncomingEvent(platform="grapfy", payload=payload) for payload in payloads]
    return [
        IngestEventStreamRequest(batch_number=number, events=events[start : start + BATCH_EVENTS])
        for number, start in enumerate(range(0, len(events), BATCH_EVENTS))
    ]


async def send(
    stub: "IngestServiceAsyncStub",
    company: str,
    requests: Sequence[IngestEventStreamRequest],
    accepted: int,
    duplicates: int = 0,
) -> float:
    """Sends batches to a company and waits for all acknowledgements; gives events per second.

    Raises InexactError unless so many events were accepted, and so many were duplicates.
    """
    for request in requests:
        request.company_id = company
    room = asyncio.Semaphore(IN_FLIGHT)

    async def outgoing() -> AsyncIterator[IngestEventStreamRequest]:
        for request in requests:
            await room.acquire()
            yield request

    responses = []
    began = time.perf_counter()
    async for response in stub.IngestEventStream(outgoing()):
        responses.append(response)
        room.release()
    seconds = time.perf_counter() - began
    found = Counter(result.outcome for response in responses for result in response.results)
    if found != +Counter({Outcome.OUTCOME_ACCEPTED: accepted, Outcome.OUTCOME_DUPLICATE: duplicates}):
        raise InexactError(f"{company}: {accepted} accepted and {duplicates} duplicates were to come, not {found}")
    return (accepted + duplicates) / seconds
