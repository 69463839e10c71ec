"""`hookline export`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import click

from hookline.cli.options import Session, filter_options, order_options, session_options
from hookline.cli.output import Advance, events
from hookline.client import ExportProgress, Filter, Format, Order

_SUFFIXES: dict[str, Format] = {".csv": "csv", ".json": "json", ".ndjson": "ndjson", ".jsonl": "ndjson"}


@click.command()
@click.option("--format", "chosen", type=click.Choice(get_args(Format)), help="Default: by the file's suffix.")
@click.option("--output", "-o", "path", default="-", metavar="FILE", help='Where to. Default: "-", standard output.')
@click.option("--limit", type=click.IntRange(min=0), default=0, metavar="N", help="At most so many events.")
@order_options
@session_options
@filter_options
def export(
    session: Session, chosen: Format | None, path: str, limit: int, order: Order | None, where: Filter | None
) -> None:
    """Write events to a file or to standard output.

    The file is there only when it is whole and has been checked. To standard output, the exit status tells: unless it
    is 0, what came is not everything. Oldest first, or newest first with --limit, unless told otherwise.

    \b
    Examples:
      hookline export --company acme -o events.csv
      hookline export --company acme --format ndjson --since 2026-01-01 --until 2026-02-01 | gzip > january.gz
      hookline export --company acme -o failed.json --status failed --limit 100 --newest-first
    """
    chosen = chosen or _SUFFIXES.get(Path(path).suffix.lower())
    if chosen is None:
        raise click.UsageError("Which format? Give --format, or a file that ends in .csv, .json or .ndjson.")
    if path == "-":
        _to_stdout(session, chosen, where, limit, order)
        return
    with session.client() as client, session.output.progress("Exporting") as advance:
        summary = client.export_to_file(
            session.company, chosen, path, where, limit=limit, order=order, progress=_showing(advance)
        )
    fields = {"path": path, "rows": summary.rows, "bytes": summary.bytes, "sha256": summary.sha256}
    session.output.summary(
        fields, f"{events(summary.rows)}, {summary.bytes:,} bytes in {path}, SHA-256 {summary.sha256}.", to_stderr=True
    )


def _to_stdout(session: Session, chosen: Format, where: Filter | None, limit: int, order: Order | None) -> None:
    stdout = sys.stdout.buffer
    with session.client() as client, session.output.progress("Exporting", to_terminal=True) as advance:
        pieces = client.export(session.company, chosen, where, limit=limit, order=order, progress=_showing(advance))
        for piece in pieces:
            stdout.write(piece)
        stdout.flush()


def _showing(advance: Advance) -> Callable[[ExportProgress], None]:
    def show(progress: ExportProgress) -> None:
        advance(progress.rows / progress.max_rows if progress.max_rows else None, progress.rows)

    return show
