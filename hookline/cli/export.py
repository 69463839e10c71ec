"""`hookline export`."""

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click

from hookline.cli.options import Session, filter_options, order_options, session_options, time_zone_option
from hookline.cli.output import Advance, events
from hookline.client import Dialect, ExportOptions, ExportProgress, FileFormat, Filter, HooklineError, Order, Packing

_SUFFIXES: dict[str, FileFormat] = {
    ".csv": "csv",
    ".json": "json",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
}


def _names(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> list[str]:
    # As a line of CSV: a member's name may have a comma in it.
    return [name.strip() for row in csv.reader(values, skipinitialspace=True) for name in row]


@click.command()
@click.option("--format", "chosen", type=click.Choice(get_args(FileFormat)), help="Default: by the file's suffix.")
@click.option("--output", "-o", "path", default="-", metavar="FILE", help='Where to. Default: "-", standard output.')
@click.option("--dialect", type=click.Choice(get_args(Dialect)), help="How a CSV is written. Default: plain.")
@click.option(
    "--columns",
    multiple=True,
    callback=_names,
    metavar="NAME,...",
    help="These columns, in this order: fields of an event, or paths such as payload.utm.source.",
)
@click.option("--portuguese", is_flag=True, help="A CSV's header line and statuses in Portuguese.")
@time_zone_option("The IANA time zone that times are shown in.")
@click.option(
    "--compression", type=click.Choice(get_args(Packing)), default="none", help="On the way only. Default: none."
)
@click.option("--resume", is_flag=True, help="Keep what has come if this breaks, and go on from there next time.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="At most so many events; 0: no limit.",
)
@order_options
@session_options
@filter_options
def export(
    session: Session,
    chosen: FileFormat | None,
    path: str,
    dialect: Dialect | None,
    columns: list[str],
    portuguese: bool,
    time_zone: str,
    compression: Packing,
    resume: bool,
    limit: int,
    order: Order | None,
    where: Filter | None,
) -> None:
    """Write events to a file or to standard output.

    The file is there only when it is whole and has been checked. To standard output, the exit status tells: unless it
    is 0, what came is not everything. A connection that breaks is mended for as long as --patience says. By default
    oldest first, or newest first with --limit.

    \b
    Examples:
      hookline export --company acme -o events.csv
      hookline export --company acme -o vendas.csv --dialect excel-ptbr --portuguese --time-zone America/Sao_Paulo
      hookline export --company acme -o events.parquet --columns event_id,total,currency,payload.utm.source
      hookline export --company acme -o everything.ndjson --compression zstd --resume
      hookline export --company acme --format ndjson --since 2026-01-01 --until 2026-02-01 | gzip > january.gz
    """
    chosen = chosen or _SUFFIXES.get(Path(path).suffix.lower())
    _check(chosen, path, dialect=dialect, portuguese=portuguese, time_zone=time_zone, resume=resume)
    assert chosen
    options = ExportOptions(
        limit=limit,
        order=order,
        columns=columns,
        dialect=dialect or "plain",
        language="portuguese" if portuguese else "english",
        time_zone=time_zone,
        compression=compression,
    )
    if path == "-":
        assert chosen != "parquet"
        stdout = sys.stdout.buffer
        with session.client() as client, session.output.progress("Exporting", to_terminal=True) as advance:
            for piece in client.export(session.company, chosen, where, progress=_showing(advance), **options):
                stdout.write(piece)
            stdout.flush()
        return
    try:
        with session.client() as client, session.output.progress("Exporting") as advance:
            summary = client.export_to_file(
                session.company, chosen, path, where, resume=resume, progress=_showing(advance), **options
            )
    except (HooklineError, KeyboardInterrupt):
        if resume and Path(f"{path}.part.json").exists():
            session.output.note(f"What has come stays in {path}.part: the same command goes on from there.")
        raise
    fields = {"path": path, "rows": summary.rows, "bytes": summary.bytes, "sha256": summary.sha256}
    session.output.summary(
        fields, f"{events(summary.rows)}, {summary.bytes:,} bytes in {path}, SHA-256 {summary.sha256}.", to_stderr=True
    )


def _check(chosen: FileFormat | None, path: str, *, resume: bool, time_zone: str, **csv_options: Any) -> None:
    if chosen is None:
        raise click.UsageError("Which format? Give --format, or a file that ends in .csv, .json, .ndjson or .parquet.")
    for name, given in csv_options.items():
        if given and chosen != "csv":
            raise click.UsageError(f"--{name} goes with CSV only.")
    if path == "-" and (resume or chosen == "parquet"):
        raise click.UsageError(f"{'--resume' if resume else 'Parquet'} needs a file: give -o FILE.")
    if resume and (chosen == "parquet" or (Path(path).exists() and not Path(path).is_file())):
        raise click.UsageError("--resume goes with CSV, JSON and NDJSON to a regular file.")
    if chosen == "parquet" and time_zone:
        raise click.UsageError("--time-zone does not go with Parquet: its times are points in time.")


def _showing(advance: Advance) -> Callable[[ExportProgress], None]:
    def show(progress: ExportProgress) -> None:
        advance(progress.rows / progress.max_rows if progress.max_rows else None, progress.rows)

    return show
