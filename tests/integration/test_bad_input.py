"""Whatever comes in gets its own answer, and its neighbours are stored."""

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass

from hookline.events.v1 import events_pb2
from hookline.export.v1.event_query_service_pb2 import EVENT_VIEW_FULL, GetEventRequest, ListEventsRequest
from hookline.export.v1.export_service_pb2 import EXPORT_FORMAT_CSV, ExportEventsRequest
from hookline.ingest.v1 import endpoint_service_pb2
from hookline.ingest.v1 import ingest_service_pb2 as pb
from hookline.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub
from tests.in_process import Exporting, Ingesting
from tests.refusals import refused
from tests.samples import grapfy, incoming, outcomes, send

MIB = 1024 * 1024
NESTED = b'{"type":"a","x":' + b"[" * 250 + b"]" * 250 + b"}"

BAD: dict[str, tuple[bytes | pb.IncomingEvent, str]] = {
    "not JSON": (b'{"eventId": "1", ', "QUARANTINED JSON_MALFORMED"),
    "NaN": (b'{"eventId":"1","eventType":"a","total":NaN}', "QUARANTINED JSON_MALFORMED"),
    "bad UTF-8": (b'{"eventId":"1","eventType":"caf\xe9"}', "QUARANTINED JSON_MALFORMED"),
    "lone surrogate": (b'{"eventId":"1","eventType":"a","x":"\\ud800"}', "QUARANTINED JSON_MALFORMED"),
    "lone surrogate in a name": (b'{"eventId":"1","eventType":"a","\\udc00":1}', "QUARANTINED JSON_MALFORMED"),
    "NUL escape": (b'{"eventId":"1","eventType":"a","x":"a\\u0000b"}', "QUARANTINED JSON_UNSTORABLE"),
    "NUL byte": (b'{"eventId":"1","eventType":"a","x":"a\0b"}', "QUARANTINED JSON_MALFORMED"),
    "NUL in a member's name": (b'{"eventId":"1","eventType":"a","a\\u0000":1}', "QUARANTINED JSON_UNSTORABLE"),
    "deep nesting": (NESTED, "QUARANTINED JSON_UNSTORABLE"),
    "deeper nesting": (b"[" * 100_000, "QUARANTINED JSON_UNSTORABLE"),
    "huge exponent": (b'{"eventId":"1","eventType":"a","x":1e100000}', "QUARANTINED JSON_UNSTORABLE"),
    "endless number": (b'{"eventId":"1","eventType":"a","x":' + b"1" * 5000 + b"}", "QUARANTINED JSON_UNSTORABLE"),
    "more decimals than PostgreSQL takes": (
        b'{"eventId":"decimals","eventType":"a","x":0.' + b"1" * 20_000 + b"}",
        "QUARANTINED JSON_UNSTORABLE",
    ),
    "a list": (b"[1, 2]", "QUARANTINED JSON_NOT_OBJECT"),
    "no shape that is known": (b'{"a": 1}', "QUARANTINED PLATFORM_UNRECOGNISED"),
    "no type": (grapfy(eventType={"a": 1}), "QUARANTINED TYPE_MISSING"),
    "a total that is none": (grapfy(total="R$ 10"), "QUARANTINED TOTAL_MALFORMED"),
    "the year 10000": (grapfy(createdAt="10000-01-01T00:00:00Z"), "QUARANTINED TIME_MALFORMED"),
    "before 1970": (grapfy(createdAt="1969-12-31T23:59:59Z"), "QUARANTINED TIME_MALFORMED"),
    "5 MB": (grapfy(x="x" * 5_000_000), "REJECTED PAYLOAD_TOO_LARGE"),
    "nothing": (b"", "REJECTED PAYLOAD_EMPTY"),
    "unknown platform": (incoming(grapfy(), platform="nope"), "QUARANTINED PLATFORM_UNKNOWN"),
    "malformed platform": (incoming(grapfy(), platform="a b"), "REJECTED NAME_MALFORMED"),
    "malformed source": (incoming(grapfy(), source="a/b"), "REJECTED NAME_MALFORMED"),
}
ODD_BUT_GOOD = {
    "10 KB id": grapfy("e" * 10_240),
    "number beyond 2^53": grapfy("big", x=2**64 + 1),
    "year 9999": grapfy("y9999", createdAt="9999-12-31T23:59:59.999999Z"),
    "backslashes before u0000": b'{"eventId":"bs","eventType":"a","x":"\\\\u0000"}',
    "emoji": grapfy("emoji", customer={"name": "🦩 Ana"}),
    "repeated member": b'{"eventId":"r","eventType":"a","x":1,"x":2}',
}


async def test_a_bad_event_gets_its_own_answer_and_its_neighbours_are_stored(ingest: Ingesting) -> None:
    found = {}
    for number, (case, (bad, expected)) in enumerate(BAD.items()):
        results = await send(ingest.stub, f"company_{number}", [grapfy("before"), bad, grapfy("after")])
        found[case] = outcomes(results)
        assert [result.sequence for result in results] == [1, 0, 2]
        assert results[1].message
        assert bool(results[1].quarantine_id) == expected.startswith("QUARANTINED")
        assert not results[1].event_id
    assert found == {case: ["ACCEPTED", expected, "ACCEPTED"] for case, (_, expected) in BAD.items()}


async def test_all_bad_events_in_one_batch_leave_the_good_ones_between_them(ingest: Ingesting) -> None:
    events: list[bytes | pb.IncomingEvent] = []
    expected = []
    for number, (bad, outcome) in enumerate(value for case, value in BAD.items() if case != "5 MB"):
        events += [grapfy(number), bad]
        expected += ["ACCEPTED", outcome]
    assert outcomes(await send(ingest.stub, "acme", events)) == expected


async def test_odd_but_good_events_are_stored_and_read_back(ingest: Ingesting, export: Exporting) -> None:
    results = await send(ingest.stub, "acme", ODD_BUT_GOOD.values())
    assert outcomes(results) == ["ACCEPTED"] * len(ODD_BUT_GOOD)
    again = await send(ingest.stub, "acme", ODD_BUT_GOOD.values())
    assert outcomes(again) == ["DUPLICATE"] * len(ODD_BUT_GOOD)
    assert not any(result.payload_differs for result in again)
    events = {}
    for case, result in zip(ODD_BUT_GOOD, results, strict=True):
        answer = await export.query.GetEvent(GetEventRequest(company_id="acme", event_id=result.event_id))
        events[case] = answer.event
    assert b"18446744073709551617" in events["number beyond 2^53"].payload
    assert events["year 9999"].occurred_time.ToJsonString() == "9999-12-31T23:59:59.999999Z"
    assert events["emoji"].customer_name == "🦩 Ana"
    assert len(events["10 KB id"].dedup_key) < 256
    assert b'"x": "\\\\u0000"' in events["backslashes before u0000"].payload


async def test_a_payload_of_exactly_the_limit_is_stored_and_one_byte_more_is_not(ingest: Ingesting) -> None:
    room = MIB - len(grapfy(x=""))
    results = await send(ingest.stub, "acme", [grapfy(x="x" * room), grapfy("evt_2", x="x" * (room + 1))])
    assert outcomes(results) == ["ACCEPTED", "REJECTED PAYLOAD_TOO_LARGE"]


async def test_a_type_with_control_characters_is_no_type(ingest: Ingesting) -> None:
    results = await send(ingest.stub, "acme", [grapfy(eventType="a\nb"), grapfy("long", eventType="a" * 129)])
    assert outcomes(results) == ["QUARANTINED TYPE_MISSING"] * 2


UNARY_METHODS = [
    method
    for file in (pb.DESCRIPTOR, endpoint_service_pb2.DESCRIPTOR)
    for service in file.services_by_name.values()
    for method in service.methods
    if not method.client_streaming
]


async def test_a_company_that_is_none_is_refused_by_every_method(ingest: Ingesting, export: Exporting) -> None:
    for company in ("", "a b", "a/b", ".a", "ä", "a" * 65, "a\0"):
        calls: list[Any] = [
            ingest.stub.IngestEventStream(iter([pb.IngestEventStreamRequest(company_id=company)])),
            *(
                ingest.raw("unary_unary", f"/{method.containing_service.full_name}/{method.name}")(
                    GetMessageClass(method.input_type)(company_id=company).SerializeToString()
                )
                for method in UNARY_METHODS
            ),
            export.query.GetEvent(GetEventRequest(company_id=company)),
            export.query.ListEvents(ListEventsRequest(company_id=company)),
            export.export.ExportEvents(ExportEventsRequest(company_id=company, format=EXPORT_FORMAT_CSV)),
        ]
        for refusal in await asyncio.gather(*(refused(call) for call in calls)):
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
            assert list(refusal.violations) == ["company_id"]


async def test_a_missing_event_is_refused(ingest: Ingesting) -> None:
    refusal = await refused(ingest.stub.IngestEvent(pb.IngestEventRequest(company_id="acme")))
    assert (refusal.code, refusal.violations) == (grpc.StatusCode.INVALID_ARGUMENT, {"event": "is required"})


async def test_more_than_10_000_events_are_refused_and_none_is_stored(ingest: Ingesting, export: Exporting) -> None:
    refusal = await refused(send(ingest.stub, "acme", [b"{}"] * 10_001))
    assert (refusal.code, list(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["events"])
    listed = await ingest.stub.ListQuarantinedEvents(pb.ListQuarantinedEventsRequest(company_id="acme"))
    assert not listed.quarantined_events
    assert not (await export.query.ListEvents(ListEventsRequest(company_id="acme"))).events


async def test_an_empty_batch_is_fine(ingest: Ingesting) -> None:
    assert not await send(ingest.stub, "acme", [])


IngestEvent = "/hookline.ingest.v1.IngestService/IngestEvent"
BAD_MESSAGES = {
    "corrupt message": b"\xff\xff\xff\xff",
    "bad UTF-8 in a string": b"\x0a\x02\xc3\x28",
    "cut short": pb.IngestEventRequest(company_id="acme", event=incoming(grapfy())).SerializeToString()[:-5],
}


async def test_bytes_that_are_no_message_are_refused_as_such(ingest: Ingesting, export: Exporting) -> None:
    stream = ingest.raw("stream_stream", "/hookline.ingest.v1.IngestService/IngestEventStream")
    for data in BAD_MESSAGES.values():
        calls: list[Any] = [
            ingest.raw("unary_unary", IngestEvent)(data),
            stream(iter([data])),
            export.raw("unary_stream", "/hookline.export.v1.ExportService/ExportEvents")(data),
        ]
        for call in calls:
            refusal = await refused(call)
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE")


async def test_a_message_over_16_mib_is_refused_and_the_connection_goes_on(ingest: Ingesting) -> None:
    options = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(ingest.address, options) as channel:
        stub = IngestServiceStub(channel)
        request = pb.IngestEventRequest(company_id="acme", event=incoming(b"x" * (17 * MIB)))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.IngestEvent(request)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert outcomes(await send(stub, "acme", [grapfy()])) == ["ACCEPTED"]


async def test_a_batch_of_16_mib_in_all_is_taken(ingest: Ingesting, export: Exporting) -> None:
    events = [grapfy(number, x="x" * (MIB - 1000)) for number in range(15)]
    assert outcomes(await send(ingest.stub, "acme", events)) == ["ACCEPTED"] * 15
    page = await export.query.ListEvents(ListEventsRequest(company_id="acme", view=EVENT_VIEW_FULL))
    assert len(page.events) == 8 or sum(len(event.payload) for event in page.events) >= 8 * MIB


async def test_an_unknown_method_is_refused_with_a_reason(ingest: Ingesting) -> None:
    for method in ("/hookline.ingest.v1.IngestService/Nope", "/nope.Service/Method"):
        refusal = await refused(ingest.raw("unary_unary", method)(b""))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNIMPLEMENTED, "METHOD_NOT_FOUND")


FILTERS = {
    "filter.types[0]": events_pb2.EventFilter(types=[""]),
    "filter.types": events_pb2.EventFilter(types=["a"] * 101),
    "filter.sources[1]": events_pb2.EventFilter(sources=["a", "b\0"]),
    "filter.statuses[0]": events_pb2.EventFilter(statuses=[events_pb2.PROCESSING_STATUS_UNSPECIFIED]),
}


async def test_a_filter_that_makes_no_sense_is_refused(export: Exporting) -> None:
    for field, which in FILTERS.items():
        refusal = await refused(export.query.ListEvents(ListEventsRequest(company_id="acme", filter=which)))
        assert (refusal.code, list(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, [field])


async def test_times_that_cannot_hold_are_refused(export: Exporting) -> None:
    for kind in ("occurred", "received"):
        wrong_way = events_pb2.EventFilter()
        getattr(wrong_way, f"{kind}_start_time").FromSeconds(100)
        getattr(wrong_way, f"{kind}_end_time").FromSeconds(100)
        refusal = await refused(export.query.ListEvents(ListEventsRequest(company_id="acme", filter=wrong_way)))
        assert list(refusal.violations) == [f"filter.{kind}_end_time"]
        no_time = events_pb2.EventFilter()
        getattr(no_time, f"{kind}_start_time").seconds = 2**62
        refusal = await refused(export.query.ListEvents(ListEventsRequest(company_id="acme", filter=no_time)))
        assert list(refusal.violations) == [f"filter.{kind}_start_time"]
