"""Files: what is in them is what is stored, and the stream keeps its promises."""

import uuid
from collections.abc import Sequence

import grpc
import pytest

from hookline.events.v1 import events_pb2
from hookline.export.v1 import export_service_pb2 as pb
from hookline.export.v1.event_query_service_pb2 import GetEventRequest
from hookline.ingest.v1.ingest_service_pb2 import MarkEventsRequest
from shared.db import Connection
from tests.exports import CHUNK_BYTES, CSV, JSON, NDJSON, check, exact, exported
from tests.in_process import Exporting, Ingesting
from tests.refusals import refused
from tests.samples import grapfy, incoming, outcomes, send

OLDEST, NEWEST = events_pb2.EVENT_ORDER_OLDEST_FIRST, events_pb2.EVENT_ORDER_NEWEST_FIRST
CSV_COLUMNS = [
    "event_id",
    "type",
    "customer_name",
    "product_name",
    "total",
    "currency",
    "source",
    "status",
    "occurred_time",
]
NASTY = [
    'quotes " and ""',
    "comma, semicolon; tab\there",
    "lines\nof\r\ntext\r",
    "🦩 emoji, accents: ãõçéíúàü ß 漢字",
    "back\\slash \\n \\\\",
    "NULL",
    "\\.",
    "'quoted'",
    "\x01\x02\x1f control",
    "\u2028 separator \ufeff",
]
FORMULAS = ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1"]


async def fill(ingest: Ingesting, count: int, company: str = "acme") -> list[str]:
    """Stores numbered events; gives their ids in order."""
    ids: list[str] = []
    for start in range(0, count, 5000):
        numbers = range(start, min(count, start + 5000))
        ids += [result.event_id for result in await send(ingest.stub, company, map(grapfy, numbers))]
    return ids


async def test_csv_holds_what_is_stored(ingest: Ingesting, export: Exporting, connection: Connection) -> None:
    events = [
        grapfy(number, customer={"name": text}, product={"name": f"Curso {text}"})
        for number, text in enumerate([*NASTY, *FORMULAS])
    ]
    events += [
        grapfy("no total", total=None, customer=None, product=None),
        grapfy("negative", total=-12.5, eventType="-refund"),
        grapfy("zero", total="0.00", eventType="=type"),
        grapfy("long", total="1169.80", createdAt="9999-12-31T23:59:59Z"),
    ]
    assert outcomes(await send(ingest.stub, "acme", events)) == ["ACCEPTED"] * len(events)
    file = await exported(export.export, "acme", CSV)
    assert list(file.header.columns) == CSV_COLUMNS
    assert file.header.media_type == "text/csv; charset=utf-8"
    assert file.data.split(b"\n", 1)[0].decode().split(",") == CSV_COLUMNS
    rows = await connection.fetch(
        """
        SELECT event_id::text, type, customer_name, product_name, total::text, currency, source, 'pending' AS status,
               to_char(occurred_time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS occurred_time
        FROM hookline.events ORDER BY sequence
        """
    )

    def cell(column: str, value: str | None) -> str:
        is_text = column in ("type", "customer_name", "product_name")
        return f"'{value}" if is_text and value and value[0] in "=+-@\t\r" else value or ""

    assert file.csv() == [{column: cell(column, row[column]) for column in CSV_COLUMNS} for row in rows]
    totals = {row["type"]: row["total"] for row in file.csv()}
    assert totals["'-refund"] == "-12.5", "a number is never defused"
    assert totals["'=type"] == "0.00"


async def test_csv_tells_absent_from_empty(ingest: Ingesting, export: Exporting, connection: Connection) -> None:
    await send(ingest.stub, "acme", [grapfy(customer=None)])
    await connection.execute("UPDATE hookline.events SET product_name = ''")
    file = await exported(export.export, "acme", CSV)
    line = file.data.decode().splitlines()[1]
    assert line.split(",")[2:4] == ["", '""']


@pytest.mark.parametrize("file_format", [JSON, NDJSON])
async def test_json_holds_what_was_sent_to_the_last_digit(
    ingest: Ingesting, export: Exporting, file_format: pb.ExportFormat.ValueType
) -> None:
    payloads = [grapfy(f"text {number}", customer={"name": text}, x=text) for number, text in enumerate(NASTY)]
    payloads += [
        b'{"eventId":"n1","eventType":"a","total":1169.80,"x":[18446744073709551617,1e30,0.1000,-0.0,1E-7]}',
        b'{"eventId":"n2","eventType":"a","total":"1169.80","x":{"\\u00e9":null,"":[[],{}]}}',
        grapfy("none", total=None, customer=None, product=None, createdAt=None),
    ]
    results = await send(ingest.stub, "acme", payloads)
    assert outcomes(results) == ["ACCEPTED"] * len(payloads)
    file = await exported(export.export, "acme", file_format)
    objects = file.json()
    assert [one["payload"] for one in objects] == [exact(payload) for payload in payloads]
    assert [one["event_id"] for one in objects] == [result.event_id for result in results]
    assert [one["sequence"] for one in objects] == list(range(1, len(payloads) + 1))
    assert b'"total": 1169.80' in file.data
    assert b"0.1000" in file.data
    by_key = {one["dedup_key"]: one for one in objects}
    assert (by_key["n1"]["total"], by_key["n2"]["total"]) == ("1169.80", "1169.80")
    assert [by_key["none"][name] for name in ("total", "currency", "customer_name", "product_name")] == [None] * 4
    assert by_key["none"]["occurred_time"] == by_key["none"]["received_time"]
    for number, text in enumerate(NASTY):
        assert by_key[f"text {number}"]["customer_name"] == text.strip()


@pytest.mark.parametrize(("file_format", "expected"), [(JSON, b"[]\n"), (NDJSON, b"")])
async def test_a_company_without_events_gets_a_file_without_rows(
    export: Exporting, file_format: pb.ExportFormat.ValueType, expected: bytes
) -> None:
    file = await exported(export.export, "nobody", file_format)
    assert (file.data, file.trailer.rows) == (expected, 0)
    assert (file.header.last_sequence, file.header.last_change, file.header.max_rows) == (0, 0, 0)
    csv_file = await exported(export.export, "nobody", CSV)
    assert (csv_file.data.decode(), csv_file.csv()) == (",".join(CSV_COLUMNS) + "\n", [])


async def test_a_filter_that_nothing_matches_gives_a_file_without_rows(ingest: Ingesting, export: Exporting) -> None:
    await fill(ingest, 10)
    which = events_pb2.EventFilter(types=["nope"])
    assert (await exported(export.export, "acme", JSON, filter=which)).json() == []


async def test_orders_and_limits(ingest: Ingesting, export: Exporting) -> None:
    ids = await fill(ingest, 5000)
    await fill(ingest, 10, "bolt")

    async def rows(**request: object) -> Sequence[str]:
        file = await exported(export.export, "acme", CSV, **request)
        return [row["event_id"] for row in file.csv()]

    assert await rows() == ids
    assert await rows(order=NEWEST) == ids[::-1]
    assert await rows(order=OLDEST) == ids
    # With a limit the newest are meant, unless asked otherwise.
    assert await rows(limit=10) == ids[::-1][:10]
    assert await rows(limit=3000, order=OLDEST) == ids[:3000]
    assert await rows(limit=4999) == ids[:0:-1]
    assert await rows(limit=10**12) == ids[::-1]
    file = await exported(export.export, "acme", NDJSON, limit=2500)
    assert [one["event_id"] for one in file.json()] == ids[::-1][:2500]
    assert file.header.max_rows == 2500


async def test_a_large_export_is_the_same_bytes_in_chunks_of_one_size(ingest: Ingesting, export: Exporting) -> None:
    ids = await fill(ingest, 8_000)
    file = await exported(export.export, "acme", NDJSON)
    assert [one["event_id"] for one in file.json()] == ids
    assert file.chunks == -(-len(file.data) // CHUNK_BYTES) > 15
    again = await exported(export.export, "acme", NDJSON)
    assert again == file


async def test_payloads_of_a_mebibyte_come_out_whole(ingest: Ingesting, export: Exporting) -> None:
    payloads = [grapfy(number, x=f"é{number % 10}" * 148_000) for number in range(20)]
    assert all(1_000_000 < len(payload) < 2**20 for payload in payloads)
    for start in range(0, 20, 10):
        assert outcomes(await send(ingest.stub, "acme", payloads[start : start + 10])) == ["ACCEPTED"] * 10
    for file_format in (JSON, NDJSON):
        file = await exported(export.export, "acme", file_format, order=NEWEST)
        assert [one["payload"] for one in file.json()] == [exact(payload) for payload in payloads[::-1]]


async def test_statuses_are_those_of_the_start_and_later_events_are_not_in_it(
    ingest: Ingesting, export: Exporting
) -> None:
    # Too much for what flows ahead of a reader that has stopped: pages are still to be read.
    payloads = [grapfy(number, x="x" * 900_000) for number in range(24)]
    ids = []
    for start in range(0, 24, 12):
        ids += [result.event_id for result in await send(ingest.stub, "acme", payloads[start : start + 12])]

    async def mark(event_ids: Sequence[str], status: str, error: str = "") -> None:
        marks = [
            MarkEventsRequest.Mark(event_id=one, status=f"PROCESSING_STATUS_{status}", error=error)  # type: ignore[arg-type]
            for one in event_ids
        ]
        await ingest.stub.MarkEvents(MarkEventsRequest(company_id="acme", marks=marks))

    await mark(ids[:12], "PROCESSED")
    await mark(ids[6:18], "FAILED", "then")
    stream = export.export.ExportEvents(pb.ExportEventsRequest(company_id="acme", format=NDJSON))
    parts = [await stream.read()]
    assert isinstance(parts[0], pb.ExportEventsResponse)
    assert (parts[0].header.last_sequence, parts[0].header.last_change) == (24, 24)
    await mark(ids, "FAILED", "now")
    await mark(ids[::2], "PROCESSED")
    await fill(ingest, 3, "bolt")
    await send(ingest.stub, "acme", [grapfy("later")])
    while (part := await stream.read()) is not grpc.aio.EOF:
        parts.append(part)
    rows = check([part for part in parts if isinstance(part, pb.ExportEventsResponse)]).json()
    assert [row["event_id"] for row in rows] == ids
    expected = [("processed", None)] * 6 + [("failed", "then")] * 12 + [("pending", None)] * 6
    assert [(row["status"], row["status_error"]) for row in rows] == expected


async def test_a_negative_limit_or_no_format_is_refused(export: Exporting) -> None:
    for request, field in (
        (pb.ExportEventsRequest(company_id="acme"), "format"),
        (pb.ExportEventsRequest(company_id="acme", format=9), "format"),  # type: ignore[arg-type]
        (pb.ExportEventsRequest(company_id="acme", format=CSV, limit=-1), "limit"),
        (pb.ExportEventsRequest(company_id="acme", format=CSV, order=9), "order"),  # type: ignore[arg-type]
    ):
        refusal = await refused(export.export.ExportEvents(request))
        assert (refusal.code, list(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, [field])


async def test_get_event_gives_the_whole_event(ingest: Ingesting, export: Exporting) -> None:
    payload = grapfy("evt_9", total="1169.80", eventType="pix_created")
    [result] = await send(ingest.stub, "acme", [incoming(payload, source="shop_1")])
    event = (await export.query.GetEvent(GetEventRequest(company_id="acme", event_id=result.event_id))).event
    assert exact(event.payload) == exact(payload)
    assert uuid.UUID(event.event_id).version == 7
    assert (event.company_id, event.sequence, event.source, event.platform) == ("acme", 1, "shop_1", "grapfy")
    assert (event.type, event.dedup_key) == ("pix_created", "evt_9")
    assert (event.customer_name, event.product_name) == ("Ana Conceição", "Curso de Violão")
    assert (event.total.amount, event.total.currency) == ("1169.80", "BRL")
    assert event.status == events_pb2.PROCESSING_STATUS_PENDING
    assert event.occurred_time.ToJsonString() == "2026-10-01T12:00:00Z"


async def test_get_event_knows_only_the_companys_own(ingest: Ingesting, export: Exporting) -> None:
    [result] = await send(ingest.stub, "acme", [grapfy()])
    for company, event_id in (("bolt", result.event_id), ("acme", str(uuid.uuid4()))):
        refusal = await refused(export.query.GetEvent(GetEventRequest(company_id=company, event_id=event_id)))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "EVENT_NOT_FOUND")
        assert refusal.metadata == {"event_id": event_id}
    for wrong in ("", "no uuid", "{" + result.event_id + "}", result.event_id.replace("-", "")):
        refusal = await refused(export.query.GetEvent(GetEventRequest(company_id="acme", event_id=wrong)))
        assert (refusal.code, list(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["event_id"])
