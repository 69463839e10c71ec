"""EventQueryService: one event, and lists page by page."""

import msgspec

from hookline.export.v1 import event_query_service_pb2 as pb
from hookline.export.v1 import event_query_service_pb2_grpc
from services.export import conversion, store
from services.export.store import Span
from shared import db, page_tokens, requests
from shared.errors import EventNotFound, InvalidField, Violation
from shared.interceptors import Context

# Events that one call looks through where no index leads to those that match: what keeps a call short.
MAX_SPAN = 20_000
MAX_PAYLOAD_BYTES = 8 * 1024 * 1024

_VIEWS = {pb.EVENT_VIEW_UNSPECIFIED: False, pb.EVENT_VIEW_BASIC: False, pb.EVENT_VIEW_FULL: True}


class _Position(msgspec.Struct, frozen=True, array_like=True):
    """Where the next page goes on: through what is left of the log that the first page saw."""

    after: int
    upto: int


class EventQueryServicer(event_query_service_pb2_grpc.EventQueryServiceServicer):
    """See protos/hookline/export/v1/event_query_service.proto."""

    def __init__(self, pool: db.Pool) -> None:
        self._pool = pool

    async def GetEvent(self, request: pb.GetEventRequest, context: Context) -> pb.GetEventResponse:
        company_id = requests.company(request.company_id)
        event_id = requests.uuid_of(request.event_id, "event_id")
        async with db.acquired(self._pool) as connection:
            event = await store.get_event(connection, company_id, event_id)
        if event is None:
            raise EventNotFound("the company has no such event", event_id=str(event_id))
        return pb.GetEventResponse(event=conversion.from_event(company_id, event))

    async def ListEvents(self, request: pb.ListEventsRequest, context: Context) -> pb.ListEventsResponse:
        company_id = requests.company(request.company_id)
        which = conversion.to_filter(request.filter)
        newest_first = conversion.is_newest_first(request.order, default=True)
        page_size = requests.page_size(request.page_size, default=100, most=1000)
        with_payload = _VIEWS.get(request.view)
        if with_payload is None:
            raise InvalidField(Violation("view", "must be BASIC or FULL"))
        tie = ("ListEvents", company_id, msgspec.to_builtins(which), newest_first)
        position = page_tokens.decode(request.page_token, _Position, *tie)
        async with db.acquired(self._pool) as connection:
            if position is None:
                position = _Position(0, (await store.mark(connection, company_id)).last_sequence)
            span = _bounded(position, newest_first, None if which.is_indexed else max(MAX_SPAN, page_size))
            events = await store.list_events(
                connection,
                company_id,
                span,
                which,
                newest_first,
                page_size,
                MAX_PAYLOAD_BYTES if with_payload else None,
            )
        # A page that is full, or cut by its payloads, goes on after its last event; else after what it looked through.
        cut = with_payload and sum(len(event.payload or b"") for event in events) >= MAX_PAYLOAD_BYTES
        seen = Span(events[-1].sequence - 1, events[-1].sequence) if cut or len(events) == page_size else span
        left = _Position(position.after, seen.after) if newest_first else _Position(seen.upto, position.upto)
        return pb.ListEventsResponse(
            events=[conversion.from_event(company_id, event) for event in events],
            next_page_token=page_tokens.encode(left, *tie) if left.after < left.upto else "",
        )


def _bounded(position: _Position, newest_first: bool, max_span: int | None) -> Span:
    if max_span is None:
        return Span(position.after, position.upto)
    if newest_first:
        return Span(max(position.after, position.upto - max_span), position.upto)
    return Span(position.after, min(position.upto, position.after + max_span))
