"""Which benchmarks there are. A new one is one more entry."""

from collections.abc import Awaitable, Callable, Mapping

from bench import cpu_100k_day, export_10k, ingest_batch, ingest_duplicates, ingest_http, ingest_unary, sync_100k
from bench.measure import Measurement

BENCHMARKS: Mapping[str, Callable[[], Awaitable[Measurement]]] = {
    "ingest_batch": ingest_batch.run,
    "ingest_unary": ingest_unary.run,
    "ingest_http": ingest_http.run,
    "ingest_duplicates": ingest_duplicates.run,
    "export_csv_10k": export_10k.run_csv,
    "export_json_10k": export_10k.run_json,
    "sync_100k": sync_100k.run,
    "cpu_100k_day": cpu_100k_day.run,
}
