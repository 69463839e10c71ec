"""Which benchmarks there are. A new one is one more entry."""

from collections.abc import Awaitable, Callable, Mapping

from bench import (
    cpu_100k_day,
    export_1m,
    export_10k,
    ingest_batch,
    ingest_duplicates,
    ingest_http,
    ingest_unary,
    limit_neighbour,
    queries,
    storage_hot,
    sync_100k,
)
from bench.filled import Filled
from bench.measure import Measurement

OnManyEvents = Callable[[Filled], Awaitable[Measurement]]

BENCHMARKS: Mapping[str, Callable[[], Awaitable[Measurement]]] = {
    "ingest_batch": ingest_batch.run,
    "ingest_unary": ingest_unary.run,
    "ingest_http": ingest_http.run,
    "ingest_duplicates": ingest_duplicates.run,
    "export_csv_10k": export_10k.run_csv,
    "export_json_10k": export_10k.run_json,
    "limit_neighbour": limit_neighbour.run,
    "sync_100k": sync_100k.run,
    "cpu_100k_day": cpu_100k_day.run,
    "storage_hot": storage_hot.run,
}
ON_MANY_EVENTS: Mapping[str, OnManyEvents] = {
    "export_memory": export_1m.run_memory,
    "export_csv_1m": export_1m.run_csv,
    "export_json_1m": export_1m.run_json,
    "export_first_chunk": export_1m.run_first_chunk,
    **queries.QUERIES,
}
"""Those that share a database with a million events, and the services on it. The one on memory comes first: what others
have made a service grow by would be no growth any more."""
FULL: Mapping[str, OnManyEvents] = {
    "export_memory": export_1m.run_memory_full,
    "export_csv_10m": export_1m.run_csv_10m,
    "export_json_10m": export_1m.run_json_10m,
    **queries.QUERIES_10M,
}
"""What a full run has instead, and what it has more."""
