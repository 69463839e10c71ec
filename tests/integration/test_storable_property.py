"""What the rules understand, PostgreSQL holds, and gives back with the same members and values to the last digit."""

import uuid
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.export.v1.event_query_service_pb2 import EVENT_VIEW_FULL, ListEventsRequest
from hookline.ingest.v1 import ingest_service_pb2 as pb
from services.ingest.mapping import Incoming, Mapped, Mapper, SetAside
from shared.platforms import platforms
from tests.exports import exact
from tests.in_process import Exporting, Ingesting
from tests.json_values import any_text, canonical, objects, written
from tests.samples import ACCEPTED, DUPLICATE, QUARANTINED, send

MAPPER = Mapper(platforms(), 1024 * 1024)


@settings(max_examples=60)
@given(data=st.data(), contents=st.lists(objects(any_text), min_size=1, max_size=20))
async def test_what_is_understood_is_stored_and_read_back_equal(
    ingest: Ingesting, export: Exporting, data: st.DataObject, contents: list[dict[str, Any]]
) -> None:
    company = uuid.uuid4().hex
    bodies = [written({"type": "a"} | content, data.draw).encode(errors="surrogatepass") for content in contents]
    results = await send(ingest.stub, company, bodies)
    sent: dict[str, bytes] = {}
    for body, result in zip(bodies, results, strict=True):
        answer = MAPPER.map(Incoming("", "", body))
        assert isinstance(answer, Mapped | SetAside)
        if isinstance(answer, Mapped):
            # Never set aside by the database: the rules know all that it can't hold.
            assert result.outcome in (ACCEPTED, DUPLICATE), result.message
            sent.setdefault(result.event_id, body)
        else:
            assert result.outcome == QUARANTINED
            assert result.reason == pb.OutcomeReason.Value(f"OUTCOME_REASON_{answer.reason}")
    page = await export.query.ListEvents(ListEventsRequest(company_id=company, view=EVENT_VIEW_FULL))
    assert {event.event_id for event in page.events} >= set(sent)
    for event in page.events:
        if event.event_id in sent:
            assert canonical(exact(event.payload)) == canonical(exact(sent[event.event_id]))
