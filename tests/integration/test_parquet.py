"""Parquet files made of real exports, read back by others' readers: what was stored, to the last digit."""

import asyncio
import json
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hookline.client import AsyncClient, Client, ExportSummary, Filter, HooklineError
from hookline.client import parquet as making
from tests.exports import NDJSON, exact, exported
from tests.in_process import Exporting, Ingesting
from tests.samples import grapfy, send

EVENTS = [
    grapfy(1),
    grapfy(2, customer={"name": "=cmd|' /C calc'!A0"}, product={"name": "+1"}, total=None),
    grapfy(3, customer={"name": 'Zoë 👩‍👩‍👧 "quoted", line\nend'}, total="123456789012345678.123456789012345678"),
    grapfy(4, huge=2**53 + 1, larger=10**40, small=Decimal("0.1").__float__(), empty="", nothing=None),
    grapfy(5, customer=None, product=None, total=0, utm={"source": "instagram", "tags": [1, "a", None, {"b": "é"}]}),
    grapfy(6, utm={"source": None}, total=-1.5, createdAt="1999-12-31T23:59:59.999999-03:00"),
    grapfy(7, utm={"source": ""}, text="a\u2028b\\u0041 \\ / \t"),
]
TIMES = ("occurred_time", "received_time")


def plain(event: dict[str, Any]) -> dict[str, Any]:
    """An event of an NDJSON export as a Parquet row should have it."""
    row = {name: int(value) if name == "sequence" else value for name, value in event.items() if name != "payload"}
    row["total"] = None if event["total"] is None else Decimal(event["total"])
    return row | {name: datetime.fromisoformat(event[name]) for name in TIMES}


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def file(export: Exporting, path: Path, where: Filter | None = None, **options: Any) -> ExportSummary:
    async with AsyncClient(export=export.address) as client:
        return await client.export_to_file("acme", "parquet", path, where, **options)


async def test_everything_that_was_stored(ingest: Ingesting, export: Exporting, tmp_path: Path) -> None:
    await send(ingest.stub, "acme", EVENTS)
    expected = (await exported(export.export, "acme", NDJSON)).json()
    path = tmp_path / "events.parquet"
    summary = await file(export, path)
    assert (summary.rows, summary.bytes) == (len(EVENTS), path.stat().st_size)
    table = pq.read_table(path)
    assert table.schema.field("sequence").type == pa.int64()
    assert table.schema.field("total").type == pa.decimal128(38, 18)
    assert {table.schema.field(name).type for name in TIMES} == {pa.timestamp("us", tz="UTC")}
    rows = table.to_pylist()
    payloads = [exact(row.pop("payload")) for row in rows]
    assert rows == [plain(event) for event in expected]
    assert payloads == [event["payload"] for event in expected]
    # Nothing is defused: a spreadsheet does not read this.
    assert rows[1]["customer_name"] == "=cmd|' /C calc'!A0"
    assert rows[4]["customer_name"] is None
    metadata = pq.read_metadata(path).metadata
    assert {name: metadata[f"hookline.{name}".encode()] for name in ("rows", "last_sequence", "last_change")} == {
        "rows": b"7",
        "last_sequence": b"7",
        "last_change": b"0",
    }


async def test_another_reader_sees_the_same(ingest: Ingesting, export: Exporting, tmp_path: Path) -> None:
    await send(ingest.stub, "acme", EVENTS)
    expected = (await exported(export.export, "acme", NDJSON)).json()
    path = tmp_path / "events.parquet"
    await file(export, path)
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        found = database.execute(
            "SELECT sequence, customer_name, total, occurred_time::text, payload, payload->>'huge' FROM read_parquet(?)"
            " ORDER BY sequence",
            [str(path)],
        ).fetchall()
        total = database.execute("SELECT sum(total) FROM read_parquet(?)", [str(path)]).fetchone()
    for (sequence, customer, amount, occurred, payload, huge), event in zip(found, expected, strict=True):
        row = plain(event)
        assert (sequence, customer, amount) == (row["sequence"], row["customer_name"], row["total"])
        assert datetime.fromisoformat(occurred) == row["occurred_time"].astimezone(UTC)
        assert exact(payload) == event["payload"]
        assert huge == (None if sequence != 4 else str(2**53 + 1))
    with localcontext(prec=60):
        assert total == (sum(Decimal(event["total"]) for event in expected if event["total"] is not None),)


async def test_columns_and_paths(ingest: Ingesting, export: Exporting, tmp_path: Path) -> None:
    await send(ingest.stub, "acme", EVENTS)
    columns = ["payload.utm.source", "total", "payload.utm.tags", "payload.huge", "payload.larger", "payload.empty"]
    columns.append("erase_time")
    path = tmp_path / "events.parquet"
    await file(export, path, Filter(types=["order_approved"]), columns=columns, compression="zstd")
    table = pq.read_table(path)
    assert table.column_names == columns
    assert table.schema.field("erase_time").type == pa.timestamp("us", tz="UTC")
    found = {name: table[name].to_pylist() for name in columns}
    assert found["payload.utm.source"] == [None, None, None, None, "instagram", None, ""]
    assert json.loads(found["payload.utm.tags"][4]) == [1, "a", None, {"b": "é"}]
    assert found["payload.huge"] == [None, None, None, str(2**53 + 1), None, None, None]
    assert found["payload.larger"][3] == str(10**40)
    assert found["payload.empty"] == [None, None, None, "", None, None, None]


async def test_many_rows_in_groups(
    ingest: Ingesting, export: Exporting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "BATCH_BYTES", 100_000)
    monkeypatch.setattr(making, "ROW_GROUP_BYTES", 500_000)
    await send(ingest.stub, "acme", [grapfy(number, x="é" * (number % 700)) for number in range(3000)])

    def get() -> None:
        with Client(export=export.address) as client:
            client.export_to_file("acme", "parquet", tmp_path / "events.parquet")

    await asyncio.to_thread(get)
    file = pq.ParquetFile(tmp_path / "events.parquet")
    assert file.num_row_groups > 3
    assert file.read(["sequence"])["sequence"].to_pylist() == list(range(1, 3001))
    assert {file.metadata.row_group(0).column(number).compression for number in range(16)} == {"ZSTD"}


async def test_no_events(export: Exporting, tmp_path: Path) -> None:
    summary = await file(export, tmp_path / "events.parquet")
    table = pq.read_table(tmp_path / "events.parquet")
    assert (summary.rows, table.num_rows, table.num_columns) == (0, 0, 16)


@pytest.mark.parametrize("least", ["0.0000000000000000001", "999999999999999999.0000000000000000001"])
async def test_a_total_that_would_lose_digits(ingest: Ingesting, export: Exporting, tmp_path: Path, least: str) -> None:
    totals = ["1.0000000000000000000", least]
    await send(ingest.stub, "acme", [grapfy(number, total=total) for number, total in enumerate(totals)])
    path = tmp_path / "events.parquet"
    with pytest.raises(HooklineError, match="has more than the 18 decimals"):
        await file(export, path)
    assert names(tmp_path) == []
    assert (await file(export, path, Filter(max_total="1", min_total="1"))).rows == 1
    assert (await file(export, path, columns=["payload.total"])).rows == 2
    assert pq.read_table(path)["payload.total"].to_pylist() == totals
