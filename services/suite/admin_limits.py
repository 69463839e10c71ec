"""`python -m services admin limits`: what single companies may take of the service."""

import argparse
from collections.abc import Callable
from typing import Any

import msgspec

from hookline.cli.output import Output
from shared import audit, db, limits
from shared.audit import Action
from shared.limits import Limits

_USUAL = "usual"
_UNITS = {
    "requests_per_second": "requests a second; each message of a stream is one",
    "events_per_second": "events a second that are brought in",
    "bytes_per_second": "bytes a second, of requests",
    "concurrent_exports": "exports at once",
}


def add_parser(kinds: Any, action: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the commands to those of `python -m services admin`."""
    about = "set and show how much single companies may take of the service"
    parser = kinds.add_parser("limits", help=about, description=about[0].upper() + about[1:])
    actions = parser.add_subparsers(dest="action", metavar="action", required=True)
    change = action(actions, "set", "give a company limits of its own; those that are not named stay", _set)
    for name, unit in _UNITS.items():
        change.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            type=_whole if name == "concurrent_exports" else _rate,
            metavar="NUMBER",
            help=f'{unit}; "{_USUAL}": as HOOKLINE_LIMIT_{name.upper()} says',
        )
    action(actions, "show", "show the limits that a company has of its own", _show)


async def _set(connection: db.Connection, chosen: argparse.Namespace, output: Output) -> None:
    named = {name: getattr(chosen, name) for name in _UNITS if getattr(chosen, name) is not None}
    changes = {name: None if value == _USUAL else value for name, value in named.items()}
    async with connection.transaction():
        own = msgspec.structs.replace(await limits.own(connection, chosen.company), **changes)
        await limits.put(connection, chosen.company, own)
        await audit.record(connection, chosen.company, Action.LIMITS_CHANGED, **msgspec.structs.asdict(own))
    output.summary(_fields(own), f"{_sentence(own)} Every process goes by that within seconds.")


async def _show(connection: db.Connection, chosen: argparse.Namespace, output: Output) -> None:
    async with connection.transaction():
        own = await limits.own(connection, chosen.company)
    output.summary(_fields(own), _sentence(own))


def _fields(own: Limits) -> dict[str, Any]:
    return msgspec.structs.asdict(own)


def _sentence(own: Limits) -> str:
    given = [f"{name.replace('_', ' ')} {value:g}" for name, value in _fields(own).items() if value is not None]
    return f"Of its own: {', '.join(given)}." if given else "The company has no limits of its own."


def _rate(text: str) -> float | str:
    if text == _USUAL:
        return text
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < 1e15:
        raise argparse.ArgumentTypeError(f'{text!r} is no number above 0, nor "{_USUAL}"')
    return rate


def _whole(text: str) -> int | str:
    if text == _USUAL:
        return text
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**31):
        raise argparse.ArgumentTypeError(f'{text!r} is no whole number above 0, nor "{_USUAL}"')
    return int(text)
