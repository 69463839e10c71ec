"""Signatures of events that come over gRPC: verified when they come along, by every secret that is good, for every
platform that signs."""

import json
import time
import uuid
from collections.abc import Mapping

import pytest

from hookline.ingest.v1 import endpoint_service_pb2
from hookline.ingest.v1 import ingest_service_pb2 as pb
from shared.platforms import platforms
from tests.in_process import Ingesting
from tests.platform_samples import Sample, samples_of
from tests.platform_signing import Delivery, is_in_body, is_timed, secret_for, sign, unsigned
from tests.samples import outcomes, send

# One service for all: each test has a company of its own.
pytestmark = pytest.mark.asyncio(loop_scope="module")
SOURCE = "loja"
SIGNED = {name: samples_of(name)[0] for name, platform in platforms().items() if platform.signature}


class Company:
    """A company, and what it does with the service."""

    def __init__(self, ingest: Ingesting) -> None:
        self.id = uuid.uuid4().hex
        self._ingest = ingest

    async def put_secret(self, secret: str) -> None:
        request = endpoint_service_pb2.PutSigningSecretRequest(company_id=self.id, source=SOURCE, secret=secret)
        await self._ingest.endpoints.PutSigningSecret(request)

    async def ingested(self, *events: pb.IncomingEvent) -> list[str]:
        return outcomes(await send(self._ingest.stub, self.id, events))

    async def quarantined(self) -> int:
        request = pb.ListQuarantinedEventsRequest(company_id=self.id)
        return len((await self._ingest.stub.ListQuarantinedEvents(request)).quarantined_events)


@pytest.fixture
def company(module_ingest: Ingesting) -> Company:
    return Company(module_ingest)


def event(platform: str, delivery: Delivery, body: bytes | None = None) -> pb.IncomingEvent:
    return pb.IncomingEvent(
        platform=platform,
        source=SOURCE,
        payload=delivery.body if body is None else body,
        headers=delivery.headers,
        query=delivery.query,
    )


async def test_there_are_platforms_that_sign() -> None:
    assert {platform.scheme for platform in platforms().values()} == {
        *("", "hmac", "token", "stripe", "standard_webhooks"),
    }


@pytest.mark.parametrize("sample", SIGNED.values(), ids=SIGNED)
async def test_a_signature_is_verified(company: Company, sample: Sample) -> None:
    platform, now = platforms()[sample.platform], time.time()
    secret, other = secret_for(platform, sample), secret_for(platform, sample, "two")
    right = event(platform.name, sign(platform, sample, secret, now))
    # Nothing to verify by, nothing is verified; it was stored before the secret was put.
    wrong_key = event(platform.name, sign(platform, sample, other, now))
    assert await company.ingested(right) == ["ACCEPTED"]
    await company.put_secret(secret)
    assert await company.ingested(right) == ["DUPLICATE"]
    if is_in_body(platform):
        await company.put_secret(other)
        await company.put_secret("yet another")
        assert await company.ingested(right) == ["REJECTED SIGNATURE_WRONG"]
        return
    changed = event(platform.name, sign(platform, sample, secret, now), sample.body.rstrip() + b" ")
    expected = "DUPLICATE" if platform.scheme == "token" else "REJECTED SIGNATURE_WRONG"
    assert await company.ingested(wrong_key, changed) == ["REJECTED SIGNATURE_WRONG", expected]
    # Garbage with a wrong signature is rejected, and not kept for anyone to look at.
    garbage = event(platform.name, sign(platform, sample, other, now), b"\x00garbage")
    assert await company.ingested(garbage) == ["REJECTED SIGNATURE_WRONG"]
    assert await company.quarantined() == 0


@pytest.mark.parametrize("sample", SIGNED.values(), ids=SIGNED)
async def test_a_rotated_secret_is_good_beside_the_new_one(company: Company, sample: Sample) -> None:
    platform, now = platforms()[sample.platform], time.time()
    first, second, third = (secret_for(platform, sample, name) for name in ("one", "two", "three"))
    signed = {secret: event(platform.name, sign(platform, sample, secret, now)) for secret in (first, second, third)}
    await company.put_secret(first)
    await company.put_secret(second)
    assert await company.ingested(signed[first]) == ["ACCEPTED"]
    if is_in_body(platform):
        # A body has its own token; the next one's secret is tried above.
        return
    assert await company.ingested(signed[second], signed[third]) == ["DUPLICATE", "REJECTED SIGNATURE_WRONG"]
    await company.put_secret(third)
    assert await company.ingested(signed[first], signed[second], signed[third]) == [
        *("REJECTED SIGNATURE_WRONG", "DUPLICATE", "DUPLICATE"),
    ]


@pytest.mark.parametrize("sample", SIGNED.values(), ids=SIGNED)
async def test_a_signature_that_is_missing_is_missed_where_headers_came_along(company: Company, sample: Sample) -> None:
    platform = platforms()[sample.platform]
    await company.put_secret(secret_for(platform, sample))
    bare = unsigned(platform, sample)
    if is_in_body(platform):
        assert platform.signature is not None
        content = json.loads(sample.body)
        assert content.pop(platform.signature.at)
        bare = Delivery(json.dumps(content).encode(), bare.headers, bare.query)
    headers: Mapping[str, str] = {**bare.headers, "User-Agent": "shop/1"}
    with_headers = Delivery(bare.body, headers, bare.query)
    assert await company.ingested(event(platform.name, with_headers)) == ["REJECTED SIGNATURE_MISSING"]
    with_query = Delivery(bare.body, {}, "a=1")
    assert await company.ingested(event(platform.name, with_query)) == ["REJECTED SIGNATURE_MISSING"]
    # Without any of that it is not the platform that sends, but one of the company's own.
    [inside] = await company.ingested(event(platform.name, Delivery(bare.body, {}, "")))
    assert "SIGNATURE" not in inside


@pytest.mark.parametrize("sample", [one for one in SIGNED.values() if is_timed(platforms()[one.platform])], ids=str)
async def test_a_signature_that_is_too_old_is_told_from_a_wrong_one(company: Company, sample: Sample) -> None:
    platform, now = platforms()[sample.platform], time.time()
    secret = secret_for(platform, sample)
    await company.put_secret(secret)
    events = [event(platform.name, sign(platform, sample, secret, now + away)) for away in (-3600, 3600, -60)]
    assert await company.ingested(*events) == [
        *("REJECTED SIGNATURE_TOO_OLD", "REJECTED SIGNATURE_TOO_OLD", "ACCEPTED"),
    ]
    other = event(platform.name, sign(platform, sample, secret_for(platform, sample, "two"), now - 3600))
    assert await company.ingested(other) == ["REJECTED SIGNATURE_WRONG"]


async def test_headers_and_queries_have_limits(company: Company) -> None:
    def with_headers(headers: Mapping[str, str], query: str = "") -> pb.IncomingEvent:
        return pb.IncomingEvent(payload=b'{"type":"a"}', headers=headers, query=query)

    assert await company.ingested(
        with_headers({f"x-{number}": "" for number in range(100)}, "q=" + "x" * 4094),
        with_headers({f"x-{number}": "" for number in range(101)}),
        with_headers({"x": "x" * 16_384}),
        with_headers({}, "q=" + "x" * 4095),
    ) == ["ACCEPTED", *["REJECTED HEADERS_TOO_LARGE"] * 3]
