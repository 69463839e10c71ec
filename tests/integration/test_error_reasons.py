"""Every reason of the contract is raised over the wire at least once, with the status that the contract promises."""

import asyncio
from collections.abc import Awaitable, Callable

import grpc
import pytest
from prometheus_client import REGISTRY

from hookline.events.v1.error_reason_pb2 import ErrorReason
from hookline.export.v1.event_query_service_pb2 import GetEventRequest, ListEventsRequest, WatchEventsRequest
from hookline.export.v1.export_service_pb2 import EXPORT_FORMAT_CSV, EXPORT_FORMAT_NDJSON, ExportEventsRequest
from hookline.ingest.v1 import endpoint_service_pb2 as endpoints
from hookline.ingest.v1 import ingest_service_pb2 as pb
from hookline.sync.v1 import alert_service_pb2 as alerts
from hookline.sync.v1 import sync_service_pb2 as sync
from hookline.sync.v1.alert_service_pb2_grpc import AlertServiceStub
from shared.db import Connection
from tests.blocking import blocked, is_waiting_for_a_lock
from tests.in_process import exporting, ingesting
from tests.proxy import proxied
from tests.refusals import Refusal, refused
from tests.samples import grapfy, incoming, send
from tests.sync_in_process import syncing
from tests.tokens import bearer, token_of
from tests.waiting import eventually

STALLED = {"method": "hookline.export.v1.ExportService/ExportEvents", "code": "ABORTED"}
NOBODYS = "00000000-0000-7000-8000-000000000001"


async def invalid_field(url: str, connection: Connection) -> Refusal:
    async with exporting(url) as export:
        return await refused(export.query.ListEvents(ListEventsRequest(company_id="acme", page_size=-1)))


async def malformed_message(url: str, connection: Connection) -> Refusal:
    async with ingesting(url) as ingest:
        return await refused(ingest.raw("unary_unary", "/hookline.ingest.v1.IngestService/MarkEvents")(b"\xff"))


async def invalid_page_token(url: str, connection: Connection) -> Refusal:
    async with exporting(url) as export:
        return await refused(export.query.ListEvents(ListEventsRequest(company_id="acme", page_token="made up")))


async def event_not_found(url: str, connection: Connection) -> Refusal:
    async with exporting(url) as export:
        refusal = await refused(export.query.GetEvent(GetEventRequest(company_id="acme", event_id=NOBODYS)))
    assert refusal.metadata == {"event_id": NOBODYS}
    return refusal


async def ingest_queue_full(url: str, connection: Connection) -> Refusal:
    large = grapfy(x="x" * 900_000)
    async with ingesting(url, max_queued_bytes=1024 * 1024) as ingest:
        async with blocked(connection):
            sending = asyncio.ensure_future(send(ingest.stub, "acme", [large]))
            await eventually(lambda: is_waiting_for_a_lock(connection), what="a batch waits for the company's row")
            refusal = await refused(send(ingest.stub, "acme", [large]))
        await sending
    assert refusal.retry_seconds
    return refusal


async def database_unavailable(url: str, connection: Connection) -> Refusal:
    async with proxied(url) as proxy, exporting(proxy.url) as export:
        proxy.cut()
        return await refused(export.query.GetEvent(GetEventRequest(company_id="acme", event_id=NOBODYS)))


async def server_stopping(url: str, connection: Connection) -> Refusal:
    async with ingesting(url) as ingest:
        stream = ingest.stub.IngestEventStream()
        await stream.write(pb.IngestEventStreamRequest(company_id="acme", events=[incoming(grapfy())]))
        await stream.read()
        ingest.stopping.set()
        return await refused(stream.read())


async def deadline_exceeded(url: str, connection: Connection) -> Refusal:
    async with ingesting(url, max_call_seconds=0.2) as ingest, blocked(connection):
        return await refused(send(ingest.stub, "acme", [grapfy()]))


async def method_not_found(url: str, connection: Connection) -> Refusal:
    async with ingesting(url) as ingest:
        return await refused(ingest.raw("unary_unary", "/hookline.ingest.v1.IngestService/Forget")(b""))


async def internal(url: str, connection: Connection) -> Refusal:
    await connection.execute("ALTER TABLE hookline.companies RENAME COLUMN last_change TO last_change_secret")
    async with exporting(url) as export:
        request = ListEventsRequest(company_id="acme")
        refusal = await refused(export.query.ListEvents(request, metadata=[("x-request-id", "request-7")]))
    assert refusal.metadata == {"request_id": "request-7"}
    assert "request-7" in refusal.message
    assert "secret" not in refusal.message
    assert "last_change" not in refusal.message
    return refusal


def source() -> sync.CreateSourceRequest:
    return sync.CreateSourceRequest(
        company_id="acme",
        source="loja",
        platform="grapfy",
        base_url="https://example.com",
        credential="secret",
        parameters={"webhookSettingId": "1"},
    )


async def source_not_found(url: str, connection: Connection) -> Refusal:
    async with syncing(url) as service:
        return await refused(service.stub.StopSchedule(sync.StopScheduleRequest(company_id="acme", source="loja")))


async def source_exists(url: str, connection: Connection) -> Refusal:
    async with syncing(url) as service:
        await service.stub.CreateSource(source())
        return await refused(service.stub.CreateSource(source()))


async def schedule_not_found(url: str, connection: Connection) -> Refusal:
    async with syncing(url) as service:
        await service.stub.CreateSource(source())
        return await refused(service.stub.PauseSchedule(sync.PauseScheduleRequest(company_id="acme", source="loja")))


async def sync_run_active(url: str, connection: Connection) -> Refusal:
    async with syncing(url) as service:
        await service.stub.CreateSource(source())
        await service.stub.TriggerSync(sync.TriggerSyncRequest(company_id="acme"))
        return await refused(service.stub.DeleteSource(sync.DeleteSourceRequest(company_id="acme", source="loja")))


async def sync_queue_full(url: str, connection: Connection) -> Refusal:
    async with syncing(url) as service:
        await service.stub.CreateSource(source())
        request = sync.TriggerSyncRequest(company_id="acme", when_active=sync.WHEN_ACTIVE_QUEUE)
        for _ in range(101):
            await service.stub.TriggerSync(request)
        refusal = await refused(service.stub.TriggerSync(request))
    assert refusal.metadata == {"source": "loja"}
    return refusal


async def sync_run_not_found(url: str, connection: Connection) -> Refusal:
    async with syncing(url) as service:
        refusal = await refused(service.stub.GetSyncRun(sync.GetSyncRunRequest(company_id="acme", run_id=NOBODYS)))
    assert refusal.metadata == {"run_id": NOBODYS}
    return refusal


async def endpoint_not_found(url: str, connection: Connection) -> Refusal:
    async with ingesting(url) as ingest:
        request = endpoints.RevokeEndpointRequest(company_id="acme", endpoint_id=NOBODYS)
        refusal = await refused(ingest.endpoints.RevokeEndpoint(request))
    assert refusal.metadata == {"endpoint_id": NOBODYS}
    return refusal


async def platform_mapping_not_found(url: str, connection: Connection) -> Refusal:
    async with ingesting(url) as ingest:
        request = pb.DeletePlatformMappingRequest(company_id="acme", name="grapfy")
        refusal = await refused(ingest.stub.DeletePlatformMapping(request))
    assert refusal.metadata == {"platform": "grapfy"}
    return refusal


async def quarantined_event_not_found(url: str, connection: Connection) -> Refusal:
    async with ingesting(url) as ingest:
        request = pb.GetQuarantinedEventRequest(company_id="acme", quarantine_id=NOBODYS)
        refusal = await refused(ingest.stub.GetQuarantinedEvent(request))
    assert refusal.metadata == {"quarantine_id": NOBODYS}
    return refusal


async def signing_secret_not_found(url: str, connection: Connection) -> Refusal:
    async with ingesting(url) as ingest:
        request = endpoints.DeleteSigningSecretRequest(company_id="acme", source="loja")
        refusal = await refused(ingest.endpoints.DeleteSigningSecret(request))
    assert refusal.metadata == {"source": "loja"}
    return refusal


async def export_not_resumable(url: str, connection: Connection) -> Refusal:
    async with ingesting(url) as ingest, exporting(url) as export:
        await send(ingest.stub, "acme", [grapfy()])
        request = ExportEventsRequest(company_id="acme", format=EXPORT_FORMAT_CSV)
        parts = [part async for part in export.export.ExportEvents(request)]
        await connection.execute("UPDATE hookline.companies SET erasure_epoch = 1")
        request.resume_token = parts[1].chunk.resume_token
        refusal = await refused(export.export.ExportEvents(request))
    assert refusal.metadata == {"cause": "erased"}
    return refusal


async def invalid_resume_token(url: str, connection: Connection) -> Refusal:
    async with exporting(url) as export:
        request = ExportEventsRequest(company_id="acme", format=EXPORT_FORMAT_CSV, resume_token="made up")
        return await refused(export.export.ExportEvents(request))


async def alert_channel_not_found(url: str, connection: Connection) -> Refusal:
    async with syncing(url) as running:
        request = alerts.DeleteAlertChannelRequest(company_id="acme", channel="ops")
        refusal = await refused(AlertServiceStub(running.channel).DeleteAlertChannel(request))
    assert refusal.metadata == {"channel": "ops"}
    return refusal


async def alert_channel_exists(url: str, connection: Connection) -> Refusal:
    async with syncing(url) as running:
        stub = AlertServiceStub(running.channel)
        request = alerts.CreateAlertChannelRequest(company_id="acme", channel="ops", webhook_url="https://example.com")
        await stub.CreateAlertChannel(request)
        refusal = await refused(stub.CreateAlertChannel(request))
    assert refusal.metadata == {"channel": "ops"}
    return refusal


async def alert_channels_full(url: str, connection: Connection) -> Refusal:
    async with syncing(url) as running:
        stub = AlertServiceStub(running.channel)
        for number in range(20):
            await stub.CreateAlertChannel(
                alerts.CreateAlertChannelRequest(
                    company_id="acme", channel=f"ops-{number}", webhook_url="https://example.com"
                )
            )
        request = alerts.CreateAlertChannelRequest(company_id="acme", channel="ops", webhook_url="https://example.com")
        return await refused(stub.CreateAlertChannel(request))


async def mail_not_set_up(url: str, connection: Connection) -> Refusal:
    async with syncing(url) as running:
        request = alerts.CreateAlertChannelRequest(company_id="acme", channel="me", email="me@example.com")
        return await refused(AlertServiceStub(running.channel).CreateAlertChannel(request))


async def reader_stalled(url: str, connection: Connection) -> Refusal:
    async with ingesting(url) as ingest, exporting(url, stall_seconds=0.3) as export:
        for start in (0, 12):
            await send(ingest.stub, "acme", [grapfy(n, x="x" * 1_000_000) for n in range(start, start + 12)])
        ended = REGISTRY.get_sample_value("hookline_grpc_calls_total", STALLED) or 0
        messages = aiter(
            export.export.ExportEvents(ExportEventsRequest(company_id="acme", format=EXPORT_FORMAT_NDJSON))
        )
        await anext(messages)
        await eventually(
            lambda: (REGISTRY.get_sample_value("hookline_grpc_calls_total", STALLED) or 0) > ended,
            what="the server has ended the call",
        )
        refusal = await refused(messages)
    assert refusal.metadata == {"seconds": "0.3"}
    return refusal


async def sequence_out_of_range(url: str, connection: Connection) -> Refusal:
    async with exporting(url) as export:
        refusal = await refused(export.query.WatchEvents(WatchEventsRequest(company_id="acme", after_sequence=1)))
    assert refusal.metadata == {"last_sequence": "0"}
    return refusal


async def unauthenticated(url: str, connection: Connection) -> Refusal:
    async with exporting(url, require_tokens=True) as export:
        return await refused(export.query.ListEvents(ListEventsRequest(company_id="acme")))


async def wrong_company(url: str, connection: Connection) -> Refusal:
    token = await token_of(connection, "bolt")
    async with exporting(url, require_tokens=True) as export:
        request = ListEventsRequest(company_id="acme")
        return await refused(export.query.ListEvents(request, metadata=bearer(token)))


async def scope_missing(url: str, connection: Connection) -> Refusal:
    token = await token_of(connection, "acme", "ingest", "admin")
    async with exporting(url, require_tokens=True) as export:
        request = ListEventsRequest(company_id="acme")
        refusal = await refused(export.query.ListEvents(request, metadata=bearer(token)))
    assert refusal.metadata == {"scope": "export"}
    return refusal


async def limit_reached(url: str, connection: Connection) -> Refusal:
    async with ingesting(url, limit_events_per_second=0.1) as ingest:
        await send(ingest.stub, "acme", [grapfy(1)])
        refusal = await refused(send(ingest.stub, "acme", [grapfy(2)]))
    assert refusal.metadata == {"limit": "events"}
    assert refusal.retry_seconds
    return refusal


Sample = Callable[[str, Connection], Awaitable[Refusal]]
SAMPLES: dict[str, tuple[grpc.StatusCode, Sample]] = {
    "INVALID_FIELD": (grpc.StatusCode.INVALID_ARGUMENT, invalid_field),
    "MALFORMED_MESSAGE": (grpc.StatusCode.INVALID_ARGUMENT, malformed_message),
    "INVALID_PAGE_TOKEN": (grpc.StatusCode.INVALID_ARGUMENT, invalid_page_token),
    "EVENT_NOT_FOUND": (grpc.StatusCode.NOT_FOUND, event_not_found),
    "INGEST_QUEUE_FULL": (grpc.StatusCode.RESOURCE_EXHAUSTED, ingest_queue_full),
    "DATABASE_UNAVAILABLE": (grpc.StatusCode.UNAVAILABLE, database_unavailable),
    "SERVER_STOPPING": (grpc.StatusCode.UNAVAILABLE, server_stopping),
    "DEADLINE_EXCEEDED": (grpc.StatusCode.DEADLINE_EXCEEDED, deadline_exceeded),
    "METHOD_NOT_FOUND": (grpc.StatusCode.UNIMPLEMENTED, method_not_found),
    "INTERNAL": (grpc.StatusCode.INTERNAL, internal),
    "SOURCE_NOT_FOUND": (grpc.StatusCode.NOT_FOUND, source_not_found),
    "SOURCE_EXISTS": (grpc.StatusCode.ALREADY_EXISTS, source_exists),
    "SCHEDULE_NOT_FOUND": (grpc.StatusCode.NOT_FOUND, schedule_not_found),
    "SYNC_RUN_ACTIVE": (grpc.StatusCode.FAILED_PRECONDITION, sync_run_active),
    "SYNC_QUEUE_FULL": (grpc.StatusCode.RESOURCE_EXHAUSTED, sync_queue_full),
    "SYNC_RUN_NOT_FOUND": (grpc.StatusCode.NOT_FOUND, sync_run_not_found),
    "ENDPOINT_NOT_FOUND": (grpc.StatusCode.NOT_FOUND, endpoint_not_found),
    "PLATFORM_MAPPING_NOT_FOUND": (grpc.StatusCode.NOT_FOUND, platform_mapping_not_found),
    "QUARANTINED_EVENT_NOT_FOUND": (grpc.StatusCode.NOT_FOUND, quarantined_event_not_found),
    "SIGNING_SECRET_NOT_FOUND": (grpc.StatusCode.NOT_FOUND, signing_secret_not_found),
    "EXPORT_NOT_RESUMABLE": (grpc.StatusCode.FAILED_PRECONDITION, export_not_resumable),
    "INVALID_RESUME_TOKEN": (grpc.StatusCode.INVALID_ARGUMENT, invalid_resume_token),
    "READER_STALLED": (grpc.StatusCode.ABORTED, reader_stalled),
    "ALERT_CHANNEL_NOT_FOUND": (grpc.StatusCode.NOT_FOUND, alert_channel_not_found),
    "ALERT_CHANNEL_EXISTS": (grpc.StatusCode.ALREADY_EXISTS, alert_channel_exists),
    "ALERT_CHANNELS_FULL": (grpc.StatusCode.FAILED_PRECONDITION, alert_channels_full),
    "MAIL_NOT_SET_UP": (grpc.StatusCode.FAILED_PRECONDITION, mail_not_set_up),
    "SEQUENCE_OUT_OF_RANGE": (grpc.StatusCode.OUT_OF_RANGE, sequence_out_of_range),
    "UNAUTHENTICATED": (grpc.StatusCode.UNAUTHENTICATED, unauthenticated),
    "WRONG_COMPANY": (grpc.StatusCode.PERMISSION_DENIED, wrong_company),
    "LIMIT_REACHED": (grpc.StatusCode.RESOURCE_EXHAUSTED, limit_reached),
    "SCOPE_MISSING": (grpc.StatusCode.PERMISSION_DENIED, scope_missing),
}
REASONS = [name.removeprefix("ERROR_REASON_") for name, _ in ErrorReason.items() if name != "ERROR_REASON_UNSPECIFIED"]


@pytest.mark.parametrize("reason", REASONS)
async def test_every_reason_is_raised_over_the_wire(reason: str, database_url: str, connection: Connection) -> None:
    assert reason in SAMPLES, "a new reason needs a sample here"
    code, sample = SAMPLES[reason]
    refusal = await sample(database_url, connection)
    assert (refusal.reason, refusal.code) == (reason, code)
    assert refusal.message
