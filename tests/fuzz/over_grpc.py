"""Cases by gRPC: by themselves, in batches, on streams."""

import random
from collections.abc import Sequence

import grpc

from hookline.ingest.v1 import ingest_service_pb2 as pb
from tests.fuzz.books import COMPANY, Books, Told
from tests.fuzz.cases import Case
from tests.ingest_process import IngestProcess

BATCH = 400
BATCH_BYTES = 12 * 1024 * 1024


async def send(ingest: IngestProcess, cases: Sequence[Case], rng: random.Random, books: Books) -> None:
    """Sends the cases, in calls of all kinds."""
    waiting = list(cases)
    while waiting:
        count, size = 0, 0
        most = rng.choice((1, 5, BATCH, BATCH))
        while count < len(waiting) and count < most and (not count or size + len(waiting[count].body) < BATCH_BYTES):
            size += len(waiting[count].body)
            count += 1
        batch, waiting = waiting[:count], waiting[count:]
        try:
            results = await _results(ingest, batch, rng)
        except grpc.aio.AioRpcError as error:
            books.problem(f"gRPC, cases {batch[0].number} to {batch[-1].number}", f"{error.code()}: {error.details()}")
            continue
        if len(results) != len(batch):
            books.problem(f"gRPC, cases {batch[0].number} to {batch[-1].number}", f"{len(results)} results")
        for one, result in zip(batch, results, strict=False):
            books.note(Told(one.body, result, f"{one.kind} {one.number} by gRPC"))


async def _results(ingest: IngestProcess, batch: Sequence[Case], rng: random.Random) -> Sequence[pb.IngestResult]:
    events = [_event(one) for one in batch]
    if len(events) == 1:
        request = pb.IngestEventRequest(company_id=COMPANY, event=events[0])
        return [(await ingest.stub.IngestEvent(request, timeout=60)).result]
    if rng.random() < 0.8:
        call = pb.IngestEventsRequest(company_id=COMPANY, events=events)
        return (await ingest.stub.IngestEvents(call, timeout=60)).results
    middle = rng.randrange(len(events))
    parts = (events[:middle], events[middle:])
    requests = [
        pb.IngestEventStreamRequest(company_id=COMPANY, batch_number=number, events=part)
        for number, part in enumerate(parts)
    ]
    return [result async for ack in ingest.stub.IngestEventStream(iter(requests), timeout=60) for result in ack.results]


def _event(one: Case) -> pb.IncomingEvent:
    return pb.IncomingEvent(
        platform=one.platform, source=one.source, payload=one.body, headers=dict(one.headers), query=one.query
    )
