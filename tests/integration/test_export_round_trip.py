"""What others' programs read out of each kind of file is what SQL says is stored, to the last digit."""

import asyncio
import csv
import io
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import openpyxl
import pytest

from hookline.events.v1 import events_pb2
from hookline.export.v1 import export_service_pb2 as pb
from hookline.ingest.v1.ingest_service_pb2 import MarkEventsRequest
from shared.db import Connection
from tests.exports import CSV, JSON, NDJSON, exact, exported
from tests.in_process import Exporting, Ingesting
from tests.samples import grapfy, outcomes, send

ZONE = "America/Sao_Paulo"
SOFFICE = shutil.which("soffice")
HUGE, LONGEST = 2**53 + 1, 10**40 + 1
TEXTS = [
    'quotes " and "" and \'',
    '"',
    "comma, semicolon; tab\there | pipe",
    "lines\nof\r\ntext\rand \\n",
    "🦩 👩‍👩‍👧 ãõç 漢字 \u2028 \ufeff",
    "NULL",
    "1,5",
    "=cmd|' /C calc'!A0",
    "+1;\n+1",
    "-2+3",
    "@SUM(A1)",
]
TOTALS: list[Any] = [0, -12.5, "0.00", HUGE, -HUGE, "123456789012345678.123456789012345678", "999999999999999999", None]
EVENTS = [
    grapfy(
        f"{text}{number}",
        customer={"name": text},
        product={"name": f"Curso {text}"},
        total=TOTALS[number % len(TOTALS)],
        eventType="=type" if number % 3 else "pix_created",
        createdAt=f"2026-02-1{number % 10}T0{number % 5}:30:59.{number:06}Z",
        utm={
            "source": text,
            "empty": "",
            "nothing": None,
            "tags": ["a", None, {"é": 1}],
            "number": [HUGE, -0.5][number % 2],
        },
        longest=LONGEST,
    )
    for number, text in enumerate(TEXTS)
] + [grapfy("bare", customer=None, product=None, total=None), grapfy("empty", customer={"name": ""}, utm={"number": 0})]
FIELDS = (
    "event_id",
    "sequence",
    "type",
    "platform_type",
    "platform",
    "source",
    "dedup_key",
    "customer_name",
    "product_name",
    "total",
    "currency",
    "status",
    "status_error",
    "occurred_time",
    "received_time",
    "payload",
)
PATHS = ("utm.source", "utm.empty", "utm.nothing", "utm.tags", "utm.tags.2", "utm.number", "longest")
COLUMNS = [*FIELDS, *(f"payload.{path}" for path in PATHS)]
_TEXTS = {"type", "platform_type", "dedup_key", "customer_name", "product_name", "status_error"}
_TIMES = {"occurred_time", "received_time"}
Row = dict[str, Any]


@dataclass(frozen=True)
class Dialect:
    """A dialect as its reader needs to know it."""

    number: pb.CsvDialect.ValueType
    delimiter: str = ","
    decimal: str = "."
    time: str = "%Y-%m-%d %H:%M:%S"

    def cell(self, column: str, value: Any) -> str | None:
        """How a CSV should show what is stored; None is nothing at all."""
        match value:
            case None:
                return None
            case datetime():
                local = value.astimezone(ZoneInfo(ZONE))
                if self.number == pb.CSV_DIALECT_PLAIN:
                    return local.isoformat(timespec="microseconds")
                return local.strftime(self.time)
            case RawJson():
                return value.text
            case Decimal():
                return f"{value:f}".replace(".", self.decimal)
            case str() if column in _TEXTS or column.startswith("payload."):
                return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
        return str(value)


DIALECTS = {
    "plain": Dialect(pb.CSV_DIALECT_PLAIN),
    "excel": Dialect(pb.CSV_DIALECT_EXCEL),
    "excel-ptbr": Dialect(pb.CSV_DIALECT_EXCEL_PTBR, ";", ",", "%d/%m/%Y %H:%M:%S"),
}


@dataclass(frozen=True)
class RawJson:
    """A JSON value that is neither a text nor a number. `text` is how SQL writes it; it counts for nothing when two are
    compared."""

    value: Any
    text: str = field(default="", compare=False)


@pytest.fixture
async def stored(ingest: Ingesting, connection: Connection) -> list[Row]:
    """The rows as SQL tells of them: texts, exact numbers, points in time, and JSON where it is neither."""
    results = await send(ingest.stub, "acme", EVENTS)
    assert outcomes(results) == ["ACCEPTED"] * len(EVENTS)
    failed = events_pb2.PROCESSING_STATUS_FAILED
    marks = [MarkEventsRequest.Mark(event_id=results[1].event_id, status=failed, error='=1\n2;"3"')]
    await ingest.stub.MarkEvents(MarkEventsRequest(company_id="acme", marks=marks))
    # No mapping gives an empty name; the format can tell one from none all the same.
    await connection.execute("UPDATE hookline.events SET product_name = '' WHERE sequence = $1", len(EVENTS))
    paths = ", ".join(f"(payload #> '{{{path.replace('.', ',')}}}')::text AS \"payload.{path}\"" for path in PATHS)
    rows = await connection.fetch(
        f"""
        SELECT event_id::text, sequence, type, coalesce(platform_type, type) AS platform_type, platform, source,
               dedup_key, customer_name, product_name, total::text, currency, coalesce(status, 'pending') AS status,
               error AS status_error, occurred_time, received_time, payload::text, {paths}
        FROM hookline.events LEFT JOIN hookline.event_status USING (company_id, sequence) ORDER BY sequence
        """
    )
    assert len(rows) == len(EVENTS)
    return [_row(dict(row)) for row in rows]


def _row(row: Row) -> Row:
    row["total"] = None if row["total"] is None else Decimal(row["total"])
    for name in row:
        if name.startswith("payload.") and row[name] is not None:
            value = exact(row[name])
            row[name] = value if value is None or isinstance(value, str | Decimal) else RawJson(value, row[name])
    row["payload"] = RawJson(exact(row["payload"]), row["payload"])
    return row


def written(stored: Sequence[Row], dialect: Dialect) -> list[list[str | None]]:
    return [[dialect.cell(name, row[name]) for name in COLUMNS] for row in stored]


async def csv_file(export: Exporting, dialect: Dialect, columns: Sequence[str] = COLUMNS) -> bytes:
    file = await exported(export.export, "acme", CSV, csv_dialect=dialect.number, columns=columns, time_zone=ZONE)
    assert list(file.header.columns) == list(columns)
    return file.data


@pytest.mark.parametrize("name", DIALECTS)
async def test_csv_read_by_python(export: Exporting, stored: list[Row], name: str) -> None:
    dialect = DIALECTS[name]
    data = await csv_file(export, dialect)
    text = data.decode("utf-8" if name == "plain" else "utf-8-sig")
    titles, *rows = csv.reader(io.StringIO(text, newline=""), delimiter=dialect.delimiter, strict=True)
    assert titles == COLUMNS
    assert rows == [[cell or "" for cell in row] for row in written(stored, dialect)]
    # The traps are there: none of what was to be defused has got through.
    assert {row[COLUMNS.index("customer_name")][:2] for row in rows} >= {"'=", "'+", "'-", "'@"}


@pytest.mark.parametrize("name", DIALECTS)
async def test_csv_read_by_duckdb(export: Exporting, stored: list[Row], tmp_path: Path, name: str) -> None:
    dialect = DIALECTS[name]
    path = tmp_path / "events.csv"
    path.write_bytes(await csv_file(export, dialect))
    with duckdb.connect() as database:
        found = database.execute(
            "SELECT * FROM read_csv(?, header = true, all_varchar = true, delim = ?, quote = '\"', escape = '\"',"
            " nullstr = '', allow_quoted_nulls = false, strict_mode = true, parallel = false)",
            [str(path), dialect.delimiter],
        )
        titles = [one[0] for one in found.description]
        rows = [list(row) for row in found.fetchall()]
    assert titles == COLUMNS
    # Unlike Python's, this reader tells nothing from an empty text.
    assert rows == written(stored, dialect)
    assert {row[COLUMNS.index("product_name")] for row in rows} >= {None, ""}


@pytest.mark.parametrize("file_format", [JSON, NDJSON])
async def test_json_read_by_python(
    export: Exporting, stored: list[Row], file_format: pb.ExportFormat.ValueType
) -> None:
    file = await exported(export.export, "acme", file_format, columns=COLUMNS)
    assert file.json() == [_members(row) for row in stored]


def _members(row: Row) -> Row:
    """What an object should be, all numbers Decimal: totals are texts, times RFC 3339."""
    members: Row = {}
    for name, value in row.items():
        match value:
            case RawJson():
                members[name] = value.value
            case datetime():
                members[name] = f"{value:%Y-%m-%dT%H:%M:%S.%f}Z"
            case Decimal() if name == "total":
                members[name] = f"{value:f}"
            case _:
                members[name] = value
    return members


@pytest.mark.parametrize(("file_format", "layout"), [(JSON, "array"), (NDJSON, "newline_delimited")])
async def test_json_read_by_duckdb(
    export: Exporting, stored: list[Row], tmp_path: Path, file_format: pb.ExportFormat.ValueType, layout: str
) -> None:
    path = tmp_path / "events.json"
    path.write_bytes((await exported(export.export, "acme", file_format, columns=COLUMNS)).data)
    types = dict.fromkeys(COLUMNS, "VARCHAR") | {"sequence": "BIGINT", "total": "DECIMAL(38, 18)"}
    types |= dict.fromkeys(_TIMES, "TIMESTAMPTZ") | {"payload": "JSON", "payload.utm.number": "DECIMAL(38, 6)"}
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in types.items())
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        found = database.execute(
            f"SELECT * REPLACE (occurred_time::text AS occurred_time, received_time::text AS received_time)"
            f" FROM read_json(?, format = ?, columns = {{{columns}}})",
            [str(path), layout],
        ).fetchall()
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in found]
    for row, event in zip(rows, stored, strict=True):
        for name in COLUMNS:
            assert _as_read(row[name], event[name]) == event[name], name


def _as_read(value: Any, stored: Any) -> Any:
    """What a reader's value is in Python, of the kind that is stored. A reader writes a JSON value in its own way."""
    match stored:
        case datetime():
            return datetime.fromisoformat(value)
        case RawJson():
            return RawJson(exact(value))
        case Decimal():
            return Decimal(value)
    return value


@pytest.mark.skipif(SOFFICE is None, reason="LibreOffice (soffice) is not on the PATH")
@pytest.mark.parametrize(("name", "language"), [("excel", 1033), ("excel-ptbr", 1046)])
async def test_csv_read_by_a_spreadsheet(
    export: Exporting, stored: list[Row], tmp_path: Path, name: str, language: int
) -> None:
    assert SOFFICE is not None
    dialect = DIALECTS[name]
    (tmp_path / "events.csv").write_bytes(await csv_file(export, dialect))
    process = await asyncio.create_subprocess_exec(
        SOFFICE,
        # A profile of its own: LibreOffice runs once a profile.
        f"-env:UserInstallation=file://{tmp_path}/profile",
        "--headless",
        # The delimiter, double quote, UTF-8, from line 1, all columns as they come, the language, quoted cells are
        # looked at too, dates are known.
        f"--infilter=CSV:{ord(dialect.delimiter)},34,76,1,,{language},false,true",
        "--convert-to",
        "xlsx",
        "--outdir",
        tmp_path,
        tmp_path / "events.csv",
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await process.wait() == 0
    sheet = openpyxl.load_workbook(tmp_path / "events.xlsx").active
    assert "f" not in {cell.data_type for row in sheet.iter_rows() for cell in row}, "a formula got through"
    titles, *rows = sheet.iter_rows(values_only=True)
    assert list(titles) == COLUMNS
    for row, event in zip(rows, stored, strict=True):
        for column, value in zip(COLUMNS, row, strict=True):
            assert _is_shown(value, event[column], dialect.cell(column, event[column])), (column, value, event[column])


def _is_shown(value: Any, stored: Any, cell: str | None) -> bool:
    """Whether a spreadsheet shows what is stored. Its numbers are of 15 digits, its cells have one kind of line end,
    and a text that looks like a number becomes one."""
    match stored:
        case datetime():
            local = stored.astimezone(ZoneInfo(ZONE)).replace(tzinfo=None, microsecond=0)
            return isinstance(value, datetime) and abs(value - local) < timedelta(milliseconds=1)
        case Decimal() | int():
            return isinstance(value, int | float) and value == pytest.approx(float(stored), rel=1e-14)
    if isinstance(value, float):
        return str(value).replace(".", ",") == cell
    return bool((value or "") == re.sub(r"\r\n?", "\n", cell or ""))
