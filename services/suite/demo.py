"""What Hookline does, in a minute: sample events in, the same again, out as files, and a shop's history pulled; on a
suite of its own."""

import asyncio
import csv
import json
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import asyncpg
from rich.console import Console
from rich.table import Table

from hookline.client import AsyncClient, Format, IngestSummary
from services.sandbox.shop import TOKEN, WEBHOOK_SETTING_ID
from services.suite.embedded_postgres import EmbeddedPostgres
from services.suite.ports import free_address
from services.suite.samples import grapfy_payloads
from services.suite.supervisor import Suite
from shared.errors import OperatorError
from shared.settings import load_settings

EVENTS = 10_000
COMPANY = "demo"
SHOP = "demo-shop"
KNOWN = 1_000


class _Report:
    """What happened, how much of it, how long it took, and whether it is what it should be."""

    def __init__(self) -> None:
        self._table = Table("what happened", "count", "seconds", "per second", "as expected", title="Hookline demo")
        for column in self._table.columns[1:4]:
            column.justify = "right"
        self.holds = True

    def add(self, what: str, count: int, expected: int, seconds: float | None = None) -> None:
        self.holds &= count == expected
        took, rate = ("", "") if seconds is None else (f"{seconds:.2f}", f"{count / seconds:,.0f}")
        self._table.add_row(what, f"{count:,}", took, rate, "yes" if count == expected else f"no: {expected:,}")

    def print(self) -> None:
        Console().print(self._table)


def run() -> int:
    """Runs the demo and prints a table. Returns 0 when everything came out as it should, else 1."""
    return asyncio.run(_run())


async def _run() -> int:
    demo = asyncio.create_task(_demo())
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, demo.cancel)
    with suppress(asyncio.CancelledError):
        return await demo
    return 130


async def _demo() -> int:
    report = _Report()
    with tempfile.TemporaryDirectory(prefix="hookline-demo-") as folder:
        data_dir = Path(folder) / "data"
        settings = load_settings(
            data_dir=data_dir,
            ingest_address=free_address(),
            sync_address=free_address(),
            export_address=free_address(),
            http_address=free_address(),
            sandbox_address=free_address(),
            allow_loopback_sources=True,
            # Whatever the environment says: it makes its calls as a newcomer does.
            require_tokens=False,
        )
        try:
            started = time.perf_counter()
            async with Suite(settings, embedded=True) as suite:
                report.add("services healthy", len(suite.services), len(suite.services), time.perf_counter() - started)
                addresses = suite.addresses
                async with AsyncClient(addresses["ingest"], addresses["export"], addresses["sync"]) as client:
                    await _ingest(client, report)
                    await _export(client, Path(folder), report)
                    await _sync(client, f"http://{addresses['sandbox']}", report)
                await _check_database(suite.database_url, report)
        finally:
            await EmbeddedPostgres(data_dir).destroy()
    report.print()
    if not report.holds:
        raise OperatorError("The demo did not come out as it should.")
    return 0


async def _ingest(client: AsyncClient, report: _Report) -> None:
    payloads = list(grapfy_payloads(EVENTS))
    rounds: dict[str, Callable[[IngestSummary], int]] = {
        "events sent: stored": lambda summary: summary.accepted,
        "the same again: duplicates": lambda summary: summary.duplicates,
    }
    for what, count in rounds.items():
        started = time.perf_counter()
        summary = await client.ingest_many(COMPANY, payloads, platform="grapfy")
        report.add(what, count(summary), EVENTS, time.perf_counter() - started)


async def _export(client: AsyncClient, folder: Path, report: _Report) -> None:
    readers: dict[Format, Callable[[Path], int]] = {"csv": _csv_rows, "json": _json_rows}
    for file_format, read in readers.items():
        file = folder / f"events.{file_format}"
        started = time.perf_counter()
        await client.export_to_file(COMPANY, file_format, file)
        took = time.perf_counter() - started
        report.add(f"exported as {file_format.upper()}: rows", await asyncio.to_thread(read, file), EVENTS, took)


def _csv_rows(file: Path) -> int:
    with file.open(newline="", encoding="utf-8") as lines:
        return sum(1 for _ in csv.DictReader(lines))


def _json_rows(file: Path) -> int:
    return len(json.loads(file.read_bytes()))


async def _sync(client: AsyncClient, shop: str, report: _Report) -> None:
    """Pulls the sandbox shop's history, of which the company knows the first events already."""
    await client.ingest_many(SHOP, list(grapfy_payloads(KNOWN)), platform="grapfy", source="shop")
    await client.create_source(
        SHOP,
        "shop",
        platform="grapfy",
        base_url=shop,
        credential=TOKEN,
        parameters={"webhookSettingId": WEBHOOK_SETTING_ID},
    )
    started = time.perf_counter()
    run = (await client.trigger_sync(SHOP, "shop", days_back=30)).run
    async for state in client.watch_run(SHOP, run.run_id):
        run = state
    report.add("pulled from the sandbox shop", run.counts.fetched, EVENTS, time.perf_counter() - started)
    report.add("of them new", run.counts.accepted, EVENTS - KNOWN)
    report.add("of them known", run.counts.duplicates, KNOWN)


async def _check_database(database_url: str, report: _Report) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        stored, last = await connection.fetchrow(
            "SELECT count(DISTINCT dedup_key), max(sequence) FROM hookline.events WHERE company_id = $1", COMPANY
        )
    finally:
        await connection.close()
    report.add("distinct events in PostgreSQL", stored, EVENTS)
    report.add("last number in the company's log", last, EVENTS)
