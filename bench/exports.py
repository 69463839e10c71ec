"""An export over gRPC, checked to its trailer, against psql's \\copy of the very same query as one page."""

import statistics
import time
from dataclasses import dataclass
from typing import Literal

from bench.measure import AtLeast, InexactError, Measurement, ratios, side_by_side
from bench.psql import connected
from bench.suite import Bench
from services.export import formats, page_store
from services.export.filters import Filter
from services.export.store import Span

# As the service has them.
_SETTINGS = {
    "jit": "off",
    "timezone": "UTC",
    "search_path": "hookline, public",
    "default_transaction_read_only": "on",
    "max_parallel_workers_per_gather": "0",
    "random_page_cost": "1.1",
}
_FORMATS = {"csv": formats.csv_format(), "json": formats.json_format()}
_AGAINST = {"csv": "psql \\copy of the same query", "json": "psql \\copy of the same JSON"}


@dataclass(frozen=True)
class Exported:
    """A company's whole log, to be exported. `last_change` is that of its statuses."""

    company: str
    events: int
    last_change: int


async def compared(
    bench: Bench, which: Exported, file_format: Literal["csv", "json"], name: str, rounds: int, warm_up: int
) -> Measurement:
    """Measures both in turns. Raises InexactError when psql does not give each event once; the client does so itself
    when the export is not whole."""
    command = _command(which, file_format)
    sizes: set[int] = set()

    async def export(number: int) -> float:
        began = time.perf_counter()
        # As a caller does: the client checks every piece, and at the trailer rows and digests.
        size = sum([len(piece) async for piece in bench.client.export(which.company, file_format)])
        seconds = time.perf_counter() - began
        sizes.add(size)
        return which.events / seconds

    async with connected(bench.psql, bench.database_url, _SETTINGS) as psql:

        async def copy(number: int) -> float:
            seconds, printed = await psql.seconds(command)
            if printed != [f"COPY {which.events}"]:
                raise InexactError(f"psql was to copy {which.events} rows, and said {printed}")
            return which.events / seconds

        await side_by_side(warm_up, export, copy)
        ours, rival = await side_by_side(rounds, export, copy)
    [size] = sizes
    return Measurement(
        f"export_{file_format}_{name}",
        statistics.median(ours),
        "rows/s",
        _AGAINST[file_format],
        statistics.median(rival),
        AtLeast(0.9),
        (
            _described("export", which.events, ours, size),
            _described("psql", which.events, rival, size),
            ratios(ours, rival),
        ),
    )


def _command(which: Exported, file_format: Literal["csv", "json"]) -> str:
    """The service's own statement, with no filter and the whole log as one page, in one line as \\copy needs it."""
    query = page_store.page_query(
        which.company,
        _FORMATS[file_format],
        Span(0, which.events),
        which.last_change,
        Filter(),
        newest_first=False,
        limit=which.events,
    )
    quote = f", quote {_escaped(query.quote)}" if query.quote else ""
    options = f"format csv, delimiter {_escaped(query.delimiter)}{quote}"
    return f"\\copy ({' '.join(query.text.split())}) to '/dev/null' with ({options})"


def _escaped(character: str) -> str:
    return f"E'\\x{ord(character):02x}'"


def _described(name: str, events: int, speeds: list[float], size: int) -> str:
    seconds = events / statistics.median(speeds)
    fastest, slowest = events / max(speeds), events / min(speeds)
    return (
        f"{name}: median {seconds * 1000:.1f} ms, {fastest * 1000:.1f} to {slowest * 1000:.1f} ms;"
        f" {size / seconds / 1e6:,.0f} MB/s of {size / 1e6:.1f} MB"
    )
