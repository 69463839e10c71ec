"""What only a terminal can show. The one module that imports rich; itself imported only when needed."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from hookline.cli.output import Advance, View, percent, printable

_PADDING = 2
_INDENTED = (0, 0, 0, 2)
_BLOCK = 1000
"""Rows that are held, and shown as a table: there may be millions."""
_LEAST = 8
"""Columns of characters that are left to what is broken into lines."""


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table on stdout; after many rows another one, titles and all. Cells are shown as they are, not read as
    markup."""
    console, left = Console(), iter(rows)
    block = list(islice(left, _BLOCK))
    _print(console, titles, block)
    while block := list(islice(left, _BLOCK)):
        _print(console, titles, block)


def _print(console: Console, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(cell_len, column)) for column in zip(titles, *rows, strict=True)]
    whole = _kept_whole(titles, widths, console.width)
    shown = Table(box=None, header_style="bold", pad_edge=False)
    for title in titles:
        shown.add_column(title, overflow="fold", no_wrap=title in whole)
    for row in rows:
        shown.add_row(*(Text(cell) for cell in row))
    console.print(shown)


def _kept_whole(titles: Sequence[str], widths: Sequence[int], room: int) -> set[str]:
    """The columns that are not broken into lines: ids, which are there to be copied, and then the narrowest, for as
    long as some room is left for each of the others."""
    whole: set[str] = set()
    left = room - sum(min(width, _LEAST) + _PADDING for width in widths)
    for title, width in sorted(
        zip(titles, widths, strict=True), key=lambda each: (not each[0].endswith(" ID"), each[1])
    ):
        more = width - min(width, _LEAST)
        if more <= left:
            whole.add(title)
            left -= more
    return whole


@contextmanager
def progress(label: str) -> Iterator[Advance]:
    """Shows a bar, the number of events and their rate on stderr, and takes it away at the end."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[events]:,} events"),
        TextColumn("{task.fields[rate]:,.0f}/s"),
    )
    started = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None, events=0, rate=0)

        def advance(part: float | None, events: int) -> None:
            rate = events / max(time.monotonic() - started, 1e-9)
            if part is None:
                bar.update(task, events=events, rate=rate)
            else:
                bar.update(task, total=1, completed=part, events=events, rate=rate)

        yield advance


@contextmanager
def live(view: Callable[[], View]) -> Iterator[None]:
    """Shows on stderr what changes by itself, and takes it away at the end."""
    spinner = Spinner("dots")
    with Live(
        get_renderable=lambda: rendered(view(), spinner),
        console=Console(stderr=True),
        refresh_per_second=8,
        transient=True,
    ):
        yield


def rendered(view: View, spinner: Spinner) -> Group:
    """What goes on as a few lines, with a bar where the part done is known. Texts are shown as they are, not read as
    markup, and without what a terminal would obey."""
    head = Table.grid(padding=(0, 1))
    head.add_row(spinner, Text(printable(view.head)))
    lines: list[RenderableType] = [head]
    if view.part is not None:
        bar = Table.grid(padding=(0, 1), expand=True)
        bar.add_column(ratio=1)
        bar.add_column(justify="right", no_wrap=True)
        said = " · ".join(each for each in (percent(view.part), view.eta) if each)
        bar.add_row(ProgressBar(total=1, completed=view.part), Text(said))
        lines.append(Padding(bar, _INDENTED))
    lines += [Padding(Text(printable(each)), _INDENTED) for each in (view.counts, view.error) if each]
    return Group(*lines)
