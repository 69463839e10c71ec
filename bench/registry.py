"""Which benchmarks there are. A new one is one more entry."""

from collections.abc import Awaitable, Callable, Mapping

from bench import export_10k, ingest_batch, ingest_duplicates, ingest_unary
from bench.measure import Measurement

BENCHMARKS: Mapping[str, Callable[[], Awaitable[Measurement]]] = {
    "ingest_batch": ingest_batch.run,
    "ingest_unary": ingest_unary.run,
    "ingest_duplicates": ingest_duplicates.run,
    "export_csv_10k": export_10k.run_csv,
    "export_json_10k": export_10k.run_json,
}
