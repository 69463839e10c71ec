"""IngestService: converts requests, calls, converts back."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence

from hookline.events.v1 import events_pb2
from hookline.ingest.v1 import ingest_service_pb2 as pb
from hookline.ingest.v1 import ingest_service_pb2_grpc
from services.ingest import store
from services.ingest.committer import Committer, Results
from services.ingest.conversion import from_result, to_incoming
from services.ingest.fair_mapping import FairMapper
from services.ingest.mapping import Mapper, Rules
from services.ingest.platform_servicer import PlatformServicer
from services.ingest.quarantine_servicer import QuarantineServicer
from services.ingest.registry import Registry
from shared import db, requests
from shared.errors import InvalidField, ServerStopping, Violation
from shared.interceptors import Context
from shared.limits import Limiter, patiently

MAX_EVENTS = 10_000
MAX_ERROR_CHARACTERS = 2_000
# Batches of one stream that are mapped and queued before the caller is held back.
READ_AHEAD = 4

_STATUSES = {
    events_pb2.PROCESSING_STATUS_PROCESSED: store.Status.PROCESSED,
    events_pb2.PROCESSING_STATUS_FAILED: store.Status.FAILED,
}
_MARK_OUTCOMES = {
    True: pb.MarkEventsResponse.MARK_OUTCOME_MARKED,
    False: pb.MarkEventsResponse.MARK_OUTCOME_UNCHANGED,
    None: pb.MarkEventsResponse.MARK_OUTCOME_NOT_FOUND,
}


class IngestServicer(PlatformServicer, QuarantineServicer, ingest_service_pb2_grpc.IngestServiceServicer):
    """See protos/hookline/ingest/v1/ingest_service.proto. Here is the way in; the rest has modules of its own."""

    def __init__(
        self, mapper: Mapper, registry: Registry, committer: Committer, pool: db.Pool, limiter: Limiter
    ) -> None:
        self._limiter = limiter
        self._mapper = mapper
        self._fair_mapper = FairMapper(mapper)
        self._registry = registry
        self._committer = committer
        self._pool = pool
        self._readers: set[asyncio.Task[None]] = set()

    def stop_reading(self) -> None:
        """Streams read no further: what they have read is acknowledged, then they end with UNAVAILABLE."""
        for reader in self._readers:
            reader.cancel()

    async def IngestEvent(self, request: pb.IngestEventRequest, context: Context) -> pb.IngestEventResponse:
        company_id = requests.company(request.company_id)
        if not request.HasField("event"):
            raise InvalidField(Violation("event", "is required"))
        self._limiter.events(company_id, 1)
        event = self._mapper.map(to_incoming(request.event), await self._rules(company_id))
        results = await (await self._committer.submit(company_id, [event], wait=False))
        return pb.IngestEventResponse(result=from_result(results[0]))

    async def IngestEvents(self, request: pb.IngestEventsRequest, context: Context) -> pb.IngestEventsResponse:
        company_id = requests.company(request.company_id)
        results = await (await self._submit(company_id, request.events, wait=False))
        return pb.IngestEventsResponse(results=[from_result(result) for result in results])

    async def IngestEventStream(
        self, request_iterator: AsyncIterator[pb.IngestEventStreamRequest], context: Context
    ) -> AsyncIterator[pb.IngestEventStreamResponse]:
        batches: asyncio.Queue[tuple[int, Results] | None] = asyncio.Queue()
        room = asyncio.Semaphore(READ_AHEAD)

        async def read() -> None:
            company_id = ""
            try:
                async for request in request_iterator:
                    if company_id and request.company_id not in ("", company_id):
                        raise InvalidField(Violation("company_id", "is another one than the stream began with"))
                    company_id = company_id or requests.company(request.company_id)
                    await room.acquire()
                    results = await self._submit(company_id, request.events, wait=True)
                    batches.put_nowait((request.batch_number, results))
            finally:
                batches.put_nowait(None)

        reader = asyncio.create_task(read())
        self._readers.add(reader)
        try:
            while (batch := await batches.get()) is not None:
                batch_number, results = batch
                acknowledged = [from_result(result) for result in await results]
                yield pb.IngestEventStreamResponse(batch_number=batch_number, results=acknowledged)
                room.release()
            # What ended the reading: the caller (nothing to raise), a bad message, or a stopping server.
            await reader
        except asyncio.CancelledError:
            if reader.cancelled():
                raise ServerStopping from None
            raise
        finally:
            self._readers.discard(reader)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def MarkEvents(self, request: pb.MarkEventsRequest, context: Context) -> pb.MarkEventsResponse:
        company_id = requests.company(request.company_id)
        marks = _marks(request)
        if not marks:
            return pb.MarkEventsResponse()
        async with db.acquired(self._pool) as connection:
            changed = await store.mark_events(connection, company_id, marks)
        return pb.MarkEventsResponse(outcomes=[_MARK_OUTCOMES[one] for one in changed])

    async def _submit(self, company_id: str, events: Sequence[pb.IncomingEvent], *, wait: bool) -> Results:
        if len(events) > MAX_EVENTS:
            raise InvalidField(Violation("events", f"{len(events)} events; at most {MAX_EVENTS} in a batch"))
        if not wait:
            # Refused before it is mapped, a flood costs little.
            self._committer.check_room(company_id, [len(event.payload) for event in events])
            self._limiter.events(company_id, len(events))
        else:
            await patiently(lambda: self._limiter.events(company_id, len(events)))
        rules = await self._rules(company_id)
        mapped = await self._fair_mapper.map(company_id, map(to_incoming, events), rules)
        return await self._committer.submit(company_id, mapped, wait=wait)

    async def _rules(self, company_id: str) -> Rules:
        rules = self._registry.cached(company_id)
        return rules if rules is not None else await self._registry.rules(company_id)


def _marks(request: pb.MarkEventsRequest) -> list[store.Mark]:
    if len(request.marks) > MAX_EVENTS:
        raise InvalidField(Violation("marks", f"{len(request.marks)} marks; at most {MAX_EVENTS} in a call"))
    marks: dict[uuid.UUID, store.Mark] = {}
    for position, mark in enumerate(request.marks):
        field = f"marks[{position}]"
        event_id = requests.uuid_of(mark.event_id, f"{field}.event_id")
        status = _STATUSES.get(mark.status)
        if status is None:
            raise InvalidField(Violation(f"{field}.status", "must be PROCESSED or FAILED"))
        if mark.error and status is not store.Status.FAILED:
            raise InvalidField(Violation(f"{field}.error", "only goes with FAILED"))
        if len(mark.error) > MAX_ERROR_CHARACTERS or "\0" in mark.error:
            raise InvalidField(
                Violation(f"{field}.error", f"at most {MAX_ERROR_CHARACTERS} characters, none of them NUL")
            )
        if event_id in marks:
            raise InvalidField(Violation(f"{field}.event_id", "is marked twice in this call"))
        marks[event_id] = store.Mark(event_id, status, mark.error or None)
    return list(marks.values())
