"""Forms, all the way: in by the door and over gRPC, stored as JSON, and still forms when they are tried again."""

import json

from hookline.ingest.v1 import endpoint_service_pb2 as endpoints
from hookline.ingest.v1 import ingest_service_pb2 as pb
from shared.db import Connection
from tests.door import make_endpoint, post
from tests.form_bodies import FORM, as_form
from tests.in_process import Ingesting
from tests.ledger import check_ledger
from tests.padoca import RECOGNISE, padoca, put
from tests.quarantined import results, retried, whole
from tests.samples import outcomes, send

HEADERS = {"Content-Type": f"{FORM}; charset=utf-8"}
BODY = as_form(json.loads(padoca(7, cliente="Rui Praça", itens=[{"nome": "Bolo"}, {"nome": "Café"}])))
STORED = json.loads(padoca(7, cliente="Rui Praça", itens=[{"nome": "Bolo"}, {"nome": "Café"}]))


async def test_a_form_is_the_same_event_by_the_door_and_over_grpc(ingest: Ingesting, connection: Connection) -> None:
    await put(ingest, RECOGNISE)
    path = await make_endpoint(ingest, platform="", source="loja")
    said = await post(ingest.http, path, BODY, HEADERS)
    assert said.outcome == "200 accepted"
    event = pb.IncomingEvent(source="loja", payload=BODY, headers=HEADERS)
    as_json = pb.IncomingEvent(source="loja", payload=json.dumps(STORED).encode())
    again = await send(ingest.stub, "acme", [event, as_json])
    assert outcomes(again) == ["DUPLICATE", "DUPLICATE"]
    assert {one.event_id for one in again} == {said.content["event_id"]}
    assert not any(one.payload_differs for one in again)
    row = await connection.fetchrow("SELECT type, customer_name, total::text, payload FROM hookline.events")
    assert row is not None
    assert tuple(row)[:-1] == ("order_approved", "Rui Praça", "10.50")
    assert json.loads(row["payload"]) == STORED
    preview = await ingest.stub.PreviewMapping(pb.PreviewMappingRequest(company_id="acme", event=event))
    assert json.loads(preview.event.payload) == STORED
    await check_ledger(connection, {"acme": 1})


async def test_a_form_in_quarantine_is_one_when_it_is_tried_again(ingest: Ingesting, connection: Connection) -> None:
    path = await make_endpoint(ingest, platform="", source="loja")
    said = await post(ingest.http, path, BODY, HEADERS)
    assert said.outcome == "202 quarantined platform_unrecognised"
    lies = await whole(ingest, said.content["quarantine_id"])
    assert (lies.payload, dict(lies.headers)) == (BODY, {"content-type": HEADERS["Content-Type"]})
    await put(ingest, RECOGNISE)
    assert outcomes(results(await retried(ingest, [lies.quarantine_id]))) == ["ACCEPTED"]
    assert json.loads(await connection.fetchval("SELECT payload FROM hookline.events")) == STORED
    assert (await post(ingest.http, path, BODY, HEADERS)).outcome == "200 duplicate"
    await check_ledger(connection, {"acme": 1})


async def test_a_form_that_can_not_be_read_stays_as_it_came(ingest: Ingesting) -> None:
    path = await make_endpoint(ingest, platform="generic")
    body = b"type=a&name=%ff"
    said = await post(ingest.http, path, body, HEADERS)
    assert (said.outcome, said.content["message"]) == ("202 quarantined json_malformed", "the form is not UTF-8")
    quarantine_id = said.content["quarantine_id"]
    assert (await whole(ingest, quarantine_id)).payload == body
    assert outcomes(results(await retried(ingest, [quarantine_id]))) == ["QUARANTINED JSON_MALFORMED"]


async def test_an_endpoint_with_a_secret_takes_no_unsigned_shape(ingest: Ingesting, connection: Connection) -> None:
    await ingest.endpoints.PutSigningSecret(
        endpoints.PutSigningSecretRequest(company_id="acme", source="loja", secret="a made-up secret")
    )
    path = await make_endpoint(ingest, platform="", source="loja")
    for body, headers in ((b'{"type":"a","id":1}', {}), (b"type=a&id=1", HEADERS)):
        said = await post(ingest.http, path, body, headers)
        assert said.outcome == "401 rejected signature_missing"
        assert "name the platform at the endpoint" in said.content["message"]
    named = await make_endpoint(ingest, platform="generic", source="loja")
    assert (await post(ingest.http, named, b"type=a&id=1", HEADERS)).outcome == "200 accepted"
    await check_ledger(connection, {"acme": 1})
