"""EventQueryService: one event, lists page by page, summaries, the live tail."""

from collections.abc import AsyncIterator

import msgspec

from hookline.export.v1 import event_query_service_pb2 as pb
from hookline.export.v1 import event_query_service_pb2_grpc
from services.export import conversion, event_store, store, summaries, summary_request
from services.export.cache import Cache
from services.export.first_pages import remembered
from services.export.listing import Walk, newer, older, read_page
from services.export.summaries import MAX_ROWS, TooManyGroupsError
from services.export.turns import Turns
from services.export.watching import Tails
from shared import db, page_tokens, requests
from shared.errors import EventNotFound, InvalidField, SequenceOutOfRange, Violation
from shared.interceptors import Context

# One message of the live tail.
WATCH_EVENTS = 500

_VIEWS = {pb.EVENT_VIEW_UNSPECIFIED: False, pb.EVENT_VIEW_BASIC: False, pb.EVENT_VIEW_FULL: True}


class EventQueryServicer(event_query_service_pb2_grpc.EventQueryServiceServicer):
    """See protos/hookline/export/v1/event_query_service.proto. `sums` are the turns at reading for a summary."""

    def __init__(self, pool: db.Pool, sums: Turns, cache: Cache, tails: Tails) -> None:
        self._pool = pool
        self._sums = sums
        self._cache = cache
        self._tails = tails

    async def GetEvent(self, request: pb.GetEventRequest, context: Context) -> pb.GetEventResponse:
        company_id = requests.company(request.company_id)
        event_id = requests.uuid_of(request.event_id, "event_id")
        async with db.acquired(self._pool) as connection:
            event = await event_store.get_event(connection, company_id, event_id)
        if event is None:
            raise EventNotFound("the company has no such event", event_id=str(event_id))
        return pb.GetEventResponse(event=conversion.from_event(company_id, event))

    async def ListEvents(self, request: pb.ListEventsRequest, context: Context) -> pb.ListEventsResponse:
        company_id = requests.company(request.company_id)
        which = conversion.to_filter(request.filter)
        newest_first = conversion.is_newest_first(request.order, default=True)
        page_size = requests.page_size(request.page_size, default=100, most=1000)
        with_payload = _with_payload(request.view)
        tie = ("ListEvents", company_id, msgspec.to_builtins(which), newest_first)
        walk = page_tokens.decode(request.page_token, Walk, *tie)

        async def read(walk: Walk) -> pb.ListEventsResponse:
            async with db.acquired(self._pool) as connection:
                page = await read_page(connection, company_id, which, walk, page_size, with_payload=with_payload)
            events = page.events if walk.down == newest_first else page.events[::-1]
            below, above = older(walk, page.seen), newer(walk, page.seen)
            next_walk, previous_walk = (below, above) if newest_first else (above, below)
            return pb.ListEventsResponse(
                events=[conversion.from_event(company_id, event) for event in events],
                next_page_token=page_tokens.encode(next_walk, *tie) if next_walk else "",
                previous_page_token=page_tokens.encode(previous_walk, *tie) if previous_walk else "",
            )

        if walk is not None:
            return await read(walk)
        async with db.acquired(self._pool) as connection:
            moment = await store.moment(connection, company_id)
        first = Walk(moment.last_sequence, moment.last_sequence if newest_first else 0, down=newest_first)
        if with_payload:
            return await read(first)
        return await remembered(self._cache, company_id, moment, (*tie, page_size), lambda: read(first))

    async def SummarizeEvents(self, request: pb.SummarizeEventsRequest, context: Context) -> pb.SummarizeEventsResponse:
        company_id, question = summary_request.read(request)
        if question.time_zone != "UTC":
            async with db.acquired(self._pool) as connection:
                await conversion.check_zone(connection, question.time_zone)
        try:
            summary = await summaries.summarize(self._pool, self._sums, self._cache, company_id, question)
            return summary_request.answer(summary)
        except TooManyGroupsError:
            raise InvalidField(Violation("group_by", f"gives more than {MAX_ROWS} groups; ask for fewer")) from None

    async def WatchEvents(
        self, request: pb.WatchEventsRequest, context: Context
    ) -> AsyncIterator[pb.WatchEventsResponse]:
        company_id = requests.company(request.company_id)
        which = conversion.to_filter(request.filter)
        if which.statuses is not None:
            raise InvalidField(Violation("filter.statuses", "events are given as they are stored, before any status"))
        with_payload = _with_payload(request.view)
        at = request.after_sequence
        if at < -1:
            raise InvalidField(Violation("after_sequence", "can't be below -1"))
        async with db.acquired(self._pool) as connection:
            mark = (await store.mark(connection, company_id)).last_sequence
        if at > mark:
            raise SequenceOutOfRange(mark)
        at = mark if at == -1 else at
        async with self._tails.of(company_id) as tail:
            # Says from where on it watches, before anything happens.
            yield pb.WatchEventsResponse(last_sequence=at)
            while True:
                mark = await tail.beyond(at)
                if mark == at:
                    yield pb.WatchEventsResponse(last_sequence=at)
                while at < mark:
                    async with db.acquired(self._pool) as connection:
                        walk = Walk(mark, at, down=False)
                        page = await read_page(
                            connection, company_id, which, walk, WATCH_EVENTS, with_payload=with_payload
                        )
                    at = page.seen.upto
                    yield pb.WatchEventsResponse(
                        events=[conversion.from_event(company_id, event) for event in page.events], last_sequence=at
                    )


def _with_payload(view: pb.EventView.ValueType) -> bool:
    with_payload = _VIEWS.get(view)
    if with_payload is None:
        raise InvalidField(Violation("view", "must be BASIC or FULL"))
    return with_payload
