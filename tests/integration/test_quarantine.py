"""What could not be understood: kept as it came, once, listed page by page."""

import asyncio
import uuid

import grpc

from hookline.ingest.v1 import ingest_service_pb2 as pb
from shared.db import Connection
from tests.in_process import Ingesting
from tests.refusals import refused
from tests.samples import grapfy, incoming, send


async def listed(
    ingest: Ingesting, company: str = "acme", page_size: int = 0, page_token: str = ""
) -> pb.ListQuarantinedEventsResponse:
    return await ingest.stub.ListQuarantinedEvents(
        pb.ListQuarantinedEventsRequest(company_id=company, page_size=page_size, page_token=page_token)
    )


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
