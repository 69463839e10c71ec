"""The audit trail: what is written down, by whom, and that it can be read by the right ones only."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from click.testing import CliRunner
from google.protobuf import json_format

from hookline.cli.app import cli
from hookline.events.v1.events_pb2 import EventFilter
from hookline.export.v1 import audit_service_pb2 as pb
from hookline.export.v1.audit_service_pb2_grpc import AuditServiceStub
from hookline.export.v1.export_service_pb2 import EXPORT_FORMAT_CSV, ExportEventsRequest
from hookline.export.v1.export_service_pb2_grpc import ExportServiceStub
from hookline.ingest.v1 import endpoint_service_pb2 as endpoints
from hookline.ingest.v1 import ingest_service_pb2 as ingesting_pb
from hookline.ingest.v1.endpoint_service_pb2_grpc import EndpointServiceStub
from hookline.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub
from shared import audit
from shared.audit import Action
from shared.db import Connection
from tests.in_process import Exporting, Ingesting, exporting, ingesting
from tests.padoca import mapping
from tests.refusals import refused
from tests.samples import grapfy, send
from tests.tokens import token_of, with_token

if TYPE_CHECKING:
    from hookline.export.v1.audit_service_pb2_grpc import AuditServiceAsyncStub

Seen = tuple[str, str, str, dict[str, Any]]


async def entries(stub: "AuditServiceAsyncStub", company: str = "acme", **request: Any) -> list[Seen]:
    """Who did what to what, the oldest first."""
    answer = await stub.ListAuditEntries(pb.ListAuditEntriesRequest(company_id=company, **request))
    return [
        (entry.actor, entry.action, entry.subject, json_format.MessageToDict(entry.details))
        for entry in reversed(answer.entries)
    ]


async def test_what_is_changed_is_written_down_with_who_changed_it(database_url: str, connection: Connection) -> None:
    token = await token_of(connection, "acme", "admin", name="Ops")
    async with (
        ingesting(database_url, require_tokens=True) as ingest,
        exporting(database_url, require_tokens=True) as export,
    ):
        channel = with_token(ingest.channel, token)
        managing, mappings = EndpointServiceStub(channel), IngestServiceStub(channel)
        made = await managing.CreateEndpoint(endpoints.CreateEndpointRequest(source="loja", platform="grapfy"))
        endpoint_id = made.endpoint.endpoint_id
        await managing.RotateEndpoint(endpoints.RotateEndpointRequest(endpoint_id=endpoint_id))
        await managing.RevokeEndpoint(endpoints.RevokeEndpointRequest(endpoint_id=endpoint_id))
        await managing.PutSigningSecret(endpoints.PutSigningSecretRequest(source="loja", secret="very secret"))
        await managing.DeleteSigningSecret(endpoints.DeleteSigningSecretRequest(source="loja"))
        await mappings.PutPlatformMapping(ingesting_pb.PutPlatformMappingRequest(mapping=mapping()))
        await mappings.DeletePlatformMapping(ingesting_pb.DeletePlatformMappingRequest(name="padoca"))
        # What is only looked at, or is refused, is not.
        await managing.ListEndpoints(endpoints.ListEndpointsRequest())
        await refused(managing.DeleteSigningSecret(endpoints.DeleteSigningSecretRequest(source="loja")))
        await refused(mappings.DeletePlatformMapping(ingesting_pb.DeletePlatformMappingRequest(name="padoca")))
        await refused(managing.RotateEndpoint(endpoints.RotateEndpointRequest(endpoint_id=endpoint_id)))
        seen = await entries(AuditServiceStub(with_token(export.channel, token)), "")
    who = f"token …{token[-4:]} (Ops)"
    assert seen == [
        (who, "ENDPOINT_CREATED", endpoint_id, {"source": "loja"}),
        (who, "ENDPOINT_ROTATED", endpoint_id, {"source": "loja"}),
        (who, "ENDPOINT_REVOKED", endpoint_id, {"source": "loja"}),
        (who, "SIGNING_SECRET_PUT", "loja", {}),
        (who, "SIGNING_SECRET_DELETED", "loja", {}),
        (who, "PLATFORM_MAPPING_PUT", "padoca", {}),
        (who, "PLATFORM_MAPPING_DELETED", "padoca", {}),
    ]
    assert "secret" not in str(await connection.fetch("SELECT details FROM hookline.audit_log"))


async def test_a_change_and_its_entry_are_one(ingest: Ingesting, connection: Connection) -> None:
    await connection.execute("ALTER TABLE hookline.audit_log RENAME TO audit_log_away")
    request = endpoints.CreateEndpointRequest(company_id="acme", platform="grapfy")
    assert (await refused(ingest.endpoints.CreateEndpoint(request))).reason == "INTERNAL"
    assert not await connection.fetchval("SELECT count(*) FROM hookline.endpoints")


async def test_an_export_is_written_down_before_its_first_byte(
    ingest: Ingesting, export: Exporting, connection: Connection
) -> None:
    await send(ingest.stub, "acme", [grapfy()])
    request = ExportEventsRequest(
        company_id="acme", format=EXPORT_FORMAT_CSV, filter=EventFilter(customer="Ana Conceição")
    )
    call = export.export.ExportEvents(request)
    await call.read()
    call.cancel()
    parts = [
        part
        async for part in export.export.ExportEvents(ExportEventsRequest(company_id="acme", format=EXPORT_FORMAT_CSV))
    ]
    resumed = ExportEventsRequest(company_id="acme", format=EXPORT_FORMAT_CSV, resume_token=parts[1].chunk.resume_token)
    async for _ in export.export.ExportEvents(resumed):
        pass
    # One that never began is none.
    await refused(export.export.ExportEvents(ExportEventsRequest(company_id="acme", limit=-1)))
    about = {"format": "CSV", "filtered": False, "resumed": False, "last_sequence": 1}
    assert await entries(AuditServiceStub(export.channel)) == [
        ("anonymous", "EVENTS_EXPORTED", "", about | {"filtered": True}),
        ("anonymous", "EVENTS_EXPORTED", "", about),
        ("anonymous", "EVENTS_EXPORTED", "", about | {"resumed": True}),
    ]
    assert "Ana" not in str(await connection.fetch("SELECT details FROM hookline.audit_log"))


async def test_an_export_that_can_t_be_written_down_does_not_begin(export: Exporting, connection: Connection) -> None:
    await connection.execute("ALTER TABLE hookline.audit_log RENAME TO audit_log_away")
    request = ExportEventsRequest(company_id="acme", format=EXPORT_FORMAT_CSV)
    assert (await refused(export.export.ExportEvents(request))).reason == "INTERNAL"


async def test_pages_go_back_to_the_first_entry(export: Exporting, connection: Connection) -> None:
    for number in range(25):
        action = Action.ENDPOINT_CREATED if number % 5 else Action.SOURCE_CREATED
        await audit.record(connection, "acme", action, str(number))
        await audit.record(connection, "bolt", Action.SOURCE_CREATED, "another's")
    stub = AuditServiceStub(export.channel)

    async def subjects(page_size: int, action: str = "") -> list[int]:
        found, token = [], ""
        while True:
            page = await stub.ListAuditEntries(
                pb.ListAuditEntriesRequest(company_id="acme", action=action, page_size=page_size, page_token=token)
            )
            assert len(page.entries) <= page_size
            found += [int(entry.subject) for entry in page.entries]
            token = page.next_page_token
            if not token:
                return found

    assert await subjects(7) == await subjects(25) == await subjects(1) == list(range(24, -1, -1))
    assert await subjects(2, "SOURCE_CREATED") == [20, 15, 10, 5, 0]
    assert await subjects(2, "NOTHING_LIKE_IT") == []
    request = pb.ListAuditEntriesRequest(company_id="acme", page_size=7)
    request.page_token = (await stub.ListAuditEntries(request)).next_page_token
    for other in (
        pb.ListAuditEntriesRequest(company_id="bolt"),
        pb.ListAuditEntriesRequest(action="SOURCE_CREATED"),
    ):
        changed = pb.ListAuditEntriesRequest(company_id="acme", page_token=request.page_token)
        changed.MergeFrom(other)
        assert (await refused(stub.ListAuditEntries(changed))).reason == "INVALID_PAGE_TOKEN"
    for wrong in ({"page_size": -1}, {"action": "x" * 65}, {"action": "\0"}):
        refusal = await refused(stub.ListAuditEntries(pb.ListAuditEntriesRequest(company_id="acme", **wrong)))
        assert list(refusal.violations) == list(wrong)


async def test_the_command_shows_it(database_url: str, connection: Connection, tmp_path: Path) -> None:
    token = await token_of(connection, "acme", "admin", "export", name="Ops")
    (tmp_path / "token").write_text(f"{token}\n")
    (tmp_path / "empty").write_text("\n")
    async with exporting(database_url, require_tokens=True) as export:
        stub = ExportServiceStub(with_token(export.channel, token))
        async for _ in stub.ExportEvents(ExportEventsRequest(format=EXPORT_FORMAT_CSV)):
            pass
        await audit.record(connection, "acme", Action.SOURCE_CREATED, "loja", platform="grapfy")

        async def run(*arguments: str, **environment: str) -> Any:
            told = {"HOOKLINE_COMPANY": "acme", "HOOKLINE_EXPORT_ADDRESS": export.address, **environment}
            return await asyncio.to_thread(CliRunner().invoke, cli, ["audit", *arguments], env=told)

        shown = await run("--token-file", str(tmp_path / "token"))
        titles, last, first = shown.stdout.splitlines()
        assert titles.split("\t") == ["TIME", "WHO", "ACTION", "SUBJECT", "DETAILS"]
        assert last.split("\t")[1:] == ["anonymous", "SOURCE_CREATED", "loja", 'platform: "grapfy"']
        assert first.split("\t")[1:] == [
            f"token …{token[-4:]} (Ops)",
            "EVENTS_EXPORTED",
            "",
            'filtered: false, format: "CSV", last_sequence: 0, resumed: false',
        ]
        as_json = await run("--json", "--action", "EVENTS_EXPORTED", HOOKLINE_TOKEN=token)
        [line] = as_json.stdout.splitlines()
        assert json.loads(line)["details"] == {
            "filtered": False,
            "format": "CSV",
            "last_sequence": 0,
            "resumed": False,
        }
        assert len((await run("--limit", "1", HOOKLINE_TOKEN_FILE=str(tmp_path / "token"))).stdout.splitlines()) == 2
        # Without a company it is the token's.
        assert (await run(HOOKLINE_COMPANY="", HOOKLINE_TOKEN=token)).stdout == shown.stdout
        assert (await run(HOOKLINE_COMPANY="")).exit_code == 2
        assert (await run(HOOKLINE_COMPANY="", HOOKLINE_TOKEN="another's")).exit_code == 2
        refused_run = await run()
        assert refused_run.exit_code == 5
        assert refused_run.stderr == (
            "Error: this server asks for a token. HOOKLINE_TOKEN or --token-file gives one.\n"
        )
        assert (await run("--token-file", str(tmp_path / "empty"))).exit_code == 2


async def test_nobody_changes_an_entry(connection: Connection) -> None:
    await audit.record(connection, "acme", Action.SOURCE_CREATED, "loja")
    for attempt in ("UPDATE hookline.audit_log SET actor = 'x'", "DELETE FROM hookline.audit_log"):
        with pytest.raises(asyncpg.PostgresError):
            await connection.execute(attempt)
