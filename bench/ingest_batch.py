"""Batch ingest over gRPC, each event mapped and stored exactly once, against raw COPY of the same rows."""

import asyncio
import statistics
import time
from contextlib import AsyncExitStack
from io import BytesIO
from typing import Any

import asyncpg

from bench.batches import BATCH_EVENTS, batches, send
from bench.measure import AtLeast, Measurement, ratios, side_by_side, spread
from bench.suite import Bench, running
from services.suite.samples import grapfy_payloads
from shared.db import Connection

EVENTS = 20_000
ROUNDS = 6
_WARM = "warm-up"
# What ingest writes, table by table, taken from the warm-up's events.
_QUERIES = {
    "event_keys": """
        SELECT '{company}', e.source, e.dedup_key, e.event_id, k.payload_sha256
        FROM hookline.events e JOIN hookline.event_keys k USING (company_id, source, dedup_key)""",
    "events": """
        SELECT '{company}', sequence, received_time, occurred_time, event_id, source, platform, type, dedup_key,
               customer_name, product_name, total, currency, payload, platform_type, erase_time
        FROM hookline.events e""",
    "unprocessed": "SELECT '{company}', sequence FROM hookline.events e",
}


async def run() -> Measurement:
    async with running() as bench:
        requests = batches(grapfy_payloads(EVENTS))
        await send(bench.ingest, _WARM, requests, EVENTS)
        await _copy_in(bench, "warm-up-copy")

        async def ingest(number: int) -> float:
            company = f"ingest-{number}"
            speed = await send(bench.ingest, company, requests, EVENTS)
            await bench.check_log(company, EVENTS)
            return speed

        async def copy(number: int) -> float:
            return await _copy_in(bench, f"copy-{number}")

        ours, rival = await side_by_side(ROUNDS, ingest, copy)
        async with asyncpg.create_pool(bench.database_url, min_size=2, max_size=2) as two:
            at_once = [await _copy_in(bench, f"copy-at-once-{number}", two) for number in range(2)]
        return Measurement(
            "ingest_batch",
            statistics.median(ours),
            "events/s",
            "raw COPY into the same indexed tables",
            statistics.median(rival),
            AtLeast(0.7),
            (
                spread("ingest", ours),
                spread("COPY", rival),
                ratios(ours, rival),
                spread("for comparison, COPY over two connections at once", at_once),
            ),
        )


async def _copy_in(bench: Bench, company: str, pool: "asyncpg.Pool[Any] | None" = None) -> float:
    """Copies the warm-up's rows to another company: binary, as prepared as can be, the same three tables, committed
    every thousand events as ingest does. Over one connection, or over all of a pool. Gives events per second."""
    pieces = [
        [(table, await _rows(bench, query, company, start)) for table, query in _QUERIES.items()]
        for start in range(0, EVENTS, BATCH_EVENTS)
    ]
    left = iter(pieces)

    async def copy(connection: Connection) -> None:
        for piece in left:
            async with connection.transaction():
                for table, rows in piece:
                    await connection.copy_to_table(table, schema_name="hookline", source=BytesIO(rows), format="binary")

    began = time.perf_counter()
    if pool is None:
        await copy(bench.database)
    else:
        async with AsyncExitStack() as stack:
            connections = [await stack.enter_async_context(pool.acquire()) for _ in range(pool.get_size())]
            await asyncio.gather(*map(copy, connections))
    seconds = time.perf_counter() - began
    await bench.check_log(company, EVENTS)
    return EVENTS / seconds


async def _rows(bench: Bench, query: str, company: str, start: int) -> bytes:
    rows = BytesIO()
    query = f"{query.format(company=company)} WHERE e.company_id = '{_WARM}' AND e.sequence > {start}"
    await bench.database.copy_from_query(
        f"{query} ORDER BY e.sequence LIMIT {BATCH_EVENTS}", output=rows, format="binary"
    )
    return rows.getvalue()
