"""`hookline ingest`."""

import os
import stat
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import asdict
from typing import BinaryIO

import click

from hookline.cli.errors import SET_ASIDE
from hookline.cli.options import Session, request_options, session_options
from hookline.cli.output import events
from hookline.client import HooklineError
from hookline.client.ingest import MAX_BATCH_EVENTS, MAX_PAYLOAD_BYTES, IngestSummary

# One byte more than can be sent tells that a line is too long; the newline may come on top.
_LONGEST_READ = MAX_PAYLOAD_BYTES + 2


class Lines:
    """The lines of a file as payloads, without their newlines; empty ones are left out.

    A line that is too long to be sent is cut, to a length that is still too long, so as not to be held in memory.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._left_out: list[int] = []
        self.bytes_read = 0

    def __iter__(self) -> Iterator[bytes]:
        position = 0
        while line := self._read():
            payload = line.removesuffix(b"\n")
            if payload.strip():
                yield payload
                position += 1
            else:
                self._left_out.append(position)
            while len(line) == _LONGEST_READ and not line.endswith(b"\n"):
                line = self._read()

    def number(self, position: int) -> int:
        """The line's number in the file, from 1, of the payload at that position."""
        return position + 1 + bisect_right(self._left_out, position)

    def _read(self) -> bytes:
        line = self._stream.readline(_LONGEST_READ)
        self.bytes_read += len(line)
        return line


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--platform", default="", metavar="NAME", help="The platform's name. Default: recognised by the shape.")
@click.option("--source", default="", metavar="NAME", help="Where the events come from. Default: the platform's name.")
@click.option(
    "--batch-size",
    type=click.IntRange(1, MAX_BATCH_EVENTS),
    default=500,
    show_default=True,
    help="Events in a batch at most.",
)
@request_options
@session_options
def ingest(
    session: Session,
    file: BinaryIO,
    platform: str,
    source: str,
    batch_size: int,
    headers: dict[str, str],
    query: str,
) -> int:
    """Store events from FILE, one JSON payload a line; "-" is standard input.

    Lines are sent as they are, empty ones are skipped. Running it again is safe: what is stored already is counted as
    a duplicate, and nothing is stored twice. When it fails midway, what was acknowledged is stored. Headers and query
    go with every line.

    \b
    Examples:
      hookline ingest events.ndjson --company acme
      zcat events.ndjson.gz | hookline ingest - --company acme --platform grapfy --source shop-1
      hookline ingest order.json --company acme --platform shopify --header "X-Shopify-Topic: orders/paid"
    """
    lines, size, stored = Lines(file), _size(file), 0
    with session.client() as client, session.output.progress("Storing") as advance:

        def progress(so_far: IngestSummary) -> None:
            nonlocal stored
            stored = so_far.total
            advance(lines.bytes_read / size if size else None, stored)

        try:
            summary = client.ingest_many(
                session.company,
                lines,
                platform,
                source,
                headers=headers,
                query=query,
                batch_size=batch_size,
                progress=progress,
            )
        except HooklineError:
            session.output.note(f"{events(stored)} acknowledged before this; it is safe to run it again.")
            raise
    _tell(session, summary, lines)
    return SET_ASIDE if summary.quarantined or summary.rejected else 0


def _tell(session: Session, summary: IngestSummary, lines: Lines) -> None:
    problems = [
        {"line": lines.number(problem.position), "reason": problem.reason, "message": problem.message}
        for problem in summary.problems
    ]
    for problem in problems:
        session.output.note("line {line}: {reason}: {message}".format(**problem))
    if (more := summary.quarantined + summary.rejected - len(problems)) > 0:
        session.output.note(f"and {more:,} more like these")
    counts = {name: count for name, count in asdict(summary).items() if name != "problems"}
    conflicts = f" ({summary.conflicts:,} with another payload)" if summary.conflicts else ""
    sentence = (
        f"{events(summary.total)}: {summary.accepted:,} accepted, {summary.duplicates:,} duplicate{conflicts}, "
        f"{summary.quarantined:,} quarantined, {summary.rejected:,} rejected."
    )
    session.output.summary({**counts, "problems": problems}, sentence)


def _size(file: BinaryIO) -> int | None:
    """The file's size; None when it is a pipe or the like."""
    try:
        status = os.fstat(file.fileno())
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
