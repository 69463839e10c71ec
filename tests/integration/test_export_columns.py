"""What an export is asked to look like: columns, dialects, languages, time zones, compression."""

import csv
import gzip
import io
from typing import Any

import pytest
import zstandard

from hookline.export.v1 import export_service_pb2 as pb
from tests.exports import CSV, JSON, NDJSON, exported
from tests.in_process import Exporting, Ingesting
from tests.refusals import refused
from tests.samples import grapfy, outcomes, send

EVENTS = [
    grapfy(
        1,
        customer={"name": "=Marina; Teste"},
        total="1169.80",
        createdAt="2026-11-01T02:30:00Z",
        utm={"source": "=ads", "clicks": -3.5, "none": None, "tags": ["a", 1]},
    ),
    grapfy(2, customer=None, total=None, createdAt="2026-11-01T13:00:00.123456Z"),
]


async def rows(export: Exporting, **request: Any) -> list[list[str]]:
    """A CSV's rows, its title line among them."""
    file = await exported(export.export, "acme", CSV, **request)
    delimiter = ";" if request.get("csv_dialect") == pb.CSV_DIALECT_EXCEL_PTBR else ","
    text = file.data.decode("utf-8-sig" if request.get("csv_dialect") else "utf-8")
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))


@pytest.fixture
async def stored(ingest: Ingesting) -> None:
    assert outcomes(await send(ingest.stub, "acme", EVENTS)) == ["ACCEPTED"] * 2


@pytest.mark.usefixtures("stored")
async def test_columns_in_the_order_asked_for(export: Exporting) -> None:
    names = ["total", "payload.utm.source", "payload.utm.clicks", "sequence", "payload.utm.none", "payload.utm.tags.1"]
    assert await rows(export, columns=names) == [
        names,
        # A text is defused, a number is not.
        ["1169.80", "'=ads", "-3.5", "1", "", "1"],
        ["", "", "", "2", "", ""],
    ]
    file = await exported(export.export, "acme", NDJSON, columns=names)
    assert [list(one.values()) for one in file.json()] == [
        ["1169.80", "=ads", pytest.approx(-3.5), 1, None, 1],
        [None, None, None, 2, None, None],
    ]
    assert (await exported(export.export, "acme", JSON, columns=["payload"])).json()[0]["payload"]["utm"]["tags"][
        0
    ] == "a"


@pytest.mark.usefixtures("stored")
async def test_dialects(export: Exporting) -> None:
    names = ["customer_name", "total", "occurred_time", "status", "payload.utm.clicks"]
    asked = {"columns": names, "time_zone": "America/Sao_Paulo"}
    assert await rows(export, **asked) == [
        names,
        ["'=Marina; Teste", "1169.80", "2026-10-31T23:30:00.000000-03:00", "pending", "-3.5"],
        ["", "", "2026-11-01T10:00:00.123456-03:00", "pending", ""],
    ]
    excel = await exported(export.export, "acme", CSV, csv_dialect=pb.CSV_DIALECT_EXCEL, **asked)
    assert excel.data.startswith("\ufeffcustomer_name,total".encode())
    assert (await rows(export, csv_dialect=pb.CSV_DIALECT_EXCEL, **asked))[1:] == [
        ["'=Marina; Teste", "1169.80", "2026-10-31 23:30:00", "pending", "-3.5"],
        ["", "", "2026-11-01 10:00:00", "pending", ""],
    ]
    brazilian = await rows(
        export, csv_dialect=pb.CSV_DIALECT_EXCEL_PTBR, header_language=pb.HEADER_LANGUAGE_PORTUGUESE, **asked
    )
    assert brazilian == [
        ["Cliente", "Total", "Ocorrido em", "Situação", "payload.utm.clicks"],
        ["'=Marina; Teste", "1169,80", "31/10/2026 23:30:00", "pendente", "-3,5"],
        ["", "", "01/11/2026 10:00:00", "pendente", ""],
    ]
    whole = await exported(export.export, "acme", NDJSON, columns=["occurred_time"], time_zone="Asia/Kolkata")
    assert [one["occurred_time"] for one in whole.json()] == [
        "2026-11-01T08:00:00.000000+05:30",
        "2026-11-01T18:30:00.123456+05:30",
    ]


@pytest.mark.parametrize(
    ("compression", "whole", "one"),
    [
        (pb.COMPRESSION_GZIP, gzip.decompress, gzip.decompress),
        (
            pb.COMPRESSION_ZSTD,
            lambda data: zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read(),
            zstandard.ZstdDecompressor().decompress,
        ),
    ],
)
async def test_compressed_chunks_are_frames_of_the_same_file(
    ingest: Ingesting, export: Exporting, compression: pb.Compression.ValueType, whole: Any, one: Any
) -> None:
    for start in (0, 1000):
        await send(ingest.stub, "acme", [grapfy(number, x="x" * 300) for number in range(start, start + 1000)])
    plain = await exported(export.export, "acme", NDJSON)
    request = pb.ExportEventsRequest(company_id="acme", format=NDJSON, compression=compression)
    parts = [part async for part in export.export.ExportEvents(request)]
    chunks = [part.chunk for part in parts[1:-1]]
    assert len(chunks) == plain.chunks > 3
    assert whole(b"".join(chunk.data for chunk in chunks)) == plain.data
    assert b"".join(one(chunk.data) for chunk in chunks) == plain.data
    assert parts[-1].trailer == plain.trailer
    assert sum(len(chunk.data) for chunk in chunks) < len(plain.data) / 3


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"columns": ["nope"]}, "columns[0]"),
        ({"columns": ["total", "payload..x"]}, "columns[1]"),
        ({"columns": ["payload." + "x" * 60]}, "columns[0]"),
        ({"columns": ["total", "total"]}, "columns[1]"),
        ({"columns": ["payload.a\x00b"]}, "columns[0]"),
        ({"columns": [f"payload.{n}" for n in range(101)]}, "columns"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"time_zone": "../etc/passwd"}, "time_zone"),
        ({"csv_dialect": 9}, "csv_dialect"),
        ({"header_language": 9}, "header_language"),
        ({"compression": 9}, "compression"),
        ({"format": NDJSON, "csv_dialect": pb.CSV_DIALECT_EXCEL}, "csv_dialect"),
        ({"format": JSON, "header_language": pb.HEADER_LANGUAGE_PORTUGUESE}, "header_language"),
        ({"resume_token": "x"}, None),
    ],
)
async def test_what_makes_no_sense_is_refused(export: Exporting, wrong: dict[str, Any], field: str | None) -> None:
    request = pb.ExportEventsRequest(**{"company_id": "acme", "format": CSV, **wrong})
    refusal = await refused(export.export.ExportEvents(request))
    assert refusal.code.name == "INVALID_ARGUMENT"
    assert list(refusal.violations) == [field or "resume_token"]
