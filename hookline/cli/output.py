"""The one sink for what a command says: results to stdout, all else to stderr, for people or as JSON."""

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import click

from hookline.cli import exact_json
from hookline.cli.errors import Failure

Advance = Callable[[float | None, int], None]
"""Shows how far it is: the part done, between 0 and 1, if known; and the number of events."""


@dataclass(frozen=True)
class View:
    """Something that goes on, as a terminal shows it: in words, the part done, between 0 and 1, if known, with what is
    said beside its bar; what was counted; and what is wrong, if anything."""

    head: str
    part: float | None
    eta: str
    counts: str
    error: str


class Output:
    """Says things. `as_json`: results are JSON, one object a line, and nothing else is said but errors, which are JSON
    on stderr. `quiet`: no progress, notes or summaries; results that were asked for, and errors, are still given."""

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        self.as_json = as_json
        self._quiet = quiet

    def record(self, fields: Mapping[str, Any], indent: int = 0) -> None:
        """Gives a result as a JSON object, in UTF-8 whatever the locale."""
        click.echo(exact_json.dumps(fields, indent).encode())

    def text(self, text: str) -> None:
        """Gives a result that is a text, to the last character; on a terminal without what that would obey."""
        if sys.stdout.isatty():
            text = "\n".join(printable(line.expandtabs()) for line in text.splitlines())
        click.echo(text.encode(), nl=not text.endswith("\n"))

    def table(self, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Gives results to people: a table on a terminal, else lines of tab-separated cells under their titles."""
        safe = ([printable(cell) for cell in row] for row in rows)
        if sys.stdout.isatty():
            _terminal().table(titles, safe)
            return
        # The first row is asked for before the titles are given: should that fail, nothing has been said.
        first = [row for row in (next(safe, None),) if row]
        for row in chain([list(titles)], first, safe):
            click.echo("\t".join(row).encode())

    def summary(self, fields: Mapping[str, Any], sentence: str, *, to_stderr: bool = False) -> None:
        """Gives what the command comes to, as JSON or as a sentence."""
        if self.as_json:
            self.record(fields)
        elif not self._quiet:
            click.echo(printable(sentence), err=to_stderr)

    def note(self, text: str) -> None:
        """Tells people something in passing."""
        if not (self.as_json or self._quiet):
            click.echo(printable(text), err=True)

    @contextmanager
    def progress(self, label: str, *, to_terminal: bool = False) -> Iterator[Advance]:
        """Shows a bar on stderr while the block runs, if that is a terminal. `to_terminal`: stdout is being written to
        as well, so that a bar would get in between if that is one too."""
        hidden = self.as_json or self._quiet or not sys.stderr.isatty() or (to_terminal and sys.stdout.isatty())
        if hidden:
            yield lambda _part, _events: None
            return
        with _terminal().progress(label) as advance:
            yield advance

    @contextmanager
    def live(self, view: Callable[[], View]) -> Iterator[bool]:
        """Shows a view on stderr while the block runs, asking for it several times a second, if that is a terminal.
        Gives whether it does; nothing else may be said meanwhile when it does."""
        if self.as_json or self._quiet or not sys.stderr.isatty():
            yield False
            return
        with _terminal().live(view):
            yield True


def fail(failure: Failure, *, as_json: bool) -> None:
    """Tells an error, on stderr."""
    if as_json:
        body = {"kind": failure.kind, "message": failure.message, "exit_status": failure.exit_status}
        click.echo(exact_json.dumps({"error": body | failure.details}).encode(), err=True)
        return
    for line in failure.details.get("trace", ()):
        click.echo(line, err=True, nl=False)
    click.echo(f"Error: {printable(failure.message)}", err=True)


def events(count: int) -> str:
    """The number of events in words."""
    return counted(count, "event", "events")


def counted(count: int, one: str, many: str) -> str:
    """A number with its noun."""
    return f"{count:,} {one if count == 1 else many}"


def percent(part: float) -> str:
    """A part of the whole; 100 only when all is done."""
    return f"{int(part * 100)} %"


def printable(text: str) -> str:
    """The text without what a terminal would obey or a table break at: payloads come from strangers."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _terminal() -> Any:
    # Not imported above: rich takes longer to load than many a command to run, and pipes never need it.
    return importlib.import_module("hookline.cli.terminal")
