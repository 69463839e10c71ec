"""A company's own mappings: tried on samples, put, in force, replaced, removed."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import grpc
import pytest

from hookline.ingest.v1 import endpoint_service_pb2
from hookline.ingest.v1 import ingest_service_pb2 as pb
from shared.db import Connection
from shared.platforms import platforms
from tests.exports import exact
from tests.in_process import Ingesting
from tests.padoca import HMAC, RECOGNISE, TOKEN_IN_BODY, mapping, padoca, put
from tests.refusals import refused
from tests.samples import grapfy, incoming, outcomes, send

NOBODYS = "00000000-0000-7000-8000-000000000001"


async def put_text(ingest: Ingesting, text: str, company: str = "acme") -> pb.Platform:
    request = pb.PutPlatformMappingRequest(company_id=company, mapping=text)
    return (await ingest.stub.PutPlatformMapping(request)).platform


async def delete(ingest: Ingesting, name: str, company: str = "acme") -> None:
    await ingest.stub.DeletePlatformMapping(pb.DeletePlatformMappingRequest(company_id=company, name=name))


async def listed(ingest: Ingesting, company: str = "acme") -> list[pb.Platform]:
    return list((await ingest.stub.ListPlatforms(pb.ListPlatformsRequest(company_id=company))).platforms)


async def preview(ingest: Ingesting, company: str = "acme", **request: Any) -> pb.PreviewMappingResponse:
    return await ingest.stub.PreviewMapping(pb.PreviewMappingRequest(company_id=company, **request))


async def test_the_built_in_platforms_are_listed_in_the_order_of_trying(ingest: Ingesting) -> None:
    found = await listed(ingest)
    assert [one.name for one in found] == list(platforms())
    assert found[-1].name == "generic"
    for one in found:
        platform = platforms()[one.name]
        assert (one.title, one.signature, one.is_own) == (platform.title, platform.scheme, False)
        assert f'name = "{one.name}"' in one.mapping
        assert not one.HasField("update_time")
        assert one.is_recognised == (platform.recognise is not None or platform.fallback)
    assert {one.name for one in found if one.has_history} >= {"grapfy"}


async def test_a_mapping_is_in_force_at_once(ingest: Ingesting, connection: Connection) -> None:
    event = incoming(padoca(), "padoca")
    assert outcomes(await send(ingest.stub, "acme", [event])) == ["QUARANTINED PLATFORM_UNKNOWN"]
    text = mapping("padoca", RECOGNISE, HMAC)
    platform = await put_text(ingest, text)
    assert (platform.name, platform.title, platform.mapping) == ("padoca", "Padoca", text)
    assert (platform.is_own, platform.is_recognised, platform.signature, platform.has_history) == (
        *(True, True, "hmac", False),
    )
    assert abs(platform.update_time.seconds - await connection.fetchval("SELECT extract(epoch FROM now())::int")) < 60
    assert (await listed(ingest))[0] == platform
    # Named, and recognised before the built-in ones.
    results = await send(ingest.stub, "acme", [event, padoca(2)])
    assert outcomes(results) == ["ACCEPTED"] * 2
    rows = await connection.fetch("SELECT DISTINCT platform, type, platform_type FROM hookline.events")
    assert [tuple(row) for row in rows] == [("padoca", "order_approved", "venda_aprovada")]


async def test_a_mapping_is_its_companys_alone(ingest: Ingesting) -> None:
    await put(ingest, RECOGNISE)
    assert outcomes(await send(ingest.stub, "bolt", [incoming(padoca(), "padoca"), padoca(2)])) == [
        "QUARANTINED PLATFORM_UNKNOWN",
        "QUARANTINED PLATFORM_UNRECOGNISED",
    ]
    assert not any(one.is_own for one in await listed(ingest, "bolt"))
    assert (await refused(delete(ingest, "padoca", "bolt"))).reason == "PLATFORM_MAPPING_NOT_FOUND"


async def test_a_mapping_takes_the_place_of_the_one_of_its_name(ingest: Ingesting, connection: Connection) -> None:
    await put(ingest, total="cliente")
    await put(ingest)
    assert len([one for one in await listed(ingest) if one.is_own]) == 1
    # Of a built-in one, too, until it is removed.
    own = mapping("grapfy", '[recognise]\npresent = ["evento"]\n')
    platform = await put_text(ingest, own)
    assert platform.has_history, "how history is pulled stays the built-in one's"
    found = [one.name for one in await listed(ingest)]
    assert (found[:2], found.count("grapfy")) == (["grapfy", "padoca"], 1)
    events = [incoming(grapfy(), "grapfy"), incoming(padoca(), "grapfy"), incoming(grapfy(2))]
    assert outcomes(await send(ingest.stub, "acme", events)) == ["QUARANTINED TYPE_MISSING", "ACCEPTED", "ACCEPTED"]
    assert await connection.fetchval("SELECT platform FROM hookline.events WHERE sequence = 2") == "generic"
    await delete(ingest, "grapfy")
    assert outcomes(await send(ingest.stub, "acme", [incoming(grapfy(3), "grapfy")])) == ["ACCEPTED"]
    assert [one.name for one in await listed(ingest) if one.is_own] == ["padoca"]


async def test_removing_one_that_is_not_there_is_told(ingest: Ingesting) -> None:
    for name in ("padoca", "grapfy"):
        refusal = await refused(delete(ingest, name))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "PLATFORM_MAPPING_NOT_FOUND")
        assert refusal.metadata == {"platform": name}


MALFORMED = {
    "nothing": "",
    "no TOML": "name = ",
    "a member nobody knows": mapping() + '\n[colour]\nof = "hair"\n',
    "no type": 'name = "padoca"\ntitle = "P"\n[fields]\ntype = []\ndedup_key = []\n',
    "a name that is none": mapping("a b"),
    "a word that is none": mapping().replace("order_approved", "order_aproved"),
    "the fallback": "fallback = true\n" + mapping(),
    "too large": mapping() + "# " + "x" * 65_536,
    "a zone that is none": mapping().replace("Sao_Paulo", "Atlantis"),
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_mapping_is_refused_and_told_why(ingest: Ingesting, text: str) -> None:
    calls: list[Awaitable[Any]] = [put_text(ingest, text)]
    if text:
        calls.append(preview(ingest, event=incoming(padoca()), mapping=text))
    for call in calls:
        refusal = await refused(call)
        assert (refusal.code, list(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["mapping"])
        assert len(refusal.violations["mapping"]) > 10
    assert not any(one.is_own for one in await listed(ingest))


async def test_a_company_has_at_most_a_hundred(ingest: Ingesting) -> None:
    for number in range(98):
        await put_text(ingest, mapping(f"p{number}"))
    # Three for two places, at the same moment.
    at_once = await asyncio.gather(*(put_text(ingest, mapping(f"q{n}")) for n in range(3)), return_exceptions=True)
    assert len([one for one in at_once if isinstance(one, pb.Platform)]) == 2
    refusal = await refused(put_text(ingest, mapping("one_more")))
    assert (refusal.code, list(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["mapping"])
    # One that is there can be changed, and another company has its own hundred.
    await put_text(ingest, mapping("p7", total="cliente"))
    await put_text(ingest, mapping("one_more"), "bolt")
    assert len([one for one in await listed(ingest) if one.is_own]) == 100


async def test_a_preview_shows_the_fields_and_stores_nothing(ingest: Ingesting, connection: Connection) -> None:
    text = mapping("padoca", RECOGNISE, TOKEN_IN_BODY, secrets='secrets = ["token"]')
    answer = await preview(ingest, event=incoming(padoca(token="x"), source="loja"), mapping=text)
    assert answer.result == pb.IngestResult(outcome=pb.OUTCOME_ACCEPTED)
    event = answer.event
    assert (event.company_id, event.source, event.platform, event.type, event.platform_type, event.dedup_key) == (
        *("acme", "loja", "padoca", "order_approved", "venda_aprovada", "1"),
    )
    assert (event.customer_name, event.product_name) == ("Rui Prates", "Pão de queijo")
    assert (event.total.amount, event.total.currency) == ("10.50", "BRL")
    assert event.occurred_time.ToJsonString() == "2026-10-01T12:30:00Z"
    assert exact(event.payload) == exact(padoca())
    assert (event.event_id, event.sequence, event.status, event.HasField("received_time")) == ("", 0, 0, False)
    for table in ("events", "quarantine", "platform_mappings", "event_keys"):
        assert await connection.fetchval(f"SELECT count(*) FROM hookline.{table}") == 0


async def test_a_preview_without_a_mapping_is_by_those_in_force(ingest: Ingesting) -> None:
    answer = await preview(ingest, event=grapfy_event())
    assert (answer.event.platform, answer.event.type) == ("grapfy", "order_approved")
    assert answer.event.platform_type == "order_approved"
    assert not answer.event.HasField("occurred_time")
    assert not answer.event.HasField("total")
    unknown = await preview(ingest, event=incoming(padoca(), "padoca"))
    assert outcomes([unknown.result]) == ["QUARANTINED PLATFORM_UNKNOWN"]
    assert (unknown.HasField("event"), unknown.result.quarantine_id) == (False, "")
    await put(ingest)
    assert (await preview(ingest, event=incoming(padoca(), "padoca"))).event.platform == "padoca"
    assert outcomes([(await preview(ingest, event=pb.IncomingEvent())).result]) == ["REJECTED PAYLOAD_EMPTY"]


def grapfy_event() -> pb.IncomingEvent:
    return incoming(grapfy(createdAt=None, total=None))


async def test_a_mapping_is_tried_as_if_it_had_been_put(ingest: Ingesting) -> None:
    # Not recognised: whoever sends must name it.
    unnamed = await preview(ingest, event=incoming(padoca()), mapping=mapping())
    assert outcomes([unnamed.result]) == ["QUARANTINED PLATFORM_UNRECOGNISED"]
    named = await preview(ingest, event=incoming(padoca(), "padoca"), mapping=mapping(total="cliente"))
    assert outcomes([named.result]) == ["QUARANTINED TOTAL_MALFORMED"]
    # In place of the one in force, and before others by its name.
    await put(ingest, RECOGNISE)
    assert (await preview(ingest, event=incoming(padoca()), mapping=mapping("aaa", RECOGNISE))).event.platform == "aaa"
    assert (await preview(ingest, event=incoming(padoca()), mapping=mapping("zzz", RECOGNISE))).event.platform == (
        "padoca"
    )
    again = await preview(ingest, event=incoming(padoca()), mapping=mapping("padoca", RECOGNISE, total="cliente"))
    assert outcomes([again.result]) == ["QUARANTINED TOTAL_MALFORMED"]


async def test_what_lies_in_quarantine_is_previewed_as_it_came(ingest: Ingesting, connection: Connection) -> None:
    await ingest.endpoints.PutSigningSecret(
        endpoint_service_pb2.PutSigningSecretRequest(company_id="acme", source="loja", secret="segredo")
    )
    [aside] = await send(ingest.stub, "acme", [incoming(padoca(), "padoca", "loja")])
    quarantine_id = aside.quarantine_id
    before = await preview(ingest, quarantine_id=quarantine_id)
    assert outcomes([before.result]) == ["QUARANTINED PLATFORM_UNKNOWN"]
    # Its signature is not asked for again.
    after = await preview(ingest, quarantine_id=quarantine_id, mapping=mapping("padoca", HMAC))
    assert (after.result.outcome, after.event.source, after.event.platform) == (pb.OUTCOME_ACCEPTED, "loja", "padoca")
    assert await connection.fetchval("SELECT count(*) FROM hookline.quarantine") == 1
    for company, one in (("bolt", quarantine_id), ("acme", NOBODYS)):
        refusal = await refused(preview(ingest, company, quarantine_id=one))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "QUARANTINED_EVENT_NOT_FOUND")


async def test_requests_that_mean_nothing_are_refused(ingest: Ingesting) -> None:
    for call, field in (
        (preview(ingest), "subject"),
        (preview(ingest, mapping=mapping()), "subject"),
        (preview(ingest, quarantine_id="x"), "quarantine_id"),
        (preview(ingest, "", event=incoming(padoca())), "company_id"),
        (put_text(ingest, mapping(), ""), "company_id"),
        (delete(ingest, ""), "name"),
        (delete(ingest, "a b"), "name"),
        (listed(ingest, "a b"), "company_id"),
    ):
        refusal = await refused(call)
        assert (refusal.code, list(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, [field])


async def test_a_mapping_that_this_hookline_can_not_read_is_shown_and_not_applied(
    ingest: Ingesting, connection: Connection
) -> None:
    await put(ingest, RECOGNISE)
    await connection.execute(
        "INSERT INTO hookline.platform_mappings (company_id, name, mapping) VALUES ('acme', 'old', 'name = 1')"
    )
    [old, own, *_] = await listed(ingest)
    assert (old.name, old.mapping, old.is_own, old.title) == ("old", "name = 1", True, "")
    assert own.name == "padoca"
    assert outcomes(await send(ingest.stub, "acme", [padoca(), incoming(padoca(), "old")])) == [
        "ACCEPTED",
        "QUARANTINED PLATFORM_UNKNOWN",
    ]
    await delete(ingest, "old")
