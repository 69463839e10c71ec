"""Which of what lies in quarantine a command means."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from hookline.cli.options import Session
from hookline.client import QuarantineFilter
from hookline.client.quarantine import REASONS


@dataclass(frozen=True)
class Selection:
    """Ids, or a filter. `is_agreed`: nobody needs to be asked."""

    which: tuple[str, ...] | QuarantineFilter
    is_agreed: bool

    @property
    def is_by_id(self) -> bool:
        """Whether each is named."""
        return not isinstance(self.which, QuarantineFilter)

    @property
    def words(self) -> str:
        """What is meant, for a person to agree to."""
        if not isinstance(self.which, QuarantineFilter):
            return ", ".join(self.which)
        where = (("source", self.which.source), ("platform", self.which.platform), ("reason", self.which.reason))
        given = " and ".join(f"{name} {value}" for name, value in where if value)
        return f"everything in quarantine of {given}" if given else "everything in quarantine"

    def part(self, done: int) -> float | None:
        """The part that is done, if known."""
        return None if isinstance(self.which, QuarantineFilter) else done / len(self.which)


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that choose by what is known of it, given to the command as `where`."""

    @click.option("--source", default="", metavar="NAME", help="From this source.")
    @click.option("--platform", default="", metavar="NAME", help="Of this platform.")
    @click.option(
        "--reason",
        type=_reason,
        metavar="REASON",
        help="Set aside for this reason, such as TYPE_MISSING.",
    )
    @functools.wraps(command)
    def with_filter(session: Session, source: str, platform: str, reason: str | None, **others: Any) -> Any:
        return command(session, where=QuarantineFilter(source, platform, reason or ""), **others)

    return with_filter


def selection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ids and filters, given to the command as `selection`."""

    @click.argument("ids", nargs=-1, metavar="[IDS]...")
    @click.option("--all", "everything", is_flag=True, help="All that lies there.")
    @click.option("--yes", "-y", is_flag=True, help="Don't ask, where many may be meant.")
    @filter_options
    @functools.wraps(command)
    def with_selection(
        session: Session, ids: tuple[str, ...], everything: bool, yes: bool, where: QuarantineFilter, **others: Any
    ) -> Any:
        by_filter = where != QuarantineFilter()
        if bool(ids) + by_filter + everything != 1:
            raise click.UsageError("Which? Give ids, or one or more of --source, --platform and --reason, or --all.")
        return command(session, selection=Selection(ids or where, is_agreed=yes or bool(ids)), **others)

    return with_selection


def _reason(value: str) -> str:
    if value.upper() not in REASONS:
        raise click.BadParameter(f"{value!r} is none of {', '.join(REASONS)}.")
    return value.upper()
