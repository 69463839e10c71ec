"""What was set aside, tried again where the source has a signing secret: a retry lets in nothing that the door would
not."""

import hmac

import pytest

from hookline.ingest.v1 import endpoint_service_pb2
from hookline.ingest.v1 import ingest_service_pb2 as pb
from tests.door import make_endpoint, post
from tests.in_process import Ingesting
from tests.padoca import HMAC, RECOGNISE, TOKEN_IN_BODY, mapping, padoca, put
from tests.quarantined import results, retried, whole
from tests.samples import incoming, outcomes, send

ALL = pb.QuarantineFilter()


async def put_secret(ingest: Ingesting, secret: str = "segredo") -> None:
    request = endpoint_service_pb2.PutSigningSecretRequest(company_id="acme", source="loja", secret=secret)
    await ingest.endpoints.PutSigningSecret(request)


def from_outside(body: bytes, platform: str = "", **headers: str) -> pb.IncomingEvent:
    """As a caller passes on what came to it by HTTP."""
    return pb.IncomingEvent(platform=platform, source="loja", payload=body, headers={"X-Padoca-Product": "", **headers})


@pytest.mark.parametrize("platform", ["", "padoca"])
async def test_what_was_not_verified_does_not_get_in_past_a_secret(ingest: Ingesting, platform: str) -> None:
    await put_secret(ingest)
    forged = from_outside(padoca(), platform)
    [aside] = await send(ingest.stub, "acme", [forged])
    await put(ingest, RECOGNISE, HMAC)
    assert outcomes(await send(ingest.stub, "acme", [forged])) == ["REJECTED SIGNATURE_MISSING"]
    for _ in range(2):
        [result] = results(await retried(ingest, filter=ALL))
        assert outcomes([result]) == ["REJECTED SIGNATURE_MISSING"]
        assert result.message == "the source has a signing secret, and the event was not verified when it came"
    assert (await whole(ingest, aside.quarantine_id)).payload == padoca()
    # Without a secret nothing asks for a signature, then or now.
    await ingest.endpoints.DeleteSigningSecret(
        endpoint_service_pb2.DeleteSigningSecretRequest(company_id="acme", source="loja")
    )
    assert outcomes(results(await retried(ingest, filter=ALL))) == ["ACCEPTED"]


async def test_what_came_to_an_endpoint_with_a_secret_does_not_get_in_unverified(ingest: Ingesting) -> None:
    await put_secret(ingest)
    path = await make_endpoint(ingest, platform="", source="loja")
    assert (await post(ingest.http, path, padoca())).outcome == "202 quarantined platform_unrecognised"
    # By a mapping that signs nothing, neither: the door would not let it in.
    for tables in ((RECOGNISE,), (RECOGNISE, HMAC)):
        await put(ingest, *tables)
        assert (await post(ingest.http, path, padoca(2))).outcome == "401 rejected signature_missing"
        assert outcomes(results(await retried(ingest, filter=ALL))) == ["REJECTED SIGNATURE_MISSING"]


async def test_a_signature_that_was_right_is_not_asked_for_again(ingest: Ingesting) -> None:
    await put_secret(ingest)
    await put(ingest, HMAC, total="cliente")
    proof = hmac.new(b"segredo", padoca(), "sha256").hexdigest()
    [aside] = await send(ingest.stub, "acme", [from_outside(padoca(), "padoca", **{"X-Padoca-Signature": proof})])
    assert outcomes([aside]) == ["QUARANTINED TOTAL_MALFORMED"]
    # Nor by another mapping or secret.
    await put_secret(ingest, "another")
    await put(ingest, TOKEN_IN_BODY, secrets='secrets = ["token"]')
    assert outcomes(results(await retried(ingest, [aside.quarantine_id]))) == ["ACCEPTED"]


async def test_what_needed_no_signature_when_it_came_needs_none_later(ingest: Ingesting) -> None:
    [aside] = await send(ingest.stub, "acme", [from_outside(padoca(1))])
    await put_secret(ingest)
    # From within: nothing came along with it.
    [inside] = await send(ingest.stub, "acme", [incoming(padoca(2), "", "loja")])
    await put(ingest, RECOGNISE, HMAC)
    tried = results(await retried(ingest, [aside.quarantine_id, inside.quarantine_id]))
    assert outcomes(tried) == ["ACCEPTED"] * 2


async def test_a_token_that_is_still_in_the_body_is_verified_by_a_retry(ingest: Ingesting) -> None:
    await put_secret(ingest)
    bodies = [padoca(1, token="segredo"), padoca(2, token="guessed"), padoca(3)]
    asides = await send(ingest.stub, "acme", [from_outside(body) for body in bodies])
    ids = [one.quarantine_id for one in asides]
    # Verified and taken out, though the event is not understood yet.
    await put(ingest, RECOGNISE, TOKEN_IN_BODY, secrets='secrets = ["token"]', total="cliente")
    refusals = ["REJECTED SIGNATURE_WRONG", "REJECTED SIGNATURE_MISSING"]
    assert outcomes(results(await retried(ingest, ids))) == ["QUARANTINED TOTAL_MALFORMED", *refusals]
    assert b"segredo" not in (await whole(ingest, ids[0])).payload
    await put(ingest, RECOGNISE, TOKEN_IN_BODY, secrets='secrets = ["token"]')
    assert outcomes(results(await retried(ingest, ids))) == ["ACCEPTED", *refusals]


async def test_who_sends_the_same_first_does_not_keep_others_out(ingest: Ingesting) -> None:
    await put_secret(ingest)
    [forged] = await send(ingest.stub, "acme", [from_outside(padoca(), "nope", **{"X-Forged": "x"})])
    assert "x-forged" in (await whole(ingest, forged.quarantine_id)).headers
    # The same from within: what came along with the forged one does not count any more.
    [again] = await send(ingest.stub, "acme", [incoming(padoca(), "nope", "loja")])
    assert again.quarantine_id == forged.quarantine_id
    shown = await whole(ingest, again.quarantine_id)
    assert (dict(shown.headers), shown.times_received) == ({}, 2)
    # Sent yet again by the first, it stays so.
    await send(ingest.stub, "acme", [from_outside(padoca(), "nope", **{"X-Forged": "x"})])
    assert not (await whole(ingest, again.quarantine_id)).headers
    await ingest.stub.PutPlatformMapping(pb.PutPlatformMappingRequest(company_id="acme", mapping=mapping("nope", HMAC)))
    assert outcomes(results(await retried(ingest, filter=ALL))) == ["ACCEPTED"]
