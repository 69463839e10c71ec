"""What a hundred thousand events take on disk, with all that belongs to them, against their payloads as they came."""

from bench.batches import batches, send
from bench.measure import AtMostTimes, Measurement
from bench.suite import running
from services.suite.samples import grapfy_payloads

EVENTS = 100_000
_COMPANY = "stored"
# Each table with its indexes and what lies outside of its rows; of events, all partitions.
_SIZES = """
    SELECT coalesce(p.inhparent, c.oid)::regclass::text AS table,
           sum(pg_table_size(c.oid))::bigint AS rows, sum(pg_indexes_size(c.oid))::bigint AS indexes
    FROM pg_class c LEFT JOIN pg_inherits p ON p.inhrelid = c.oid
    WHERE c.relkind = 'r' AND coalesce(p.inhparent, c.oid) = ANY ($1::regclass[]::oid[])
    GROUP BY 1 ORDER BY sum(pg_total_relation_size(c.oid)) DESC
"""
_TABLES = ["hookline.events", "hookline.event_keys", "hookline.unprocessed", "hookline.companies"]


async def run() -> Measurement:
    payloads = list(grapfy_payloads(EVENTS))
    async with running() as bench:
        await send(bench.ingest, _COMPANY, batches(payloads), EVENTS)
        await bench.check_log(_COMPANY, EVENTS)
        # What waits in the lists of the GIN indexes goes where it belongs, as it does within minutes.
        await bench.database.execute("VACUUM ANALYZE")
        tables = await bench.database.fetch(_SIZES, _TABLES)
    sent = sum(map(len, payloads))
    stored = sum(table["rows"] + table["indexes"] for table in tables)
    return Measurement(
        "storage_hot",
        stored / 1e6,
        "MB",
        "the payloads as they came",
        sent / 1e6,
        AtMostTimes(3),
        [
            f"{table['table']}: {table['rows'] / EVENTS:.0f} bytes an event, {table['indexes'] / EVENTS:.0f} in indexes"
            for table in tables
        ]
        + [f"a payload has {sent / EVENTS:.0f} bytes"],
    )
