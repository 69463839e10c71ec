"""`hookline summary`."""

from collections.abc import Sequence
from datetime import UTC, tzinfo
from typing import Any, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

from hookline.cli.messages import money, time_of
from hookline.cli.options import Session, lasting_filter_options, session_options, time_zone_option
from hookline.cli.output import counted
from hookline.client import Filter, Group, SummarizeEventsResponse

_NAMES: tuple[Group, ...] = get_args(Group)
_FIELDS = {"type": "type", "source": "source", "product": "product_name", "platform": "platform"}
_TIMES = {"hour": "%Y-%m-%d %H:%M", "day": "%Y-%m-%d"}


def _groups(_context: click.Context, _option: click.Parameter, value: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    for name in names:
        if name not in _NAMES:
            raise click.BadParameter(f"{name!r} is none of {', '.join(_NAMES)}.")
    return names


@click.command()
@click.option(
    "--by",
    default="",
    callback=_groups,
    metavar="GROUP,...",
    help=f"At most 3 of {', '.join(_NAMES)}. Default: one group of all.",
)
@time_zone_option("The IANA time zone whose hours and days are meant.")
@session_options
@lasting_filter_options
def summary(session: Session, by: tuple[Group, ...], time_zone: str, where: Filter | None) -> None:
    """Count events and add up their totals, exactly, in groups. With --json, an object for each group.

    \b
    Examples:
      hookline summary --company acme --by day,type --time-zone America/Sao_Paulo
      hookline summary --company acme --by product --type order_approved --since 2026-01-01 --json
    """
    with session.client() as client:
        found = client.summarize(session.company, where, by=by, time_zone=time_zone)
    # In the order in which the server sorts them, whatever the order asked for.
    columns = [name for name in _NAMES if name in by]
    if session.output.as_json:
        for group in found.groups:
            session.output.record(_fields(group, columns) | {"last_sequence": found.last_sequence})
        return
    zone = _zone(time_zone)
    titles = [*(name.upper() for name in columns), "EVENTS", "TOTAL"]
    session.output.table(titles, (_row(group, columns, zone) for group in found.groups))
    session.output.note(f"{counted(len(found.groups), 'group', 'groups')}, of the events up to {found.last_sequence}.")


def _fields(group: SummarizeEventsResponse.Group, columns: Sequence[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {
        _FIELDS.get(name, name): getattr(group, _FIELDS[name]) if name in _FIELDS else time_of(group, "start_time")
        for name in columns
    }
    totals = [{"amount": total.amount, "currency": total.currency or None} for total in group.totals]
    return fields | {"count": group.count, "totals": totals}


def _row(group: SummarizeEventsResponse.Group, columns: Sequence[str], zone: tzinfo) -> list[str]:
    cells = [
        getattr(group, _FIELDS[name])
        if name in _FIELDS
        else group.start_time.ToDatetime(UTC).astimezone(zone).strftime(_TIMES[name])
        for name in columns
    ]
    return [*cells, f"{group.count:,}", ", ".join(money(total) for total in group.totals)]


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name) if name else UTC
    except ZoneInfoNotFoundError:
        raise click.UsageError(
            f"This machine does not know the time zone {name}; `pip install tzdata` teaches it, or use --json."
        ) from None
