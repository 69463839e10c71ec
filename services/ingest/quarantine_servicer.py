"""IngestService's part that works through the quarantine, and lists conflicts."""

import uuid
from collections.abc import Iterator, Sequence

import msgspec

from hookline.ingest.v1 import ingest_service_pb2 as pb
from services.ingest import conversion
from services.ingest import quarantine_store as store
from services.ingest.committer import GONE, Committer, Outcome, Result
from services.ingest.fair_mapping import FairMapper
from services.ingest.mapping import Incoming, Mapped, Rejected, Rules, SetAside
from services.ingest.quarantine_store import ConflictKey, Sized, Whole
from services.ingest.registry import Registry
from shared import db, page_tokens, requests
from shared.errors import InvalidField, QuarantinedEventNotFound, Violation
from shared.interceptors import Context

MOST = 500
MAX_REASON_CHARACTERS = 500
# What a retry holds in memory at a time.
RETRY_BYTES = 4 * 1024 * 1024
CONFLICT_BYTES = 8 * 1024 * 1024


class QuarantineServicer:
    """What it needs is set by the servicer that it is a part of."""

    _fair_mapper: FairMapper
    _registry: Registry
    _committer: Committer
    _pool: db.Pool

    async def ListQuarantinedEvents(
        self, request: pb.ListQuarantinedEventsRequest, context: Context
    ) -> pb.ListQuarantinedEventsResponse:
        company_id = requests.company(request.company_id)
        which = conversion.to_which(request.filter)
        page_size = requests.page_size(request.page_size, default=50, most=MOST)
        tie = ("ListQuarantinedEvents", company_id, which, request.include_discarded)
        before = page_tokens.decode(request.page_token, uuid.UUID, *tie)
        async with db.acquired(self._pool) as connection:
            # One more than asked for: it tells whether there is a next page.
            rows = await store.list_quarantined(
                connection, company_id, which, request.include_discarded, before, page_size + 1
            )
        page = rows[:page_size]
        return pb.ListQuarantinedEventsResponse(
            quarantined_events=[conversion.from_quarantined(row) for row in page],
            next_page_token=page_tokens.encode(page[-1].quarantine_id, *tie) if len(rows) > page_size else "",
        )

    async def GetQuarantinedEvent(
        self, request: pb.GetQuarantinedEventRequest, context: Context
    ) -> pb.GetQuarantinedEventResponse:
        company_id = requests.company(request.company_id)
        quarantine_id = requests.uuid_of(request.quarantine_id, "quarantine_id")
        event = await quarantined(self._pool, company_id, quarantine_id)
        return pb.GetQuarantinedEventResponse(quarantined_event=conversion.from_quarantined(event))

    async def RetryQuarantinedEvents(
        self, request: pb.RetryQuarantinedEventsRequest, context: Context
    ) -> pb.RetryQuarantinedEventsResponse:
        company_id = requests.company(request.company_id)
        ids = _ids(request.quarantine_ids, has_filter=request.HasField("filter"))
        next_page_token = ""
        if ids:
            for field in ("page_size", "page_token"):
                if getattr(request, field):
                    raise InvalidField(Violation(field, "only goes with a filter"))
            async with db.acquired(self._pool) as connection:
                there = await store.sizes(connection, company_id, ids)
            _require_all(ids, there)
            found = [there[quarantine_id] for quarantine_id in ids]
        else:
            which = conversion.to_which(request.filter)
            page_size = requests.page_size(request.page_size, default=100, most=MOST)
            tie = ("RetryQuarantinedEvents", company_id, which)
            after = page_tokens.decode(request.page_token, uuid.UUID, *tie)
            async with db.acquired(self._pool) as connection:
                found = await store.find(connection, company_id, which, after, page_size + 1)
            if len(found) > page_size:
                found = found[:page_size]
                next_page_token = page_tokens.encode(found[-1].quarantine_id, *tie)
        rules = await self._registry.fresh_rules(company_id)
        retried: list[tuple[uuid.UUID, Result]] = []
        for group in _groups(found):
            retried += await self._retry(company_id, group, rules)
        return pb.RetryQuarantinedEventsResponse(
            retried=[
                pb.RetryQuarantinedEventsResponse.Retried(
                    quarantine_id=str(quarantine_id), result=conversion.from_result(result)
                )
                for quarantine_id, result in retried
            ],
            next_page_token=next_page_token,
        )

    async def DiscardQuarantinedEvents(
        self, request: pb.DiscardQuarantinedEventsRequest, context: Context
    ) -> pb.DiscardQuarantinedEventsResponse:
        company_id = requests.company(request.company_id)
        ids = _ids(request.quarantine_ids, has_filter=request.HasField("filter"))
        reason = request.reason
        if not reason.strip() or len(reason) > MAX_REASON_CHARACTERS or "\0" in reason:
            message = f"is required: at most {MAX_REASON_CHARACTERS} characters, none of them NUL"
            raise InvalidField(Violation("reason", message))
        which = conversion.to_which(request.filter)
        more = False
        async with db.acquired(self._pool) as connection:
            if ids:
                discarded = await store.discard(connection, company_id, ids, reason, all_or_none=True)
                _require_all(ids, discarded)
            else:
                found = await store.find(connection, company_id, which, None, MOST + 1)
                ids, more = [one.quarantine_id for one in found[:MOST]], len(found) > MOST
                # One that is gone by now has become an event.
                discarded = await store.discard(connection, company_id, ids, reason, all_or_none=False)
        return pb.DiscardQuarantinedEventsResponse(
            quarantine_ids=[str(quarantine_id) for quarantine_id in ids if discarded.get(quarantine_id)], more=more
        )

    async def ListEventConflicts(
        self, request: pb.ListEventConflictsRequest, context: Context
    ) -> pb.ListEventConflictsResponse:
        company_id = requests.company(request.company_id)
        event_id = requests.uuid_of(request.event_id, "event_id") if request.event_id else None
        page_size = requests.page_size(request.page_size, default=50, most=MOST)
        tie = ("ListEventConflicts", company_id, event_id)
        after = page_tokens.decode(request.page_token, ConflictKey, *tie)
        async with db.acquired(self._pool) as connection:
            page, more = await store.list_conflicts(connection, company_id, event_id, after, page_size, CONFLICT_BYTES)
        last = page[-1] if more else None
        return pb.ListEventConflictsResponse(
            conflicts=[conversion.from_conflict(conflict) for conflict in page],
            next_page_token=page_tokens.encode(ConflictKey(last.source, last.dedup_key, last.payload_sha256), *tie)
            if last
            else "",
        )

    async def _retry(self, company_id: str, ids: Sequence[uuid.UUID], rules: Rules) -> list[tuple[uuid.UUID, Result]]:
        """Tries some again. Stored first, then taken out: what dies in between is a duplicate the next time. What is
        gone by the time it would be stored, since another call stored it or a person was erased, is left out."""
        async with db.acquired(self._pool) as connection:
            there = await store.load(connection, company_id, ids)
        lying = [there[quarantine_id] for quarantine_id in ids if quarantine_id in there]
        tried = await self._fair_mapper.map(company_id, map(as_it_came, lying), rules)
        # Nobody waits for these: where the queue is full, what comes in goes first.
        submitted = await self._committer.submit(
            company_id, [one for one in tried if isinstance(one, Mapped)], wait=True
        )
        stored = iter(await submitted)
        results: list[tuple[uuid.UUID, Result]] = []
        gone: list[uuid.UUID] = []
        aside: dict[uuid.UUID, tuple[Whole, SetAside]] = {}
        for lies, one in zip(lying, tried, strict=True):
            result = next(stored) if isinstance(one, Mapped) else _unstored(one)
            if result is GONE:
                continue
            if result.outcome in (Outcome.ACCEPTED, Outcome.DUPLICATE):
                gone.append(lies.quarantine_id)
            elif result.outcome is Outcome.QUARANTINED:
                result = msgspec.structs.replace(result, quarantine_id=str(lies.quarantine_id))
                aside[lies.quarantine_id] = (lies, _still_aside(one, result))
            results.append((lies.quarantine_id, result))
        async with db.acquired(self._pool) as connection:
            if gone:
                await store.remove(connection, company_id, gone)
            await store.judge(connection, company_id, aside)
        return results


async def quarantined(pool: db.Pool, company_id: str, quarantine_id: uuid.UUID) -> Whole:
    """One event in quarantine, whole. Raises QuarantinedEventNotFound."""
    async with db.acquired(pool) as connection:
        found = await store.load(connection, company_id, [quarantine_id])
    if quarantine_id not in found:
        raise QuarantinedEventNotFound(str(quarantine_id))
    return found[quarantine_id]


def as_it_came(event: Whole) -> Incoming:
    """What lies in quarantine, to be tried again. Whose sender was to be verified and could not be has to get by as if
    it came to the door now."""
    return Incoming(
        event.named_platform,
        event.named_source,
        event.payload,
        event.headers,
        at_door=not event.trusted,
        trusted=event.trusted,
        quarantine_id=event.quarantine_id,
    )


def _unstored(one: SetAside | Rejected) -> Result:
    outcome = Outcome.QUARANTINED if isinstance(one, SetAside) else Outcome.REJECTED
    return Result(outcome, reason=one.reason, message=one.message)


def _still_aside(one: Mapped | SetAside | Rejected, result: Result) -> SetAside:
    if isinstance(one, SetAside):
        return one
    # Understood, and yet nothing that PostgreSQL can hold.
    assert isinstance(one, Mapped)
    assert result.reason is not None
    return msgspec.structs.replace(one.aside, reason=result.reason, message=result.message)


def _ids(texts: Sequence[str], *, has_filter: bool) -> list[uuid.UUID]:
    """The ids named; none when there is a filter instead."""
    if has_filter and texts:
        raise InvalidField(Violation("filter", "does not go with quarantine_ids"))
    if not has_filter and not texts:
        raise InvalidField(Violation("quarantine_ids", "is required, or a filter"))
    if len(texts) > MOST:
        raise InvalidField(Violation("quarantine_ids", f"{len(texts)} ids; at most {MOST} in a call"))
    ids: dict[uuid.UUID, None] = {}
    for position, text in enumerate(texts):
        quarantine_id = requests.uuid_of(text, f"quarantine_ids[{position}]")
        if quarantine_id in ids:
            raise InvalidField(Violation(f"quarantine_ids[{position}]", "is given twice in this call"))
        ids[quarantine_id] = None
    return list(ids)


def _require_all(ids: Sequence[uuid.UUID], there: dict[uuid.UUID, Sized] | dict[uuid.UUID, bool]) -> None:
    for quarantine_id in ids:
        if quarantine_id not in there:
            raise QuarantinedEventNotFound(str(quarantine_id))


def _groups(found: Sequence[Sized]) -> Iterator[list[uuid.UUID]]:
    """In order, each of payloads that may be held at the same time."""
    group: list[uuid.UUID] = []
    size = 0
    for one in found:
        if group and size + one.payload_size > RETRY_BYTES:
            yield group
            group, size = [], 0
        group.append(one.quarantine_id)
        size += one.payload_size
    if group:
        yield group
