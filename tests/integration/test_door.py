"""The door as platforms use it: what is answered, and that 2xx means stored."""

import asyncio
import json
import re
import uuid

import pytest
import structlog

from hookline.ingest.v1 import endpoint_service_pb2 as endpoints
from services.ingest.mapping import Mapper
from shared.db import Connection
from tests.blocking import blocked, is_waiting_for_a_lock
from tests.door import line, make_endpoint, post, request
from tests.in_process import Ingesting, ingesting
from tests.ledger import check_ledger
from tests.proxy import proxied
from tests.samples import grapfy
from tests.waiting import eventually


async def test_an_event_is_stored_once(ingest: Ingesting, connection: Connection) -> None:
    path = await make_endpoint(ingest, source="loja")
    first = await post(ingest.http, path, grapfy(1))
    assert (first.outcome, first.content["sequence"]) == ("200 accepted", 1)
    again = await post(ingest.http, path, grapfy(1))
    assert again.outcome == "200 duplicate"
    assert again.content["event_id"] == first.content["event_id"]
    row = await connection.fetchrow("SELECT event_id::text, source, platform, payload FROM hookline.events")
    assert tuple(row) == (first.content["event_id"], "loja", "grapfy", row["payload"])
    await check_ledger(connection, {"acme": 1})


async def test_what_is_not_understood_is_kept_and_what_is_nothing_is_not(
    ingest: Ingesting, connection: Connection
) -> None:
    path = await make_endpoint(ingest)
    odd = await post(ingest.http, path, b"a=1&b=2", {"Content-Type": "text/plain"})
    assert odd.outcome == "202 quarantined json_malformed"
    assert uuid.UUID(odd.content["quarantine_id"])
    assert odd.content["message"]
    assert (await post(ingest.http, path, b"")).outcome == "400 rejected payload_empty"
    assert await connection.fetchval("SELECT payload FROM hookline.quarantine") == b"a=1&b=2"


async def test_a_form_is_taken_for_its_members(ingest: Ingesting, connection: Connection) -> None:
    path = await make_endpoint(ingest)
    form = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    said = await post(ingest.http, path, b"eventId=evt_1&eventType=lead_created&extra=a%20b", form)
    assert said.outcome == "200 accepted"
    row = await connection.fetchrow("SELECT type, dedup_key, payload FROM hookline.events")
    assert (row["type"], row["dedup_key"]) == ("lead_created", "evt_1")
    assert json.loads(row["payload"])["extra"] == "a b"


async def test_json_is_json_whatever_it_is_called(ingest: Ingesting) -> None:
    path = await make_endpoint(ingest)
    for number, kind in enumerate(("application/json", "text/plain", "application/x-www-form-urlencoded", "?")):
        assert (await post(ingest.http, path, grapfy(number), {"Content-Type": kind})).outcome == "200 accepted"


async def test_answers_carry_what_they_should_and_no_more(ingest: Ingesting) -> None:
    path = await make_endpoint(ingest)
    for said in (await post(ingest.http, path, grapfy()), await post(ingest.http, "/nowhere", b"{}")):
        assert sorted(said.headers) == ["cache-control", "content-length", "content-type", "date"]
        assert said.headers["content-type"] == "application/json"
        assert said.headers["cache-control"] == "no-store"


async def test_a_path_that_is_nowhere(ingest: Ingesting) -> None:
    path = await make_endpoint(ingest)
    for wrong in ("/", "/v1/hooks", "/v2" + path.removeprefix("/v1"), "//v1" + path, "/V1" + path[3:], "/metrics"):
        said = await post(ingest.http, wrong, grapfy())
        assert said.outcome == "404 rejected not_found"


async def test_a_token_that_is_nobodys(ingest: Ingesting, connection: Connection) -> None:
    path = await make_endpoint(ingest)
    token = path.rpartition("/")[2]
    unknown = token[:-1] + ("A" if token[-1] != "A" else "B")
    elsewhere = "bolt" + token.removeprefix("acme")
    for wrong in (unknown, elsewhere):
        assert (await post(ingest.http, f"/v1/hooks/{wrong}", grapfy())).outcome == "404 rejected endpoint_unknown"
    await check_ledger(connection, {})


async def test_what_can_be_no_token_is_not_looked_for(database_url: str) -> None:
    async with proxied(database_url) as proxy, ingesting(proxy.url) as ingest:
        token = (await make_endpoint(ingest)).rpartition("/")[2]
        proxy.cut()
        for impossible in (
            "",
            token + "/",
            token + "A",
            "/" + token,
            token.replace(".", "%2E"),
            "%61" + token[1:],
            token.partition(".")[2],
            "a" * 65 + token.removeprefix("acme"),
            token + "%00",
            "..",
            "a" * 5000,
        ):
            said = await post(ingest.http, f"/v1/hooks/{impossible}", grapfy(), timeout=1)
            assert said.outcome == "404 rejected endpoint_unknown", impossible


async def test_only_post(ingest: Ingesting) -> None:
    path = await make_endpoint(ingest)
    for method in ("GET", "PUT", "DELETE", "OPTIONS", "PATCH"):
        async with line(ingest.http) as one:
            said = await one.ask(request(path, grapfy(), method=method))
        assert (said.outcome, said.headers["allow"]) == ("405 rejected method_not_allowed", "POST")
    async with line(ingest.http) as one:
        one.writer.write(request(path, method="HEAD"))
        said = await one.hear(has_body=False)
        assert (said.status, said.headers["allow"]) == (405, "POST")
        # Nothing of a body: the next answer begins where the first ends.
        assert (await one.ask(request(path, grapfy()))).outcome == "200 accepted"


async def test_health(ingest: Ingesting) -> None:
    async with line(ingest.http) as one:
        assert (await one.ask(request("/healthz", method="GET"))).outcome == "200 serving"
        one.writer.write(request("/healthz", method="HEAD"))
        assert (await one.hear(has_body=False)).status == 200
        said = await one.ask(request("/healthz"))
        assert (said.status, said.headers["allow"]) == (405, "GET, HEAD")
        # The door closes a tenth of a second later; what comes until then is told.
        ingest.stopping.set()
        said = await one.ask(request("/healthz", method="GET"))
        assert (said.outcome, said.headers["retry-after"]) == ("503 unavailable server_stopping", "1")
        assert await one.ended() == b""


async def test_a_revoked_endpoint_is_gone_and_a_rotated_ones_old_token_works_on(ingest: Ingesting) -> None:
    path = await make_endpoint(ingest)
    [endpoint] = (await ingest.endpoints.ListEndpoints(endpoints.ListEndpointsRequest(company_id="acme"))).endpoints
    rotate = endpoints.RotateEndpointRequest(company_id="acme", endpoint_id=endpoint.endpoint_id)
    rotated = await ingest.endpoints.RotateEndpoint(rotate)
    for number, one in enumerate((path, f"/v1/hooks/{rotated.token}")):
        assert (await post(ingest.http, one, grapfy(number))).outcome == "200 accepted"
    rotate.keep_old.SetInParent()
    last = await ingest.endpoints.RotateEndpoint(rotate)
    assert (await post(ingest.http, path, grapfy(3))).outcome == "404 rejected endpoint_unknown"
    assert (await post(ingest.http, f"/v1/hooks/{rotated.token}", grapfy(4))).outcome == "404 rejected endpoint_unknown"
    revoke = endpoints.RevokeEndpointRequest(company_id="acme", endpoint_id=endpoint.endpoint_id)
    await ingest.endpoints.RevokeEndpoint(revoke)
    assert (await post(ingest.http, f"/v1/hooks/{last.token}", grapfy(5))).outcome == "410 rejected endpoint_revoked"


async def test_a_full_queue(database_url: str, connection: Connection) -> None:
    async with ingesting(database_url, max_queued_bytes=1024 * 1024) as ingest:
        path = await make_endpoint(ingest)
        async with blocked(connection):
            first = asyncio.ensure_future(post(ingest.http, path, grapfy(1, x="x" * 900_000)))
            await eventually(lambda: is_waiting_for_a_lock(connection), what="the first waits for the row")
            refused = await post(ingest.http, path, grapfy(2, x="x" * 900_000))
            assert refused.outcome == "503 unavailable ingest_queue_full"
            assert int(refused.headers["retry-after"]) >= 1
        assert (await first).outcome == "200 accepted"
    await check_ledger(connection, {"acme": 1})


async def test_a_database_that_is_away(database_url: str, connection: Connection) -> None:
    async with proxied(database_url) as proxy, ingesting(proxy.url) as ingest:
        path = await make_endpoint(ingest)
        assert (await post(ingest.http, path, grapfy(1))).outcome == "200 accepted"
        proxy.cut()
        for said in await asyncio.gather(
            post(ingest.http, path, grapfy(2)),
            # A token and a company that the door does not remember.
            post(ingest.http, path.replace("acme", "bolt"), grapfy(3)),
        ):
            assert said.outcome == "503 unavailable database_unavailable"
            assert said.headers["retry-after"] == "1"
            assert re.fullmatch(r"[0-9a-f]{32}", said.headers["x-request-id"])
        await proxy.mend()
        assert (await post(ingest.http, path, grapfy(2))).outcome == "200 accepted"
    await check_ledger(connection, {"acme": 2})


async def test_an_answer_comes_in_time_and_the_event_is_still_stored(database_url: str, connection: Connection) -> None:
    async with ingesting(database_url, max_call_seconds=0.5) as ingest:
        path = await make_endpoint(ingest)
        async with blocked(connection):
            said = await post(ingest.http, path, grapfy(1), {"X-Request-Id": "mine-7"})
            assert said.outcome == "503 unavailable deadline_exceeded"
            assert said.headers["x-request-id"] == "mine-7"
        assert (await post(ingest.http, path, grapfy(1))).outcome == "200 duplicate"
    await check_ledger(connection, {"acme": 1})


async def test_a_defect_is_told_by_its_request_id_alone(ingest: Ingesting, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await make_endpoint(ingest)

    def broken(*_: object) -> None:
        raise RuntimeError("Ana Souza")

    monkeypatch.setattr(Mapper, "map", broken)
    with structlog.testing.capture_logs() as logged:
        said = await post(ingest.http, path, grapfy())
    assert said.outcome == "500 unavailable internal"
    assert said.headers["x-request-id"] in said.content["message"]
    assert b"Ana" not in said.body
    assert [line["event"] for line in logged] == ["hook_failed", "hook"]
    assert logged[0]["error"] == "RuntimeError"
    assert "Ana" not in repr(logged)
    assert path.rpartition(".")[2] not in repr(logged)
