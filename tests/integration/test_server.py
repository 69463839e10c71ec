"""What every service does beside its calls: health, reflection, metrics, request ids, and saying what is wrong."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import REGISTRY

from hookline.export.v1.event_query_service_pb2 import WatchEventsRequest
from hookline.export.v1.event_query_service_pb2_grpc import EventQueryServiceStub
from hookline.ingest.v1 import ingest_service_pb2 as pb
from services.suite.ports import free_address
from shared import server
from shared.db import Connection
from shared.errors import OperatorError
from tests.blocking import blocked, is_waiting_for_a_lock
from tests.in_process import Exporting, Ingesting, exporting, ingesting
from tests.ledger import check_ledger
from tests.refusals import refused
from tests.samples import grapfy, incoming, outcomes, send
from tests.scraping import scraped
from tests.waiting import eventually

INGEST = "hookline.ingest.v1.IngestService"
ENDPOINTS = "hookline.ingest.v1.EndpointService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def test_health_knows_each_service(ingest: Ingesting, export: Exporting) -> None:
    for channel, names in (
        (ingest.channel, ["", INGEST, ENDPOINTS]),
        (export.channel, ["", *(f"hookline.export.v1.{name}Service" for name in ("Export", "EventQuery", "Audit"))]),
    ):
        health = health_pb2_grpc.HealthStub(channel)
        for name in names:
            assert (await health.Check(health_pb2.HealthCheckRequest(service=name))).status == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health.Check(health_pb2.HealthCheckRequest(service="nope"))
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND


async def reflected(channel: grpc.aio.Channel) -> set[str]:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    async for answer in stub.ServerReflectionInfo(iter([request])):
        return {service.name for service in answer.list_services_response.service}
    raise AssertionError("no answer")


async def test_reflection_lists_the_services_unless_it_is_off(
    ingest: Ingesting, export: Exporting, database_url: str
) -> None:
    assert await reflected(ingest.channel) >= {INGEST, ENDPOINTS, "grpc.health.v1.Health"}
    assert await reflected(export.channel) >= {
        "hookline.export.v1.ExportService",
        "hookline.export.v1.EventQueryService",
        "grpc.health.v1.Health",
    }
    async with ingesting(database_url, reflection=False) as without:
        refusal = await refused(reflected(without.channel))
        assert refusal.reason == "METHOD_NOT_FOUND"


async def test_metrics_count_the_calls(database_url: str) -> None:
    address = free_address()
    async with ingesting(database_url, metrics_address=address) as ingest:
        await send(ingest.stub, "acme", [grapfy()])
        text = await scraped(address)
    assert re.search(rf'hookline_grpc_calls_total{{code="OK",method="{INGEST}/IngestEvents"}} [1-9]', text)
    assert "acme" not in text


async def test_a_refusal_carries_the_request_id(ingest: Ingesting) -> None:
    async def request_id(sent: str | None) -> str:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ingest.stub.IngestEvents(
                pb.IngestEventsRequest(), metadata=[("x-request-id", sent)] if sent is not None else []
            )
        return str(dict(caught.value.trailing_metadata() or ())["x-request-id"])

    assert await request_id("mine-7") == "mine-7"
    assert re.fullmatch(r"[0-9a-f]{32}", await request_id(None))
    assert await request_id("x" * 200) != "x" * 200


async def test_a_stopping_server_finishes_what_is_under_way(database_url: str, connection: Connection) -> None:
    async with ingesting(database_url, drain_seconds=20) as ingest:
        health = health_pb2_grpc.HealthStub(ingest.channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(service=INGEST))
        assert (await watch.read()).status == SERVING
        async with blocked(connection):
            sending = asyncio.ensure_future(send(ingest.stub, "acme", [grapfy(1)]))
            await eventually(lambda: is_waiting_for_a_lock(connection), what="the call is under way")
            ingest.stopping.set()
            assert (await watch.read()).status == NOT_SERVING
        assert outcomes(await sending) == ["ACCEPTED"]
        watch.cancel()
        await ingest.stopped
    await check_ledger(connection, {"acme": 1})


async def test_a_taken_port_is_told(ingest: Ingesting, database_url: str) -> None:
    with pytest.raises(OperatorError, match=r"can't be listened on: the port is taken"):
        async with ingesting(database_url, ingest_address=ingest.address):
            pass


async def test_other_machines_are_kept_out_unless_allowed(database_url: str) -> None:
    for address in ("0.0.0.0:0", "[::]:0", "example.com:0"):
        with pytest.raises(OperatorError, match=r"HOOKLINE_ALLOW_INSECURE=true"):
            async with exporting(database_url, export_address=address):
                pass


async def test_a_database_without_the_schema_is_told(empty_database_url: str) -> None:
    for starting in (ingesting, exporting):
        with pytest.raises(OperatorError, match=r"`python -m services migrate` brings it up to date"):
            async with starting(empty_database_url):
                pass


async def test_an_event_by_itself_is_answered_like_one_in_a_batch(ingest: Ingesting) -> None:
    for payload, expected in ((grapfy(), "ACCEPTED"), (grapfy(), "DUPLICATE"), (b"", "REJECTED PAYLOAD_EMPTY")):
        request = pb.IngestEventRequest(company_id="acme", event=incoming(payload))
        assert outcomes([(await ingest.stub.IngestEvent(request)).result]) == [expected]


@asynccontextmanager
async def relayed(address: str) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A way to the server that goes dead, with its connections open at both ends, once the event is set."""
    dead, tasks, writers = asyncio.Event(), set[asyncio.Task[None]](), set[asyncio.StreamWriter]()

    async def passes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if dead.is_set():
                    # Nothing more comes through, and nobody is told.
                    await asyncio.Event().wait()
                writer.write(data)
        writer.transport.abort()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*address.rsplit(":", 1))
        writers.update((writer, back))
        tasks.update(asyncio.create_task(one) for one in (passes(reader, back), passes(there, writer)))

    relay = await asyncio.start_server(connected, "127.0.0.1")
    try:
        host, port = relay.sockets[0].getsockname()
        yield f"{host}:{port}", dead
    finally:
        relay.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()


async def test_streams_of_callers_who_vanish_are_ended_and_quiet_ones_stay(
    ingest: Ingesting, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "KEEPALIVE_SECONDS", 0.2)
    monkeypatch.setattr(server, "KEEPALIVE_TIMEOUT_SECONDS", 0.5)

    def running() -> float:
        method = "hookline.export.v1.EventQueryService/WatchEvents"
        return REGISTRY.get_sample_value("hookline_grpc_calls_running", {"method": method}) or 0

    assert running() == 0
    request = WatchEventsRequest(company_id="acme", after_sequence=-1)
    async with (
        exporting(database_url) as export,
        relayed(export.address) as (address, dead),
        grpc.aio.insecure_channel(address) as channel,
    ):
        await send(ingest.stub, "acme", [grapfy(1)])
        quiet = aiter(export.query.WatchEvents(request))
        vanishing = aiter(EventQueryServiceStub(channel).WatchEvents(request))
        for one in (quiet, vanishing):
            assert (await anext(one)).last_sequence == 1
        assert running() == 2
        dead.set()
        await eventually(lambda: running() == 1, what="the one that is gone is ended")
        await send(ingest.stub, "acme", [grapfy(2)])
        assert (await anext(quiet)).last_sequence == 2
