"""Exports of 10,000 events over gRPC, checked to their trailer, against psql's \\copy of the very same query."""

import statistics
import time

from bench.batches import batches, send
from bench.measure import AtLeast, InexactError, Measurement, side_by_side
from bench.psql import connected
from bench.suite import Bench, running
from hookline.client import AsyncClient
from hookline.client.requests import Format
from hookline.events.v1.events_pb2 import PROCESSING_STATUS_FAILED, PROCESSING_STATUS_PROCESSED
from hookline.ingest.v1.ingest_service_pb2 import MarkEventsRequest
from services.suite.samples import grapfy_payloads
from shared.statements import Statements

EVENTS = 10_000
ROUNDS = 41
WARM_UP = 5
_COMPANY = "exported"
# As the service has them.
_SETTINGS = {"jit": "off", "timezone": "UTC", "search_path": "hookline, public", "default_transaction_read_only": "on"}


async def run_csv() -> Measurement:
    return await _run("csv", "csv_page", "(format csv)", "psql \\copy of the same query", {})


async def run_json() -> Measurement:
    # Quote and delimiter are characters that JSON does not hold: its lines go out as they are, as in the service.
    options = "(format csv, quote E'\\x01', delimiter E'\\x02')"
    return await _run("json", "json_page", options, "psql \\copy of the same JSON", {"before": ","})


async def _run(
    file_format: Format, statement: str, options: str, against: str, parameters: dict[str, str]
) -> Measurement:
    async with running() as bench, connected(bench.psql, bench.database_url, _SETTINGS) as psql:
        last_change = await _fill(bench)
        command = f"\\copy ({_query(statement, last_change, parameters)}) to '/dev/null' with {options}"
        sizes: set[int] = set()

        async def export(number: int) -> float:
            began = time.perf_counter()
            size = await _exported_bytes(bench.client, file_format)
            seconds = time.perf_counter() - began
            sizes.add(size)
            return EVENTS / seconds

        async def copy(number: int) -> float:
            seconds, printed = await psql.seconds(command)
            if printed != [f"COPY {EVENTS}"]:
                raise InexactError(f"psql was to copy {EVENTS} rows, and said {printed}")
            return EVENTS / seconds

        await side_by_side(WARM_UP, export, copy)
        ours, rival = await side_by_side(ROUNDS, export, copy)
        [size] = sizes
        return Measurement(
            f"export_{file_format}_10k",
            statistics.median(ours),
            "rows/s",
            against,
            statistics.median(rival),
            AtLeast(0.9),
            (_described("export", ours, size), _described("psql", rival, size)),
        )


async def _fill(bench: Bench) -> int:
    """Ingests the events, marks one in four as processed and one in four as failed; gives the number of marks."""
    await send(bench.ingest, _COMPANY, batches(grapfy_payloads(EVENTS)), EVENTS)
    await bench.check_log(_COMPANY, EVENTS)
    ids = await bench.database.fetch(
        "SELECT event_id FROM hookline.events WHERE company_id = $1 AND sequence % 2 = 0 ORDER BY sequence", _COMPANY
    )
    marks = [
        MarkEventsRequest.Mark(event_id=str(row["event_id"]), status=PROCESSING_STATUS_FAILED, error="no such plan")
        if number % 2
        else MarkEventsRequest.Mark(event_id=str(row["event_id"]), status=PROCESSING_STATUS_PROCESSED)
        for number, row in enumerate(ids)
    ]
    await bench.client.mark(_COMPANY, marks)
    # What autovacuum would do within a minute, now, rather than in the middle of a measurement.
    await bench.database.execute("VACUUM ANALYZE")
    return len(marks)


def _query(statement: str, last_change: int, parameters: dict[str, str]) -> str:
    """The service's own statement, with no filter and the whole log as one page, in one line as \\copy needs it."""
    no_filter = dict.fromkeys(
        ("types", "sources", "statuses", "occurred_start", "occurred_end", "received_start", "received_end")
    )
    text = Statements("services.export").inlined(
        statement,
        company_id=_COMPANY,
        after=0,
        upto=EVENTS,
        last_change=last_change,
        max_rows=EVENTS,
        **no_filter,
        **parameters,
    )
    return " ".join(text.split())


async def _exported_bytes(client: AsyncClient, file_format: Format) -> int:
    """Exports as a caller does: the client checks every piece, and at the trailer rows and digests. Gives the size."""
    return sum([len(piece) async for piece in client.export(_COMPANY, file_format)])


def _described(name: str, speeds: list[float], size: int) -> str:
    seconds = EVENTS / statistics.median(speeds)
    fastest, slowest = EVENTS / max(speeds), EVENTS / min(speeds)
    return (
        f"{name}: median {seconds * 1000:.1f} ms, {fastest * 1000:.1f} to {slowest * 1000:.1f} ms;"
        f" {size / seconds / 1e6:,.0f} MB/s of {size / 1e6:.1f} MB"
    )
