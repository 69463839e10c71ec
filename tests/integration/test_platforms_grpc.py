"""Every sample of every platform, all the way: in over gRPC, out as the event that it is."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from hookline.events.v1 import events_pb2
from hookline.export.v1.event_query_service_pb2 import EVENT_VIEW_FULL, GetEventRequest, ListEventsRequest
from hookline.ingest.v1 import ingest_service_pb2 as pb
from tests.exports import JSON, exact, exported
from tests.in_process import Exporting, Ingesting
from tests.platform_samples import Sample, samples
from tests.samples import outcomes, send

# One service for all: each sample has a company of its own.
pytestmark = pytest.mark.asyncio(loop_scope="module")
_exact = msgspec.json.Decoder(float_hook=Decimal).decode
_in_another_form = msgspec.json.Encoder(order="sorted", decimal_format="number").encode


def event_of(sample: Sample) -> pb.IncomingEvent:
    return pb.IncomingEvent(
        platform=sample.named_platform, payload=sample.body, headers=sample.headers, query=sample.query
    )


def without(content: Any, path: str) -> None:
    """Takes a member out of a payload's content."""
    *members, last = path.split(".")
    for member in members:
        content = content[int(member)] if isinstance(content, list) else content[member]
    del content[last]


def stored(sample: Sample) -> Any:
    """The content that is to be stored."""
    content = exact(sample.body)
    for path in sample.expected.stripped:
        without(content, path)
    return content


def check(event: events_pb2.Event, sample: Sample) -> None:
    expected = sample.expected
    assert (event.platform, event.source) == (sample.platform, sample.platform)
    assert (event.type, event.platform_type) == (expected.type, expected.platform_type or expected.type)
    assert event.dedup_key == expected.dedup_key
    assert (event.customer_name, event.product_name) == (expected.customer_name or "", expected.product_name or "")
    assert (event.total.amount, event.total.currency) == (expected.total or "", expected.currency or "")
    assert event.HasField("total") == (expected.total is not None)
    if expected.moment is None:
        assert event.occurred_time == event.received_time
    else:
        assert event.occurred_time.ToDatetime(expected.moment.tzinfo) == expected.moment
    assert exact(event.payload) == stored(sample)


@pytest.mark.parametrize("sample", samples(), ids=str)
async def test_a_sample_becomes_the_event_that_it_is(
    module_ingest: Ingesting, module_export: Exporting, sample: Sample
) -> None:
    company, event = str(sample), event_of(sample)
    [result] = await send(module_ingest.stub, company, [event])
    assert outcomes([result]) == ["ACCEPTED"], result.message
    request = GetEventRequest(company_id=company, event_id=result.event_id)
    check((await module_export.query.GetEvent(request)).event, sample)
    preview = await module_ingest.stub.PreviewMapping(pb.PreviewMappingRequest(company_id=company, event=event))
    assert preview.result.outcome == pb.OUTCOME_ACCEPTED
    assert (preview.event.type, preview.event.dedup_key) == (sample.expected.type, sample.expected.dedup_key)
    assert exact(preview.event.payload) == stored(sample)
    # The same, written otherwise.
    event.payload = _in_another_form(_exact(sample.body))
    [again] = await send(module_ingest.stub, company, [event])
    assert (outcomes([again]), again.event_id, again.payload_differs) == (["DUPLICATE"], result.event_id, False)


async def test_all_of_them_at_once(module_ingest: Ingesting, module_export: Exporting) -> None:
    events = []
    for number, sample in enumerate(samples()):
        incoming = event_of(sample)
        # Those of one order may be one event to their platform.
        incoming.source = f"s{number}"
        events.append(incoming)
    first = await send(module_ingest.stub, "acme", events)
    assert outcomes(first) == ["ACCEPTED"] * len(events)
    order = events_pb2.EVENT_ORDER_OLDEST_FIRST
    request = ListEventsRequest(company_id="acme", page_size=1000, view=EVENT_VIEW_FULL, order=order)
    listed = (await module_export.query.ListEvents(request)).events
    assert [event.event_id for event in listed] == [result.event_id for result in first]
    rows = (await exported(module_export.export, "acme", JSON, order=order)).json()
    for event, row, sample in zip(listed, rows, samples(), strict=True):
        expected = sample.expected
        assert (row["type"], row["platform_type"]) == (expected.type, expected.platform_type or expected.type)
        assert (event.type, event.platform_type) == (row["type"], row["platform_type"])
        assert (row["total"], row["currency"]) == (expected.total, expected.currency)
        assert row["payload"] == stored(sample) == exact(event.payload)
