"""An export broken anywhere goes on with the very next byte, or is refused with the reason."""

import hashlib
import random
from collections.abc import Sequence
from typing import Any

import pytest

from hookline.events.v1 import events_pb2
from hookline.export.v1 import export_service_pb2 as pb
from hookline.ingest.v1.ingest_service_pb2 import MarkEventsRequest
from services.export import formats, page_store
from services.export.page_store import Page, PageQuery
from shared.db import Connection
from tests.exports import CSV, JSON, NDJSON, exported, read
from tests.in_process import Exporting, Ingesting, exporting
from tests.refusals import refused
from tests.samples import grapfy, send

FILTER = events_pb2.EventFilter(
    types=["pix_created", "order_approved"], statuses=[events_pb2.PROCESSING_STATUS_PENDING]
)
REQUESTS = {
    "csv": pb.ExportEventsRequest(company_id="acme", format=CSV),
    "csv for Excel": pb.ExportEventsRequest(
        company_id="acme",
        format=CSV,
        csv_dialect=pb.CSV_DIALECT_EXCEL_PTBR,
        time_zone="America/Sao_Paulo",
        columns=["payload"],
    ),
    "json, newest first": pb.ExportEventsRequest(
        company_id="acme", format=JSON, order=events_pb2.EVENT_ORDER_NEWEST_FIRST
    ),
    "json, limited": pb.ExportEventsRequest(company_id="acme", format=JSON, limit=2500),
    "ndjson, filtered": pb.ExportEventsRequest(company_id="acme", format=NDJSON, filter=FILTER),
}


async def fill(ingest: Ingesting, start: int, count: int) -> list[str]:
    made = random.Random(start)
    events = [
        grapfy(
            number,
            eventType=made.choice(["pix_created", "order_approved", "lead_created"]),
            x="é" * made.randrange(900),
        )
        for number in range(start, start + count)
    ]
    return [result.event_id for result in await send(ingest.stub, "acme", events)]


async def mark(ingest: Ingesting, event_ids: Sequence[str]) -> None:
    marks = [MarkEventsRequest.Mark(event_id=one, status=events_pb2.PROCESSING_STATUS_PROCESSED) for one in event_ids]
    await ingest.stub.MarkEvents(MarkEventsRequest(company_id="acme", marks=marks))


@pytest.mark.parametrize("name", REQUESTS)
async def test_every_break_heals_to_the_same_bytes(
    ingest: Ingesting, export: Exporting, database_url: str, name: str
) -> None:
    request = REQUESTS[name]
    ids = await fill(ingest, 0, 3000)
    await mark(ingest, ids[::3])
    stub = export.export
    whole = [part async for part in stub.ExportEvents(request)]
    chunks, trailer = [part.chunk for part in whole[1:-1]], whole[-1].trailer
    assert len(chunks) > 1
    # What happens meanwhile makes no difference, nor does the process.
    await fill(ingest, 3000, 500)
    await mark(ingest, ids[1::3])
    async with exporting(database_url) as another:
        for number, chunk in enumerate(chunks, 1):
            resumed = pb.ExportEventsRequest()
            resumed.CopyFrom(request)
            resumed.resume_token = chunk.resume_token
            rest = [part async for part in (another.export if number % 2 else stub).ExportEvents(resumed)]
            assert rest[0].header.resumed_after == number
            assert rest[0].header.last_sequence == whole[0].header.last_sequence
            assert [part.chunk.data for part in rest[1:-1]] == [one.data for one in chunks[number:]]
            assert [part.chunk.digest for part in rest[1:-1]] == [one.digest for one in chunks[number:]]
            last = rest[-1].trailer
            assert (last.rows, last.bytes, last.digest) == (trailer.rows, trailer.bytes, trailer.digest)
            assert last.sha256 == b""
    assert hashlib.sha256(b"".join(one.data for one in chunks)).digest() == trailer.sha256


async def test_a_token_is_good_for_its_request_alone(
    ingest: Ingesting, export: Exporting, connection: Connection
) -> None:
    await fill(ingest, 0, 1000)
    request = pb.ExportEventsRequest(company_id="acme", format=NDJSON)
    parts = [part async for part in export.export.ExportEvents(request)]
    token = parts[1].chunk.resume_token
    others: dict[str, Any] = {
        "another company": {"company_id": "bolt"},
        "another format": {"format": JSON},
        "another limit": {"limit": 999},
        "other columns": {"columns": ["payload"]},
        "another filter": {"filter": events_pb2.EventFilter(types=["a"])},
        "another order": {"order": events_pb2.EVENT_ORDER_NEWEST_FIRST},
        "another zone": {"time_zone": "America/Sao_Paulo"},
        "tampered with": {"resume_token": ("B" if token[30] == "A" else "A").join((token[:30], token[31:]))},
        "cut": {"resume_token": token[:-4]},
        "made up": {"resume_token": "AAAA" * 20},
        "no base64": {"resume_token": "é"},
    }
    for what, other in others.items():
        changed = pb.ExportEventsRequest(**{"company_id": "acme", "format": NDJSON, "resume_token": token, **other})
        refusal = await refused(export.export.ExportEvents(changed))
        assert (refusal.code.name, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_RESUME_TOKEN"), what
    # Something was erased since.
    await connection.execute("UPDATE hookline.companies SET erasure_epoch = erasure_epoch + 1")
    request.resume_token = token
    refusal = await refused(export.export.ExportEvents(request))
    assert (refusal.code.name, refusal.reason) == ("FAILED_PRECONDITION", "EXPORT_NOT_RESUMABLE")
    assert refusal.metadata == {"cause": "erased"}
    assert (await exported(export.export, "acme", NDJSON)).trailer.rows == 1000


async def test_a_token_of_a_server_that_wrote_the_format_in_another_way(
    ingest: Ingesting, export: Exporting, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(ingest, 0, 1000)
    request = pb.ExportEventsRequest(company_id="acme", format=NDJSON)
    with monkeypatch.context() as older:
        older.setattr("services.export.resuming.VERSION", 2)
        parts = [part async for part in export.export.ExportEvents(request)]
    request.resume_token = parts[1].chunk.resume_token
    refusal = await refused(export.export.ExportEvents(request))
    assert (refusal.reason, refusal.metadata) == ("EXPORT_NOT_RESUMABLE", {"cause": "format_changed"})


ERASED = "UPDATE hookline.events SET customer_name = NULL, payload = '{}' WHERE sequence % 10 = 0"


async def test_what_is_erased_while_an_export_is_being_resumed(
    ingest: Ingesting, export: Exporting, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(ingest, 0, 3000)
    request = pb.ExportEventsRequest(company_id="acme", format=NDJSON)
    parts = [part async for part in export.export.ExportEvents(request)]
    copy_page = page_store.copy_page

    async def erased_before(reading: Connection, query: PageQuery, max_bytes: int | None, expected: int) -> Page:
        # The mark has been looked at. Without the epoch: that is looked at only when a call begins.
        await connection.execute(ERASED)
        return await copy_page(reading, query, max_bytes, expected)

    monkeypatch.setattr(page_store, "copy_page", erased_before)
    request.resume_token = parts[2].chunk.resume_token
    refusal = await refused(export.export.ExportEvents(request))
    assert (refusal.reason, refusal.metadata) == ("EXPORT_NOT_RESUMABLE", {"cause": "log_changed"})


@pytest.mark.parametrize("grown_by", [0, 100, 2500])
async def test_a_log_that_was_restored_is_not_gone_on_with(
    ingest: Ingesting, export: Exporting, connection: Connection, grown_by: int
) -> None:
    await fill(ingest, 0, 3000)
    request = pb.ExportEventsRequest(company_id="acme", format=NDJSON, filter=FILTER)
    parts = [part async for part in export.export.ExportEvents(request)]
    request.resume_token = parts[3].chunk.resume_token
    # As it was after 1,000 events.
    for table in ("events", "unprocessed"):
        await connection.execute(f"DELETE FROM hookline.{table} WHERE sequence > 1000")
    await connection.execute(
        "DELETE FROM hookline.event_keys WHERE event_id NOT IN (SELECT event_id FROM hookline.events)"
    )
    await connection.execute("UPDATE hookline.companies SET last_sequence = 1000")
    await fill(ingest, 5000, grown_by)
    refusal = await refused(export.export.ExportEvents(request))
    assert (refusal.reason, refusal.metadata) == ("EXPORT_NOT_RESUMABLE", {"cause": "log_changed"})


GOLDEN = (
    3,
    {
        "csv": "ce0a8c13b3addeb9",
        "csv for Excel": "102bcf59536d9d02",
        "csv for Excel in Portuguese": "51fc786f02518d31",
        "json": "a8c9b879d42b2e51",
        "json, newest first": "18f37b9de0bb6396",
        "ndjson": "85208e5d979bd4e1",
        "ndjson in another zone": "f34a099190056eb6",
    },
)
"""VERSION, and the beginnings of the SHA-256 of files that it writes."""
FILES: dict[str, dict[str, Any]] = {
    "csv": {"format": CSV},
    "csv for Excel": {"format": CSV, "csv_dialect": pb.CSV_DIALECT_EXCEL, "time_zone": "America/Sao_Paulo"},
    "csv for Excel in Portuguese": {
        "format": CSV,
        "csv_dialect": pb.CSV_DIALECT_EXCEL_PTBR,
        "header_language": pb.HEADER_LANGUAGE_PORTUGUESE,
    },
    "json": {"format": JSON},
    "json, newest first": {"format": JSON, "order": events_pb2.EVENT_ORDER_NEWEST_FIRST},
    "ndjson": {"format": NDJSON},
    "ndjson in another zone": {"format": NDJSON, "time_zone": "America/Sao_Paulo"},
}


async def test_another_version_for_other_bytes(ingest: Ingesting, export: Exporting) -> None:
    """A server that writes a format in another way must not go on with a file that was begun before its update: when
    this fails, raise VERSION, and note here what the files are now."""
    events = [
        grapfy("evt 1", eventType="pix_created", customer={"name": '=Ana "Aninha", ção; \\n'}, utm={"source": "é"}),
        grapfy("evt 2", total="-1169.80", customer=None, product={"name": "Curso\r\nde\tViolão"}, x=[1.50, None, {}]),
        grapfy("evt 3", total=None, createdAt="2026-07-01T23:59:59.123456-03:00", utm={"source": 7.10}),
    ]
    ids = [result.event_id for result in await send(ingest.stub, "acme", events)]
    await mark(ingest, ids[1:2])
    # All columns but what is new each time.
    columns = [
        *("sequence", "type", "platform_type", "platform", "source", "dedup_key", "customer_name", "product_name"),
        *("total", "currency", "status", "status_error", "occurred_time", "payload", "payload.utm.source", "payload.x"),
    ]
    found = {}
    for name, asked in FILES.items():
        request = pb.ExportEventsRequest(company_id="acme", columns=columns, **asked)
        file = await read(export.export.ExportEvents(request))
        assert file.trailer.rows == 3
        found[name] = hashlib.sha256(file.data).hexdigest()[:16]
    assert (formats.VERSION, found) == GOLDEN
