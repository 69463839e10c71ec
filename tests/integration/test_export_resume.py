"""An export broken anywhere goes on with the very next byte, or is refused with the reason."""

import hashlib
import random
from collections.abc import Sequence
from typing import Any

import pytest

from hookline.events.v1 import events_pb2
from hookline.export.v1 import export_service_pb2 as pb
from hookline.ingest.v1.ingest_service_pb2 import MarkEventsRequest
from shared.db import Connection
from tests.exports import CSV, JSON, NDJSON, exported
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
        older.setattr("services.export.resuming.VERSION", 1)
        parts = [part async for part in export.export.ExportEvents(request)]
    request.resume_token = parts[1].chunk.resume_token
    refusal = await refused(export.export.ExportEvents(request))
    assert (refusal.reason, refusal.metadata) == ("EXPORT_NOT_RESUMABLE", {"cause": "format_changed"})
