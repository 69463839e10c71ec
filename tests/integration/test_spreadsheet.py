"""A spreadsheet opens the CSV: the right columns, the right cells, accents and all."""

import asyncio
import shutil
from pathlib import Path

import openpyxl
import pytest

from tests.exports import CSV, exported
from tests.in_process import Exporting, Ingesting
from tests.samples import grapfy, send

SOFFICE = shutil.which("soffice")
# Comma, double quote, UTF-8, from the first line on.
FILTER = "CSV:44,34,76,1"
ROWS = [
    ("order_approved", "Ana Conceição", "Curso de Violão", 1169.8),
    ("pix_created", 'João "Zé" Araújo, filho', "Pão\nde Fermentação", 0.5),
    ("order_refunded", "=cmd|' /C calc'!A0", "🦩 Flamingo", -10),
]


@pytest.mark.skipif(SOFFICE is None, reason="LibreOffice (soffice) is not on the PATH")
async def test_libreoffice_reads_the_columns_and_the_accents(
    ingest: Ingesting, export: Exporting, tmp_path: Path
) -> None:
    assert SOFFICE is not None
    events = [
        grapfy(number, eventType=kind, customer={"name": customer}, product={"name": product}, total=total)
        for number, (kind, customer, product, total) in enumerate(ROWS)
    ]
    await send(ingest.stub, "acme", events)
    file = await exported(export.export, "acme", CSV)
    (tmp_path / "events.csv").write_bytes(file.data)
    process = await asyncio.create_subprocess_exec(
        SOFFICE,
        # A profile of its own: LibreOffice runs once a profile.
        f"-env:UserInstallation=file://{tmp_path}/profile",
        "--headless",
        f"--infilter={FILTER}",
        "--convert-to",
        "xlsx",
        "--outdir",
        tmp_path,
        tmp_path / "events.csv",
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await process.wait() == 0
    sheet = openpyxl.load_workbook(tmp_path / "events.xlsx").active
    titles, *rows = sheet.iter_rows(values_only=True)
    assert list(titles) == list(file.header.columns)
    cells = [dict(zip(titles, row, strict=True)) for row in rows]
    assert [(row["type"], row["customer_name"], row["product_name"], row["total"]) for row in cells] == [
        (kind, f"'{customer}" if customer[0] == "=" else customer, product, total)
        for kind, customer, product, total in ROWS
    ]
    assert {row["currency"] for row in cells} == {"BRL"}
    assert {row["source"] for row in cells} == {"grapfy"}
    assert {row["status"] for row in cells} == {"pending"}
