"""What could not be understood: kept as it came, once, listed page by page, shown whole."""

import asyncio
import uuid

import grpc

from hookline.ingest.v1 import ingest_service_pb2 as pb
from shared.db import Connection
from tests.in_process import Ingesting
from tests.padoca import RECOGNISE, mapping, padoca, put
from tests.quarantined import discarded, listed, whole
from tests.refusals import refused
from tests.samples import grapfy, incoming, outcomes, send


async def test_a_body_is_kept_as_it_came_with_its_reason(ingest: Ingesting, connection: Connection) -> None:
    body = b'{"eventId": "\xff' + b"x" * 10_000
    [result] = await send(ingest.stub, "acme", [incoming(body, platform="grapfy", source="shop_1")])
    [event] = (await listed(ingest)).quarantined_events
    assert event.quarantine_id == result.quarantine_id
    assert (event.source, event.platform, event.times_received) == ("shop_1", "grapfy", 1)
    assert (event.reason, event.message) == (pb.OUTCOME_REASON_JSON_MALFORMED, result.message)
    assert (event.payload_prefix, event.payload_size) == (body[:4096], len(body))
    assert await connection.fetchval("SELECT payload FROM hookline.quarantine") == body
    now = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float")
    assert abs(event.quarantined_time.seconds - now) < 60


async def test_the_source_is_the_one_given_else_the_platform_else_unknown(ingest: Ingesting) -> None:
    for source, platform, expected in (
        ("shop", "grapfy", "shop"),
        ("", "grapfy", "grapfy"),
        ("", "", "unknown"),
        ("", "nope", "nope"),
    ):
        company = f"c{source}.{platform}"
        await send(ingest.stub, company, [incoming(b"nonsense", platform, source)])
        [event] = (await listed(ingest, company)).quarantined_events
        assert event.source == expected
    # Recognised, then not understood.
    await send(ingest.stub, "acme", [grapfy(total="much")])
    [event] = (await listed(ingest)).quarantined_events
    assert (event.source, event.platform) == ("grapfy", "grapfy")


async def test_the_same_body_is_kept_once_and_counted(ingest: Ingesting) -> None:
    results = await send(ingest.stub, "acme", [b"a", b"b", b"a"])
    again = await asyncio.gather(*(send(ingest.stub, "acme", [b"a"]) for _ in range(5)))
    assert {result.quarantine_id for one in again for result in one} == {results[0].quarantine_id}
    assert results[2].quarantine_id == results[0].quarantine_id != results[1].quarantine_id
    events = (await listed(ingest)).quarantined_events
    assert {event.payload_prefix for event in events} == {b"a", b"b"}
    assert {event.payload_prefix: event.times_received for event in events} == {b"a": 7, b"b": 1}


async def test_pages_show_each_body_once_newest_first(ingest: Ingesting) -> None:
    ids = []
    for number in range(25):
        [result] = await send(ingest.stub, "acme", [b"bad %d" % number])
        ids.append(result.quarantine_id)
    await send(ingest.stub, "bolt", [b"another company's"])
    seen, token, sizes = [], "", []
    while True:
        page = await listed(ingest, page_size=10, page_token=token)
        seen += [event.quarantine_id for event in page.quarantined_events]
        sizes.append(len(page.quarantined_events))
        if not page.next_page_token:
            break
        token = page.next_page_token
        # What comes meanwhile is newer than what is still to come.
        await send(ingest.stub, "acme", [b"later " + token.encode()])
    assert (seen, sizes) == (ids[::-1], [10, 10, 5])
    assert [event.payload_prefix for event in (await listed(ingest, "bolt")).quarantined_events] == [
        b"another company's"
    ]


async def test_page_sizes_have_a_default_and_a_cap(ingest: Ingesting) -> None:
    await send(ingest.stub, "acme", [b"bad %d" % number for number in range(501)])
    assert len((await listed(ingest)).quarantined_events) == 50
    assert len((await listed(ingest, page_size=10_000)).quarantined_events) == 500
    refusal = await refused(listed(ingest, page_size=-1))
    assert (refusal.code, list(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["page_size"])


async def test_a_page_token_of_another_company_is_refused(ingest: Ingesting) -> None:
    await send(ingest.stub, "acme", [b"a", b"b"])
    token = (await listed(ingest, page_size=1)).next_page_token
    assert token
    for company, wrong in (("bolt", token), ("acme", token[:-2]), ("acme", "x"), ("acme", str(uuid.uuid4()))):
        refusal = await refused(listed(ingest, company, page_token=wrong))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")


async def test_one_is_shown_whole(ingest: Ingesting, connection: Connection) -> None:
    body = b"\x00\xff" + b"x" * 10_000
    event = pb.IncomingEvent(
        payload=body,
        source="shop",
        platform="shopify",
        headers={"X-Shopify-Topic": "orders/paid", "X-Shopify-Hmac-Sha256": "signature", "Cookie": "no"},
    )
    [result] = await send(ingest.stub, "acme", [event])
    shown = await whole(ingest, result.quarantine_id)
    assert (shown.payload, shown.payload_size, shown.payload_prefix) == (body, len(body), body[:4096])
    assert dict(shown.headers) == {"x-shopify-topic": "orders/paid"}, "only those that a mapping reads, no proof"
    assert (shown.source, shown.platform, shown.reason) == ("shop", "shopify", pb.OUTCOME_REASON_JSON_MALFORMED)
    [listed_one] = (await listed(ingest)).quarantined_events
    assert (listed_one.payload, dict(listed_one.headers)) == (b"", {})
    assert "signature" not in str(await connection.fetch("SELECT * FROM hookline.quarantine"))


async def test_what_another_company_has_is_not_shown(ingest: Ingesting) -> None:
    [result] = await send(ingest.stub, "acme", [b"nonsense"])
    for company, quarantine_id in (("bolt", result.quarantine_id), ("acme", str(uuid.uuid4()))):
        refusal = await refused(whole(ingest, quarantine_id, company))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "QUARANTINED_EVENT_NOT_FOUND")
        assert refusal.metadata == {"quarantine_id": quarantine_id}
    refusal = await refused(whole(ingest, "1"))
    assert (refusal.code, list(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["quarantine_id"])


async def test_a_list_is_of_what_the_filter_means(ingest: Ingesting) -> None:
    await send(
        ingest.stub,
        "acme",
        [
            incoming(b"1", "grapfy", "shop_1"),
            incoming(b"not JSON", "grapfy", "shop_1"),
            incoming(b"not JSON", "grapfy", "shop_2"),
            incoming(b"not JSON", "nope", "shop_2"),
            incoming(b"{}"),
        ],
    )
    json_malformed, not_object = pb.OUTCOME_REASON_JSON_MALFORMED, pb.OUTCOME_REASON_JSON_NOT_OBJECT
    cases: list[tuple[pb.QuarantineFilter, int]] = [
        (pb.QuarantineFilter(), 5),
        (pb.QuarantineFilter(source="shop_1"), 2),
        (pb.QuarantineFilter(source="unknown"), 1),
        (pb.QuarantineFilter(platform="grapfy"), 3),
        (pb.QuarantineFilter(reason=json_malformed), 3),
        (pb.QuarantineFilter(source="shop_1", platform="grapfy", reason=not_object), 1),
        (pb.QuarantineFilter(source="shop_2", reason=not_object), 0),
        (pb.QuarantineFilter(reason=pb.OUTCOME_REASON_PAYLOAD_EMPTY), 0),
        (pb.QuarantineFilter(platform="Grapfy"), 0),
    ]
    for which, count in cases:
        events = (await listed(ingest, filter=which)).quarantined_events
        assert len(events) == count, which
        assert all(event.source == which.source for event in events if which.source)
        assert all(event.platform == which.platform for event in events if which.platform)
        assert all(event.reason == which.reason for event in events if which.reason)


async def test_a_filter_that_can_not_hold_is_refused(ingest: Ingesting) -> None:
    for which, field in (
        (pb.QuarantineFilter(source="a b"), "filter.source"),
        (pb.QuarantineFilter(platform="\0"), "filter.platform"),
        (pb.QuarantineFilter(reason=99), "filter.reason"),  # type: ignore[arg-type]
    ):
        refusal = await refused(listed(ingest, filter=which))
        assert (refusal.code, list(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, [field])


async def test_a_page_token_of_another_filter_is_refused(ingest: Ingesting) -> None:
    await send(ingest.stub, "acme", [incoming(b"a", "", "shop"), incoming(b"b", "", "shop")])
    which = pb.QuarantineFilter(source="shop")
    token = (await listed(ingest, page_size=1, filter=which)).next_page_token
    assert [one.payload_prefix for one in (await listed(ingest, filter=which, page_token=token)).quarantined_events]
    for other in ({}, {"filter": pb.QuarantineFilter(source="x")}, {"filter": which, "include_discarded": True}):
        assert (await refused(listed(ingest, page_token=token, **other))).reason == "INVALID_PAGE_TOKEN"


async def test_discarded_ones_are_listed_when_asked_for(ingest: Ingesting) -> None:
    results = await send(ingest.stub, "acme", [b"a", b"b", b"c"])
    await discarded(ingest, [results[1].quarantine_id], reason="a probe, says Rui")
    assert [one.payload_prefix for one in (await listed(ingest)).quarantined_events] == [b"c", b"a"]
    all_of_them = (await listed(ingest, include_discarded=True)).quarantined_events
    assert [one.payload_prefix for one in all_of_them] == [b"c", b"b", b"a"]
    assert [one.discard_reason for one in all_of_them] == ["", "a probe, says Rui", ""]
    assert [one.HasField("discarded_time") for one in all_of_them] == [False, True, False]


async def test_one_body_under_two_topics_is_two(ingest: Ingesting) -> None:
    body = b'{"id": 1, "total_price": "much"}'
    events = [
        pb.IncomingEvent(payload=body, platform="shopify", headers={"X-Shopify-Topic": topic})
        for topic in ("orders/create", "orders/paid", "orders/create")
    ]
    results = await send(ingest.stub, "acme", events)
    assert outcomes(results) == ["QUARANTINED TOTAL_MALFORMED"] * 3
    assert results[0].quarantine_id == results[2].quarantine_id != results[1].quarantine_id


async def test_one_body_under_two_topics_of_an_unknown_platform_is_two(ingest: Ingesting) -> None:
    def event(topic: str, delivery: str) -> pb.IncomingEvent:
        headers = {"X-WC-Webhook-Topic": topic, "X-WC-Webhook-Delivery": delivery, "X-WC-Webhook-Token": "s3cret"}
        return pb.IncomingEvent(payload=padoca(), headers=headers)

    results = await send(
        ingest.stub, "acme", [event("order.updated", "1"), event("order.deleted", "2"), event("order.updated", "3")]
    )
    assert outcomes(results) == ["QUARANTINED PLATFORM_UNRECOGNISED"] * 3
    assert results[0].quarantine_id == results[2].quarantine_id != results[1].quarantine_id
    shown = await whole(ingest, results[0].quarantine_id)
    assert dict(shown.headers) == {"x-wc-webhook-topic": "order.updated", "x-wc-webhook-delivery": "1"}
    assert shown.times_received == 2


async def test_each_attempt_of_a_standard_webhook_is_the_same_again(ingest: Ingesting) -> None:
    def event(message: str, attempt: int) -> pb.IncomingEvent:
        headers = {"Webhook-Id": message, "Webhook-Timestamp": str(attempt), "Webhook-Signature": f"v1,{attempt}"}
        return pb.IncomingEvent(payload=b'{"type":"a","data":{"total":"much"}}', headers=headers)

    results = await send(ingest.stub, "acme", [event("m-1", 1), event("m-1", 2), event("m-2", 3)])
    assert outcomes(results) == ["QUARANTINED TOTAL_MALFORMED"] * 3
    assert results[0].quarantine_id == results[1].quarantine_id != results[2].quarantine_id


async def test_one_body_under_two_names_is_two(ingest: Ingesting) -> None:
    body = grapfy(total="much")
    first, named, source, again = await send(
        ingest.stub,
        "acme",
        [incoming(body), incoming(body, platform="grapfy"), incoming(body, source="grapfy"), incoming(body)],
    )
    assert len({one.quarantine_id for one in (first, named, source)}) == 3, "each is tried again as it came"
    assert again.quarantine_id == first.quarantine_id


async def test_what_comes_again_has_the_reason_of_now(ingest: Ingesting) -> None:
    [first] = await send(ingest.stub, "acme", [incoming(padoca(), "padoca", "shop")])
    assert outcomes([first]) == ["QUARANTINED PLATFORM_UNKNOWN"]
    await put(ingest, total="cliente")
    [again] = await send(ingest.stub, "acme", [incoming(padoca(), "padoca", "shop")])
    assert (outcomes([again]), again.quarantine_id) == (["QUARANTINED TOTAL_MALFORMED"], first.quarantine_id)
    shown = await whole(ingest, first.quarantine_id)
    assert (shown.reason, shown.times_received) == (pb.OUTCOME_REASON_TOTAL_MALFORMED, 2)


async def test_a_secret_in_the_body_is_not_kept_where_the_platform_is_known(
    ingest: Ingesting, connection: Connection
) -> None:
    request = pb.PutPlatformMappingRequest(
        company_id="acme", mapping=mapping("padoca", RECOGNISE, secrets='secrets = ["token"]', total="cliente")
    )
    await ingest.stub.PutPlatformMapping(request)
    results = await send(ingest.stub, "acme", [padoca(token="first"), padoca(token="rotated")])
    assert results[0].quarantine_id == results[1].quarantine_id, "a rotated token makes no other body"
    shown = await whole(ingest, results[0].quarantine_id)
    assert b"token" not in shown.payload
    assert shown.times_received == 2
