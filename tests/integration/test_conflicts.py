"""Payloads that came under a known key with another content: listed, page by page."""

import grpc

from hookline.ingest.v1 import ingest_service_pb2 as pb
from tests.in_process import Ingesting
from tests.refusals import refused
from tests.samples import grapfy, incoming, send


async def conflicts(ingest: Ingesting, company: str = "acme", **request: object) -> pb.ListEventConflictsResponse:
    return await ingest.stub.ListEventConflicts(
        pb.ListEventConflictsRequest(company_id=company, **request)  # type: ignore[arg-type]
    )


async def test_each_differing_payload_is_listed_once(ingest: Ingesting) -> None:
    [first] = await send(ingest.stub, "acme", [incoming(grapfy(1, total=1), source="loja")])
    other = incoming(grapfy(1, total=2), source="loja")
    for _ in range(3):
        await send(ingest.stub, "acme", [other])
    [conflict] = (await conflicts(ingest)).conflicts
    assert (conflict.event_id, conflict.source, conflict.dedup_key) == (first.event_id, "loja", "1")
    assert (conflict.payload, conflict.times_received) == (other.payload, 3)
    assert conflict.first_received_time.seconds > 0
    assert not (await conflicts(ingest, "bolt")).conflicts


async def test_pages_show_each_once_by_source_and_key(ingest: Ingesting) -> None:
    events = [
        incoming(grapfy(key, total=total), source=source)
        for total in (1, 2, 3)
        for source in ("b", "a", "B")
        for key in ("k:2", "k1", "é")
    ]
    results = await send(ingest.stub, "acme", events)
    seen: list[pb.EventConflict] = []
    token, sizes = "", []
    while True:
        page = await conflicts(ingest, page_size=5, page_token=token)
        seen += page.conflicts
        sizes.append(len(page.conflicts))
        if not (token := page.next_page_token):
            break
    assert sizes == [5, 5, 5, 3]
    places = [(one.source, one.dedup_key) for one in seen]
    assert places == sorted(places)
    assert len({(one.source, one.dedup_key, one.payload) for one in seen}) == 18
    event_id = results[0].event_id
    of_one = (await conflicts(ingest, event_id=event_id)).conflicts
    assert {(one.event_id, one.source, one.dedup_key) for one in of_one} == {(event_id, "b", "k:2")}
    assert len(of_one) == 2
    page = await conflicts(ingest, event_id=event_id, page_size=1)
    rest = await conflicts(ingest, event_id=event_id, page_size=1, page_token=page.next_page_token)
    assert [*page.conflicts, *rest.conflicts] == list(of_one)
    assert not rest.next_page_token


async def test_a_page_ends_at_8_mib_of_payloads(ingest: Ingesting) -> None:
    for total in range(13):
        await send(ingest.stub, "acme", [grapfy(1, total=total, x="x" * 900_000)])
    page = await conflicts(ingest, page_size=500)
    assert len(page.conflicts) == 10, "the tenth reaches 8 MiB"
    rest = await conflicts(ingest, page_size=500, page_token=page.next_page_token)
    assert (len(rest.conflicts), rest.next_page_token) == (2, "")


async def test_page_sizes_have_a_default_and_a_cap(ingest: Ingesting) -> None:
    await send(ingest.stub, "acme", [grapfy(1, total=total) for total in range(502)])
    assert len((await conflicts(ingest)).conflicts) == 50
    page = await conflicts(ingest, page_size=10_000)
    assert len(page.conflicts) == 500
    assert page.next_page_token


async def test_requests_that_mean_nothing_are_refused(ingest: Ingesting) -> None:
    results = await send(ingest.stub, "acme", [grapfy(1, total=total) for total in range(3)])
    token = (await conflicts(ingest, page_size=1)).next_page_token
    for call, field in (
        (conflicts(ingest, ""), "company_id"),
        (conflicts(ingest, event_id="x"), "event_id"),
        (conflicts(ingest, page_size=-1), "page_size"),
    ):
        refusal = await refused(call)
        assert (refusal.code, list(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, [field])
    for call in (
        conflicts(ingest, page_token="x"),
        conflicts(ingest, "bolt", page_token=token),
        conflicts(ingest, event_id=results[0].event_id, page_token=token),
    ):
        assert (await refused(call)).reason == "INVALID_PAGE_TOKEN"
