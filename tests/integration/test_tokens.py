"""Tokens over the wire: whose a call is, what becomes of it when the token ends, and who hears of that."""

import asyncio
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from hookline.client import AsyncClient, Client, PermissionDenied
from hookline.export.v1 import event_query_service_pb2 as query
from hookline.export.v1.event_query_service_pb2_grpc import EventQueryServiceStub
from hookline.export.v1.export_service_pb2 import EXPORT_FORMAT_NDJSON, ExportEventsRequest
from hookline.ingest.v1 import ingest_service_pb2 as pb
from hookline.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub
from shared import gate, token_store
from shared.auth import RULES
from shared.db import Connection
from shared.interceptors import CallInterceptor
from shared.internal import InternalTokens
from tests.door import post
from tests.export_process import export_process
from tests.in_process import SECRET_KEY, exporting, ingesting
from tests.proxy import proxied
from tests.refusals import refused
from tests.samples import grapfy, incoming, outcomes, send
from tests.tokens import bearer, revoke, token_of, with_token
from tests.waiting import eventually

SOON = 4.0
"""Below the seconds after which everything is read anew."""


async def sequences(stub: Any, company: str = "acme", **options: Any) -> list[int]:
    answer = await stub.ListEvents(query.ListEventsRequest(company_id=company), **options)
    return [event.sequence for event in answer.events]


async def rest(stream: Any) -> None:
    """Reads a stream on to its end."""
    while await stream.read() is not grpc.aio.EOF:
        pass


async def test_the_company_comes_from_the_token(database_url: str, connection: Connection) -> None:
    token = await token_of(connection, "acme")
    async with (
        ingesting(database_url, require_tokens=True) as ingest,
        exporting(database_url, require_tokens=True) as export,
    ):
        stub = IngestServiceStub(with_token(ingest.channel, token))
        assert outcomes(await send(stub, "acme", [grapfy(1)])) == ["ACCEPTED"]
        assert outcomes(await send(stub, "", [grapfy(2)])) == ["ACCEPTED"]
        stream: Any = stub.IngestEventStream()
        for number, company in enumerate(("", "acme", ""), 3):
            await stream.write(pb.IngestEventStreamRequest(company_id=company, events=[incoming(grapfy(number))]))
            assert outcomes((await stream.read()).results) == ["ACCEPTED"]
        # Each message of a stream is looked at.
        await stream.write(pb.IngestEventStreamRequest(company_id="bolt", events=[incoming(grapfy(9))]))
        assert (await refused(rest(stream))).reason == "WRONG_COMPANY"
        reading = EventQueryServiceStub(with_token(export.channel, token))
        assert await sequences(reading, "") == await sequences(reading) == [5, 4, 3, 2, 1]
        assert await connection.fetchval("SELECT array_agg(company_id) FROM hookline.companies") == ["acme"]


async def never(*_: object) -> None:
    """In the place of what hears of revocations."""
    await asyncio.Event().wait()


async def test_another_company_is_refused_before_anything_is_looked_up(
    database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One that loses its connection forgets everything.
    monkeypatch.setattr(gate, "keep_listening", never)
    token = await token_of(connection, "acme")
    async with proxied(database_url) as proxy, exporting(proxy.url, require_tokens=True) as export:
        stub = EventQueryServiceStub(with_token(export.channel, token))
        assert await sequences(stub) == []
        proxy.cut()
        assert (await refused(sequences(stub, "bolt"))).reason == "WRONG_COMPANY"
        assert (await refused(sequences(stub))).reason == "DATABASE_UNAVAILABLE"
        # Of a token that is not remembered nobody can say whose it is.
        other = await token_of(connection, "acme")
        assert (await refused(sequences(export.query, metadata=bearer(other)))).reason == "DATABASE_UNAVAILABLE"
        await proxy.mend()
        await ends(export.query, other, "OK")


async def code(stub: Any, token: str) -> str:
    """How a call with the token ends."""
    try:
        await sequences(stub, metadata=bearer(token))
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


async def ends(stub: Any, token: str, how: str) -> None:
    """Waits until a call with the token ends so."""

    async def does() -> bool:
        return await code(stub, token) == how

    await eventually(does, what=f"a call ends with {how}")


async def test_a_revocation_reaches_other_processes_and_ends_their_streams(
    database_url: str, connection: Connection, tmp_path: Path
) -> None:
    token, stays = await token_of(connection, "acme"), await token_of(connection, "acme", name="stays")
    async with (
        export_process(database_url, tmp_path, require_tokens=True) as process,
        exporting(database_url, require_tokens=True) as export,
        ingesting(database_url, require_tokens=True) as ingest,
        grpc.aio.insecure_channel(process.address) as channel,
    ):
        await send(IngestServiceStub(with_token(ingest.channel, token)), "acme", [grapfy()])
        watching: list[Any] = []
        for place in (channel, export.channel):
            for each in (token, stays):
                stub = EventQueryServiceStub(with_token(place, each))
                watch: Any = stub.WatchEvents(query.WatchEventsRequest(company_id="acme"))
                assert (await watch.read()).last_sequence == 0
                assert (await watch.read()).last_sequence == 1
                watching.append(watch)
        writing: Any = IngestServiceStub(with_token(ingest.channel, token)).IngestEventStream()
        await writing.write(pb.IngestEventStreamRequest(events=[incoming(grapfy(2))]))
        assert outcomes((await writing.read()).results) == ["ACCEPTED"]
        ended, goes_on, ended_too, goes_on_too = watching
        await revoke(connection, "acme", token)
        async with asyncio.timeout(SOON):
            for stream in (ended, ended_too, writing):
                refusal = await refused(rest(stream))
                assert (refusal.reason, refusal.message) == (
                    "UNAUTHENTICATED",
                    "the token has expired or was revoked",
                )
            for place in (channel, export.channel):
                await ends(EventQueryServiceStub(place), token, "UNAUTHENTICATED")
        await send(IngestServiceStub(with_token(ingest.channel, stays)), "acme", [grapfy(3)])
        for stream in (goes_on, goes_on_too):
            while (await stream.read()).last_sequence < 3:
                pass
            stream.cancel()


async def test_a_revocation_that_is_not_told_is_noticed_within_seconds(
    database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "keep_listening", never)
    monkeypatch.setattr(gate, "FRESH_SECONDS", 0.5)
    token = await token_of(connection, "acme")
    async with exporting(database_url, require_tokens=True) as export:
        stub = EventQueryServiceStub(with_token(export.channel, token))
        watch: Any = stub.WatchEvents(query.WatchEventsRequest(company_id="acme"))
        await watch.read()
        await revoke(connection, "acme", token)
        assert (await refused(rest(watch))).reason == "UNAUTHENTICATED"
        await ends(export.query, token, "UNAUTHENTICATED")


async def test_a_token_ends_by_itself_and_its_streams_with_it(database_url: str, connection: Connection) -> None:
    async with exporting(database_url, require_tokens=True) as export, ingesting(database_url) as ingest:
        payload = grapfy(x="x" * 900_000)
        for start in (0, 12, 24):
            await send(ingest.stub, "acme", [payload.replace(b"evt_1", b"%d" % (start + n)) for n in range(12)])
        token = await token_of(connection, "acme", lasts=timedelta(seconds=2))
        stub = EventQueryServiceStub(with_token(export.channel, token))
        watch: Any = stub.WatchEvents(query.WatchEventsRequest(company_id="acme", after_sequence=-1))
        await watch.read()
        # One that waits for its reader is ended as well.
        stalled = export.export.ExportEvents(
            ExportEventsRequest(company_id="acme", format=EXPORT_FORMAT_NDJSON), metadata=bearer(token)
        )
        await stalled.read()
        async with asyncio.timeout(SOON + 2):
            assert (await refused(rest(watch))).reason == "UNAUTHENTICATED"
            await ends(export.query, token, "UNAUTHENTICATED")
            assert (await refused(rest(stalled))).reason == "UNAUTHENTICATED"


async def test_the_last_use_is_written_down_at_most_once_a_minute(
    database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, unused = await token_of(connection, "acme"), await token_of(connection, "acme", name="unused")
    monkeypatch.setattr(gate, "USED_SECONDS", 0.1)
    async with exporting(database_url, require_tokens=True) as export:
        await sequences(export.query, metadata=bearer(used))
        first = await eventually(lambda: last_used(connection, "test"), what="the use is written down")
    monkeypatch.setattr(gate, "USED_SECONDS", 60.0)
    async with exporting(database_url, require_tokens=True) as export:
        await sequences(export.query, metadata=bearer(used))
    # Written on leaving; but the last time was not a minute ago.
    assert await last_used(connection, "test") == first
    await connection.execute("UPDATE hookline.api_tokens SET last_used_time = last_used_time - interval '1 hour'")
    async with exporting(database_url, require_tokens=True) as export:
        await sequences(export.query, metadata=bearer(used))
    assert await last_used(connection, "test") > first - timedelta(minutes=1)
    assert await last_used(connection, "unused") is None
    assert unused


async def last_used(connection: Connection, name: str) -> Any:
    [token] = [one for one in await token_store.list_tokens(connection, "acme") if one.name == name]
    return token.last_used_time


async def test_a_service_may_name_any_company_but_must_name_one(database_url: str) -> None:
    token = InternalTokens(SECRET_KEY).source("sync-worker")
    async with ingesting(database_url, require_tokens=True) as ingest:
        async with AsyncClient(ingest.address, token=token) as client:
            for company in ("acme", "bolt"):
                summary = await client.ingest_many(company, [grapfy(1), grapfy(2)])
                assert summary.accepted == 2
        refusal = await refused(send(IngestServiceStub(with_token(ingest.channel, token())), "", [grapfy()]))
        assert refusal.violations == {"company_id": "is required"}


async def test_without_tokens_nobody_is_asked(database_url: str) -> None:
    async with ingesting(database_url) as ingest, exporting(database_url) as export:
        for company, token in (("acme", "nonsense"), ("bolt", "hk_acme." + "x" * 43)):
            async with AsyncClient(ingest.address, export.address, token=token) as client:
                assert (await client.ingest(company, grapfy())).sequence == 1
                assert [event.sequence async for event in client.list(company)] == [1]


async def test_both_clients_carry_their_token(
    database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await token_of(connection, "acme")
    async with (
        ingesting(database_url, require_tokens=True) as ingest,
        exporting(database_url, require_tokens=True) as export,
    ):
        places = ingest.address, export.address

        def blocking(given: str | None) -> list[int]:
            with Client(*places, token=given, patience=0) as client:
                client.ingest_many("acme", [grapfy(n) for n in range(5)])
                assert b"".join(client.export("acme", "csv")).count(b"\n") == 6
                return [event.sequence for event in client.list("acme")]

        assert await asyncio.to_thread(blocking, token) == [5, 4, 3, 2, 1]
        with pytest.raises(PermissionDenied) as caught:
            await asyncio.to_thread(blocking, None)
        assert caught.value.reason == "UNAUTHENTICATED"
        monkeypatch.setenv("HOOKLINE_TOKEN", token)
        assert await asyncio.to_thread(blocking, None) == [5, 4, 3, 2, 1]
        async with AsyncClient(*places) as client:
            assert [entry.action async for entry in client.list_audit_entries("acme")] == ["EVENTS_EXPORTED"] * 2


async def test_the_door_asks_for_no_other_token_than_its_own(database_url: str, connection: Connection) -> None:
    token = await token_of(connection, "acme", "admin")
    async with ingesting(database_url, require_tokens=True) as ingest:
        async with AsyncClient(ingest.address, token=token) as client:
            made = await client.create_endpoint("acme", platform="grapfy")
        answer = await post(ingest.http, f"/v1/hooks/{made.token}", grapfy())
        assert answer.status == 200


async def test_tokens_are_not_logged(database_url: str, connection: Connection) -> None:
    token = await token_of(connection, "acme", "ingest", name="for the shop")
    logging.getLogger().setLevel(logging.DEBUG)
    with capture_logs() as lines:
        async with exporting(database_url, require_tokens=True, log_level="debug") as export:
            await refused(sequences(export.query, metadata=bearer(token)))
            await refused(sequences(export.query, metadata=bearer(token[:-1])))
    assert any(line["event"] == "call" for line in lines)
    assert token[8:20] not in str(lines)


def test_a_method_without_a_rule_is_not_served() -> None:
    calls = CallInterceptor(1, 1)
    handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(lambda request, context: None)
    with capture_logs() as lines:
        calls.add_registered_method_handlers("hookline.New", {"Method": handler})
    assert lines == [{"event": "method_without_rule", "log_level": "error", "method": "hookline.New/Method"}]
    assert "hookline.New/Method" not in RULES
    assert calls._methods == {}
