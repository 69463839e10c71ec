"""Exports of 10,000 events, half of them marked, so that the join with their statuses is real."""

from typing import Literal

from bench.batches import batches, send
from bench.exports import Exported, compared
from bench.measure import Measurement
from bench.suite import Bench, running
from hookline.events.v1.events_pb2 import PROCESSING_STATUS_FAILED, PROCESSING_STATUS_PROCESSED
from hookline.ingest.v1.ingest_service_pb2 import MarkEventsRequest
from services.suite.samples import grapfy_payloads

EVENTS = 10_000
ROUNDS = 60
WARM_UP = 5
_COMPANY = "exported"


async def run_csv() -> Measurement:
    return await _run("csv")


async def run_json() -> Measurement:
    return await _run("json")


async def _run(file_format: Literal["csv", "json"]) -> Measurement:
    async with running() as bench:
        which = Exported(_COMPANY, EVENTS, await _fill(bench))
        return await compared(bench, which, file_format, "10k", ROUNDS, WARM_UP)


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
