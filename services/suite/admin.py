"""`python -m services admin`: what only who has a shell on the server may do."""

import argparse
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from hookline.cli.options import duration
from hookline.cli.output import Output
from services.suite import admin_limits, admin_readers
from shared import audit, db, token_store
from shared.audit import Action
from shared.auth import CALLER, OPERATOR, Scope, new_token
from shared.errors import OperatorError
from shared.migrate import check_migrated
from shared.names import NAME_RULE, is_name
from shared.settings import Settings
from shared.token_store import Token

MAX_NAME_CHARACTERS = 100
_TITLES = ("TOKEN", "NAME", "SCOPES", "SINCE", "EXPIRES", "LAST USED", "STATE", "TOKEN ID")
_NEVER = "never"


def add_parser(commands: Any) -> None:
    """Adds the command to those of `python -m services`."""
    admin = commands.add_parser(
        "admin", help="manage tokens, limits and readers", description="Manages what the services don't."
    )
    kinds = admin.add_subparsers(dest="kind", metavar="kind", required=True)
    _add_token(kinds)
    admin_limits.add_parser(kinds, _action)
    admin_readers.add_parser(kinds, _action)


async def run(chosen: argparse.Namespace, settings: Settings) -> int:
    """Does what was chosen. Raises OperatorError."""
    CALLER.set(OPERATOR)
    pool = await db.open_pool(settings.required_database_url, 1, statement_timeout="30s")
    async with pool, pool.acquire() as connection:
        await check_migrated(connection)
        await chosen.run(connection, chosen, Output(as_json=chosen.json, quiet=False))
    return 0


def _add_token(kinds: Any) -> None:
    token = kinds.add_parser("token", help="make, list and revoke the tokens that callers need")
    actions = token.add_subparsers(dest="action", metavar="action", required=True)
    create = _action(actions, "create", "make a token and show it; it is shown only now", _create)
    create.add_argument(
        "--scope",
        required=True,
        type=_scopes,
        metavar="NAME,…",
        help="what it is for: one or more of ingest, sync, export, admin",
    )
    create.add_argument(
        "--name", required=True, type=_name, help="what it is for, to tell tokens apart; no personal data"
    )
    create.add_argument(
        "--expires",
        default="90d",
        type=_lasting,
        metavar="TIME",
        help=f'how long it is good, such as 12h or 365d; "{_NEVER}" for until it is revoked. Default: 90d',
    )
    _action(actions, "list", "list the tokens, those too that are good no more", _list)
    revoke = _action(actions, "revoke", "end a token for good, on every process within seconds", _revoke)
    revoke.add_argument("token_id", type=_uuid, metavar="TOKEN_ID", help="its id, as `list` shows it")


def _action(actions: Any, name: str, about: str, run_it: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=about, description=about[0].upper() + about[1:])
    parser.add_argument("--company", required=True, type=_company, metavar="ID", help="whose")
    parser.add_argument("--json", action="store_true", help="results as JSON, one object a line")
    parser.set_defaults(run=run_it)
    return parser


async def _create(connection: db.Connection, chosen: argparse.Namespace, output: Output) -> None:
    text = new_token(chosen.company)
    async with connection.transaction():
        token = await token_store.create_token(
            connection, chosen.company, text, chosen.name, chosen.scope, chosen.expires
        )
        await audit.record(
            connection, chosen.company, Action.TOKEN_CREATED, str(token.token_id), name=token.name, scopes=token.scopes
        )
    if output.as_json:
        output.record(_fields(token) | {"token": text})
        return
    output.text(text)
    until = f"until {_time(token.expire_time)}" if token.expire_time else "until it is revoked"
    output.note(f"Good {until}. This token is shown only now; its id is {token.token_id}.")


async def _list(connection: db.Connection, chosen: argparse.Namespace, output: Output) -> None:
    tokens = await token_store.list_tokens(connection, chosen.company)
    if output.as_json:
        for token in tokens:
            output.record(_fields(token))
    else:
        output.table(_TITLES, [_row(token) for token in tokens])


async def _revoke(connection: db.Connection, chosen: argparse.Namespace, output: Output) -> None:
    async with connection.transaction():
        token = await token_store.revoke_token(connection, chosen.company, chosen.token_id)
        if token is None:
            raise OperatorError("The company has no token of that id; `admin token list` shows them.")
        await audit.record(connection, chosen.company, Action.TOKEN_REVOKED, str(token.token_id), name=token.name)
    output.summary(_fields(token), f"The token {token.name!r} is revoked: every process refuses it within seconds.")


def _fields(token: Token) -> dict[str, Any]:
    return {
        "token_id": str(token.token_id),
        "token_hint": token.token_hint,
        "name": token.name,
        "scopes": token.scopes,
        "create_time": _time(token.create_time),
        "expire_time": _time(token.expire_time),
        "revoke_time": _time(token.revoke_time),
        "last_used_time": _time(token.last_used_time),
    }


def _row(token: Token) -> tuple[str, ...]:
    return (
        f"…{token.token_hint}",
        token.name,
        ",".join(token.scopes),
        _time(token.create_time) or "",
        _time(token.expire_time) or _NEVER,
        _time(token.last_used_time) or _NEVER,
        _state(token),
        str(token.token_id),
    )


def _state(token: Token) -> str:
    if token.revoke_time:
        return f"revoked {_time(token.revoke_time)}"
    return "expired" if token.expire_time and token.expire_time <= datetime.now(UTC) else "active"


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _company(text: str) -> str:
    if not is_name(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no company: {NAME_RULE}")
    return text


def _scopes(text: str) -> frozenset[Scope]:
    try:
        return frozenset(Scope(part.strip()) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"one or more of {', '.join(Scope)}, with commas in between") from None


def _name(text: str) -> str:
    if not text.strip() or len(text) > MAX_NAME_CHARACTERS or not text.isprintable():
        raise argparse.ArgumentTypeError(f"at most {MAX_NAME_CHARACTERS} printable characters")
    return text.strip()


def _lasting(text: str) -> timedelta | None:
    if text == _NEVER:
        return None
    try:
        lasting = duration(text)
    except click.BadParameter as error:
        raise argparse.ArgumentTypeError(error.format_message()) from None
    if not timedelta(0) < lasting <= timedelta(days=36500):
        raise argparse.ArgumentTypeError("must be more than nothing, and less than a century")
    return lasting


def _uuid(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no token's id") from None
