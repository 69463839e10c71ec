"""Endpoints: made, listed, given new tokens, ended; each time as the door sees it."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from hookline.ingest.v1 import endpoint_service_pb2 as pb
from shared.db import Connection
from tests.door import post
from tests.in_process import Ingesting, ingesting
from tests.padoca import padoca, put
from tests.refusals import refused
from tests.samples import grapfy

NOBODYS = "00000000-0000-7000-8000-000000000001"


async def create(ingest: Ingesting, company: str = "acme", **fields: Any) -> pb.CreateEndpointResponse:
    fields = fields or {"source": "loja", "platform": "grapfy"}
    return await ingest.endpoints.CreateEndpoint(pb.CreateEndpointRequest(company_id=company, **fields))


async def rotate(
    ingest: Ingesting, endpoint: pb.Endpoint, keep_old: timedelta | None = None, company: str = "acme"
) -> pb.RotateEndpointResponse:
    request = pb.RotateEndpointRequest(company_id=company, endpoint_id=endpoint.endpoint_id)
    if keep_old is not None:
        request.keep_old.FromTimedelta(keep_old)
    return await ingest.endpoints.RotateEndpoint(request)


async def revoke(ingest: Ingesting, endpoint: pb.Endpoint, company: str = "acme") -> pb.Endpoint:
    request = pb.RevokeEndpointRequest(company_id=company, endpoint_id=endpoint.endpoint_id)
    return (await ingest.endpoints.RevokeEndpoint(request)).endpoint


async def listed(ingest: Ingesting, company: str = "acme", **request: Any) -> pb.ListEndpointsResponse:
    return await ingest.endpoints.ListEndpoints(pb.ListEndpointsRequest(company_id=company, **request))


async def knock(ingest: Ingesting, token: str, body: bytes = b"") -> int:
    """The status with which the door answers a delivery."""
    return (await post(ingest.http, f"/v1/hooks/{token}", body or grapfy())).status


async def test_an_endpoint_takes_events_for_its_company_and_source(ingest: Ingesting, connection: Connection) -> None:
    made = await create(ingest)
    endpoint = made.endpoint
    assert re.fullmatch(r"acme\.[A-Za-z0-9_-]{43}", made.token)
    assert made.url == f"{ingest.http}/v1/hooks/{made.token}"
    assert (endpoint.source, endpoint.platform, endpoint.token_hint) == ("loja", "grapfy", made.token[-4:])
    assert endpoint.create_time.seconds == pytest.approx(endpoint.token_time.seconds, abs=2)
    assert not endpoint.HasField("old_token_expire_time")
    assert not endpoint.HasField("revoke_time")
    assert await knock(ingest, made.token) == 200
    row = await connection.fetchrow("SELECT company_id, source, platform FROM hookline.events")
    assert row is not None
    assert tuple(row) == ("acme", "loja", "grapfy")


async def test_the_token_is_shown_once_and_not_kept(ingest: Ingesting, connection: Connection) -> None:
    made = await create(ingest)
    assert made.token not in str(await connection.fetch("SELECT * FROM hookline.endpoints"))
    assert made.token not in str(await listed(ingest))
    again = await create(ingest)
    assert again.endpoint.endpoint_id != made.endpoint.endpoint_id, "a call repeated makes another one"
    assert await knock(ingest, made.token) == 200


async def test_urls_begin_as_the_settings_say(database_url: str) -> None:
    async with ingesting(database_url, public_url="https://hooks.example.com") as ingest:
        made = await create(ingest)
        assert made.url == f"https://hooks.example.com/v1/hooks/{made.token}"
        rotated = await rotate(ingest, made.endpoint)
        assert rotated.url == f"https://hooks.example.com/v1/hooks/{rotated.token}"


async def test_the_source_is_the_platforms_name_unless_given(ingest: Ingesting) -> None:
    assert (await create(ingest, platform="grapfy")).endpoint.source == "grapfy"
    endpoint = (await create(ingest, source="loja")).endpoint
    assert (endpoint.source, endpoint.platform) == ("loja", "")


async def test_the_platform_can_be_the_companys_own(ingest: Ingesting) -> None:
    refusal = await refused(create(ingest, platform="padoca"))
    assert (refusal.code, list(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["platform"])
    await put(ingest)
    made = await create(ingest, platform="padoca")
    assert await knock(ingest, made.token, padoca()) == 200
    assert list((await refused(create(ingest, "bolt", platform="padoca"))).violations) == ["platform"]


async def test_a_rotated_token_works_at_once_and_the_old_one_for_a_while(ingest: Ingesting) -> None:
    made = await create(ingest)
    assert await knock(ingest, made.token) == 200
    rotated = await rotate(ingest, made.endpoint)
    endpoint = rotated.endpoint
    assert endpoint.endpoint_id == made.endpoint.endpoint_id
    assert (endpoint.token_hint, endpoint.create_time) == (rotated.token[-4:], made.endpoint.create_time)
    kept = endpoint.old_token_expire_time.ToDatetime() - endpoint.token_time.ToDatetime()
    assert kept == pytest.approx(timedelta(hours=24), abs=timedelta(seconds=5))
    assert [await knock(ingest, token) for token in (made.token, rotated.token)] == [200, 200]
    third = await rotate(ingest, endpoint)
    # Only one is kept beside the new one.
    assert [await knock(ingest, one) for one in (made.token, rotated.token, third.token)] == [404, 200, 200]


async def test_an_old_token_ends_when_its_time_is_over(ingest: Ingesting) -> None:
    made = await create(ingest)
    at_once = await rotate(ingest, made.endpoint, timedelta(0))
    assert not at_once.endpoint.HasField("old_token_expire_time")
    assert await knock(ingest, made.token) == 404
    soon = await rotate(ingest, made.endpoint, timedelta(seconds=3))
    assert soon.endpoint.HasField("old_token_expire_time")
    # Remembered by the door, and no longer than it is good.
    assert await knock(ingest, at_once.token) == 200
    left = soon.endpoint.old_token_expire_time.ToDatetime(UTC) - datetime.now(UTC)
    await asyncio.sleep(left.total_seconds() + 0.1)
    assert await knock(ingest, at_once.token) == 404
    assert await knock(ingest, soon.token) == 200
    [endpoint] = (await listed(ingest)).endpoints
    assert not endpoint.HasField("old_token_expire_time")


async def test_a_revoked_endpoint_is_gone_for_good(ingest: Ingesting) -> None:
    made = await create(ingest)
    rotated = await rotate(ingest, made.endpoint)
    revoked = await revoke(ingest, made.endpoint)
    assert revoked.HasField("revoke_time")
    assert not revoked.HasField("old_token_expire_time")
    assert [await knock(ingest, token) for token in (made.token, rotated.token)] == [410, 410]
    assert await revoke(ingest, made.endpoint) == revoked, "revoking again changes nothing"
    refusal = await refused(rotate(ingest, made.endpoint))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "ENDPOINT_NOT_FOUND")
    assert list((await listed(ingest)).endpoints) == [revoked]


async def test_an_endpoint_of_another_company_is_not_found(ingest: Ingesting) -> None:
    endpoint = (await create(ingest)).endpoint
    for call in (
        rotate(ingest, endpoint, company="bolt"),
        revoke(ingest, endpoint, company="bolt"),
        revoke(ingest, pb.Endpoint(endpoint_id=NOBODYS)),
    ):
        refusal = await refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "ENDPOINT_NOT_FOUND")
    assert refusal.metadata == {"endpoint_id": NOBODYS}
    assert not (await listed(ingest, "bolt")).endpoints


async def test_pages_list_them_in_the_order_of_making(ingest: Ingesting) -> None:
    made = [(await create(ingest, source=f"s{number}")).endpoint for number in range(5)]
    await create(ingest, "bolt")
    seen: list[pb.Endpoint] = []
    token, sizes = "", []
    while True:
        page = await listed(ingest, page_size=2, page_token=token)
        seen += page.endpoints
        sizes.append(len(page.endpoints))
        if not (token := page.next_page_token):
            break
        assert (await refused(listed(ingest, "bolt", page_token=token))).reason == "INVALID_PAGE_TOKEN"
    assert (seen, sizes) == (made, [2, 2, 1])


async def test_requests_that_mean_nothing_are_refused(ingest: Ingesting) -> None:
    endpoint = (await create(ingest)).endpoint
    for call, field in (
        (create(ingest, ""), "company_id"),
        (create(ingest, source=""), "source"),
        (create(ingest, source="a b", platform="grapfy"), "source"),
        (create(ingest, source="a", platform="Grapfy"), "platform"),
        (create(ingest, source="a", platform="\0"), "platform"),
        (rotate(ingest, pb.Endpoint()), "endpoint_id"),
        (rotate(ingest, pb.Endpoint(endpoint_id="x")), "endpoint_id"),
        (rotate(ingest, endpoint, timedelta(seconds=-1)), "keep_old"),
        (rotate(ingest, endpoint, timedelta(days=30, seconds=1)), "keep_old"),
        (revoke(ingest, pb.Endpoint(endpoint_id="x")), "endpoint_id"),
        (listed(ingest, page_size=-1), "page_size"),
        (listed(ingest, ""), "company_id"),
    ):
        refusal = await refused(call)
        assert (refusal.code, list(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, [field])
    endless = pb.RotateEndpointRequest(
        company_id="acme", endpoint_id=endpoint.endpoint_id, keep_old=Duration(seconds=2**62)
    )
    assert list((await refused(ingest.endpoints.RotateEndpoint(endless))).violations) == ["keep_old"]
