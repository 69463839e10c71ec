"""Whatever is sent, and whatever goes wrong with it: neither logs nor errors say anything of the person in it."""

import asyncio
import json
import signal
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import aiohttp
import grpc

from hookline.client import AsyncClient, HooklineError
from hookline.events.v1 import events_pb2
from hookline.export.v1 import event_query_service_pb2 as query_pb
from hookline.export.v1 import export_service_pb2 as export_pb
from hookline.export.v1.event_query_service_pb2_grpc import EventQueryServiceStub
from hookline.export.v1.export_service_pb2_grpc import ExportServiceStub
from hookline.ingest.v1 import endpoint_service_pb2 as endpoints_pb
from hookline.ingest.v1 import ingest_service_pb2 as pb
from hookline.ingest.v1 import privacy_service_pb2 as privacy_pb
from hookline.ingest.v1.privacy_service_pb2_grpc import PrivacyServiceStub
from hookline.sync.v1 import sync_service_pb2 as sync_pb
from shared.db import Connection
from tests.export_process import export_process
from tests.hooks import open_endpoint
from tests.ingest_process import IngestProcess
from tests.personal_data import found_in
from tests.samples import grapfy
from tests.sync_in_process import syncing

NAME, EMAIL, PHONE, DOCUMENT = "Beatriz Esquecida", "bia.forget@example.com", "+55 11 98888-7766", "529.982.247-25"
PIX = "00020126360014br.gov.bcb.pix0114+55119888877665204000053039865802BR5913Beatriz6304ABCD"
PERSON = {"name": NAME, "email": EMAIL, "phoneNumber": PHONE, "document": DOCUMENT, "pix": PIX}
ALL = json.dumps(PERSON, ensure_ascii=False)


def leaks(text: str) -> list[tuple[str, str]]:
    return [*found_in(text), *((one, one) for one in (NAME, EMAIL, PHONE, DOCUMENT, PIX) if one in text)]


class Told:
    """What callers are told."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.codes: set[str] = set()

    async def by(self, call: Any) -> None:
        """Makes a call, or reads a stream, and keeps what it says when it is refused; of results, the messages."""
        try:
            if isinstance(call, Awaitable):
                response = await call
                results = getattr(response, "results", [])
                self.texts += [each.message for each in results if isinstance(each, pb.IngestResult)]
            else:
                async for _ in call:
                    pass
        except grpc.aio.AioRpcError as error:
            self.codes.add(error.code().name)
            self.texts += [error.details() or "", str(error.trailing_metadata())]


def payloads() -> list[pb.IncomingEvent]:
    """What is understood, and what is not for every reason."""
    bodies = [
        grapfy("evt_1", customer=PERSON),
        grapfy("evt_1", customer=PERSON, total=5),
        grapfy(f"lead:{EMAIL}", customer=PERSON),
        grapfy("evt_2", customer=PERSON, total=f"R$ {DOCUMENT}"),
        grapfy("evt_3", customer=PERSON, createdAt=EMAIL),
        grapfy("evt_4", customer=PERSON, eventType=NAME * 200),
        grapfy("evt_5", customer=PERSON, eventType=EMAIL),
        grapfy("evt_6", customer=PERSON, note="\0"),
        ALL.encode(),
        ALL.encode()[:-1],
        ALL.encode("utf-16"),
        json.dumps([PERSON]).encode(),
        json.dumps(EMAIL).encode(),
        b'{"n": 1e99999, "who": ' + ALL.encode() + b"}",
        ALL.encode() * 20_000,
    ]
    events = [pb.IncomingEvent(payload=body) for body in bodies]
    named = [
        pb.IncomingEvent(payload=ALL.encode(), platform=EMAIL),
        pb.IncomingEvent(payload=ALL.encode(), source=NAME),
        pb.IncomingEvent(payload=ALL.encode(), platform="kirvano", source="shop"),
        pb.IncomingEvent(payload=ALL.encode(), headers={"X-Shopify-Topic": EMAIL, "X-Who": NAME}),
        pb.IncomingEvent(payload=ALL.encode(), headers={"X-Who": ALL * 500}),
        pb.IncomingEvent(
            payload=f"email={EMAIL}&name={NAME}&x[a]=1&x=2".encode(),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            query=f"who={EMAIL}",
        ),
    ]
    return [*events, *named]


async def drive(ingest: IngestProcess, export_address: str, told: Told, companies: tuple[str, ...]) -> None:
    """Calls everything that takes something of a person, as it should be and as it should not."""
    privacy = PrivacyServiceStub(ingest.channel)
    async with grpc.aio.insecure_channel(export_address) as channel:
        query, export = EventQueryServiceStub(channel), ExportServiceStub(channel)
        for company in companies:
            for event in payloads():
                request = pb.IngestEventsRequest(company_id=company, events=[event])
                await told.by(ingest.stub.IngestEvents(request, timeout=20))
                await told.by(
                    ingest.stub.PreviewMapping(pb.PreviewMappingRequest(company_id=company, event=event), timeout=20)
                )
            mark = pb.MarkEventsRequest.Mark(event_id=EMAIL, status=events_pb2.PROCESSING_STATUS_FAILED, error=ALL)
            await told.by(ingest.stub.MarkEvents(pb.MarkEventsRequest(company_id=company, marks=[mark]), timeout=20))
            for ids in ([EMAIL], ["0198c1c4-7d9e-7cc0-8000-5c1f0e6d7a10"]):
                discard = pb.DiscardQuarantinedEventsRequest(company_id=company, quarantine_ids=ids, reason=ALL)
                await told.by(ingest.stub.DiscardQuarantinedEvents(discard, timeout=20))
            await told.by(
                ingest.stub.PutPlatformMapping(
                    pb.PutPlatformMappingRequest(company_id=company, mapping=f'name = "{EMAIL}"\n{ALL}'), timeout=20
                )
            )
            await told.by(
                ingest.endpoints.PutSigningSecret(
                    endpoints_pb.PutSigningSecretRequest(company_id=company, source=NAME, secret=EMAIL), timeout=20
                )
            )
            for filters in (
                {"customer": NAME},
                {"text": EMAIL},
                {"payload_contains": json.dumps({"customer": PERSON})},
                {"payload_contains": ALL[:-1]},
                {"types": [EMAIL], "sources": [NAME], "currency": DOCUMENT},
            ):
                where: Any = {"filter": filters, "company_id": company}
                await told.by(query.ListEvents(query_pb.ListEventsRequest(**where), timeout=20))
                await told.by(query.ListEvents(query_pb.ListEventsRequest(**where, page_token=EMAIL), timeout=20))
                await told.by(query.SummarizeEvents(query_pb.SummarizeEventsRequest(**where), timeout=20))
                for file_format in (export_pb.EXPORT_FORMAT_CSV, export_pb.EXPORT_FORMAT_NDJSON):
                    await told.by(export.ExportEvents(export_pb.ExportEventsRequest(**where, format=file_format)))
            await told.by(query.GetEvent(query_pb.GetEventRequest(company_id=company, event_id=EMAIL), timeout=20))
            for who in ({"email": EMAIL}, {"document": DOCUMENT}, {"email": NAME}):
                await told.by(
                    privacy.EraseSubject(privacy_pb.EraseSubjectRequest(company_id=company, dry_run=True, **who))
                )


async def knock(ingest: IngestProcess, path: str, told: Told) -> None:
    """Sends it all to the door, too, by every wrong way."""
    async with aiohttp.ClientSession(f"http://{ingest.http_address}") as session:
        headers = {"X-Signature": EMAIL.encode().hex(), "X-Who": NAME, "X-Request-Id": "r-1"}
        for where in (path, f"{path}?email={EMAIL}&name={NAME}", f"/v1/hooks/{EMAIL}", f"/{NAME}"):
            for event in payloads():
                if len(event.payload) > 2**20:
                    continue
                async with session.post(where, data=event.payload, headers=headers) as response:
                    told.texts.append(await response.text())
        for method in ("GET", "PUT"):
            async with session.request(method, f"{path}?who={EMAIL}", headers={"X-Who": NAME}) as response:
                told.texts.append(await response.text())


async def test_neither_logs_nor_errors_tell_of_anybody(
    database_url: str, connection: Connection, tmp_path: Path
) -> None:
    told = Told()
    async with (
        IngestProcess(database_url, tmp_path, log_level="debug") as ingest,
        export_process(database_url, tmp_path, log_level="debug") as export,
    ):
        path = await open_endpoint(ingest.endpoints, "acme", "shop")
        await drive(ingest, export.address, told, ("acme", EMAIL))
        await knock(ingest, path, told)
        # What is only defects and losses: a table that is not as it should be, and no database at all.
        await connection.execute("ALTER TABLE hookline.events RENAME COLUMN payload TO something")
        await connection.execute("ALTER TABLE hookline.quarantine ADD CHECK (octet_length(payload) < 0) NOT VALID")
        await drive(ingest, export.address, told, ("acme",))
        await knock(ingest, path, told)
        await connection.execute("ALTER TABLE hookline.event_keys ADD CHECK (dedup_key NOT LIKE '%@%') NOT VALID")
        await drive(ingest, export.address, told, ("acme",))
        assert {"INTERNAL", "INVALID_ARGUMENT", "NOT_FOUND"} <= told.codes
        await export.end(signal.SIGTERM)
    logged = "".join((tmp_path / name).read_text() for name in ("ingest.log", "export.log"))
    assert "call_failed" in logged
    assert "hook_failed" in logged
    assert leaks(logged) == []
    assert len(told.texts) > 100
    assert leaks("\n".join(told.texts)) == []


async def test_the_sync_tells_of_nobody_either(database_url: str, connection: Connection, capfd: Any) -> None:
    told = Told()
    async with syncing(database_url) as sync:
        for platform, base_url in ((EMAIL, f"http://{EMAIL}/"), ("grapfy", f"https://{EMAIL}/"), ("grapfy", NAME)):
            create = sync_pb.CreateSourceRequest(
                company_id="acme",
                source="shop",
                platform=platform,
                base_url=base_url,
                credential=ALL,
                parameters={"webhookSettingId": EMAIL, "who": NAME},
            )
            await told.by(sync.stub.CreateSource(create, timeout=20))
        await told.by(sync.stub.GetSource(sync_pb.GetSourceRequest(company_id="acme", source=NAME), timeout=20))
        await told.by(
            sync.stub.TriggerSync(
                sync_pb.TriggerSyncRequest(company_id="acme", source=EMAIL, request_id=EMAIL), timeout=20
            )
        )
        await told.by(sync.stub.GetSyncRun(sync_pb.GetSyncRunRequest(company_id="acme", run_id=EMAIL), timeout=20))
        await connection.execute("ALTER TABLE hookline.sources RENAME COLUMN base_url TO something")
        await told.by(sync.stub.ListSources(sync_pb.ListSourcesRequest(company_id="acme"), timeout=20))
    assert "INVALID_ARGUMENT" in told.codes
    assert leaks("\n".join(told.texts)) == []
    assert leaks("".join(capfd.readouterr())) == []


async def test_the_client_tells_only_what_it_was_told(database_url: str, tmp_path: Path) -> None:
    async with (
        IngestProcess(database_url, tmp_path) as ingest,
        AsyncClient(ingest=ingest.address, patience=1) as client,
    ):
        errors = []
        for call in (client.ingest(EMAIL, ALL.encode()), client.ingest("acme", ALL.encode() * 200_000)):
            try:
                await call
            except HooklineError as error:
                errors.append(str(error))
        await asyncio.sleep(0)
    assert leaks("\n".join(errors)) == []
