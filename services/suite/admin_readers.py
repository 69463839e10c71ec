"""`python -m services admin reader`: roles of PostgreSQL for people and dashboards."""

import argparse
from collections.abc import Callable
from datetime import UTC
from typing import Any

from hookline.cli.output import Output
from services.suite import readers
from shared import db
from shared.errors import OperatorError

_TITLES = ("ROLE", "SINCE")


def add_parser(kinds: Any, action: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the commands to those of `python -m services admin`."""
    about = "make, list and drop PostgreSQL roles that read one company"
    parser = kinds.add_parser("reader", help=about, description=about[0].upper() + about[1:])
    actions = parser.add_subparsers(dest="action", metavar="action", required=True)
    create = action(actions, "create", "make a role that reads the company, and show its password; only now", _create)
    create.add_argument("role", metavar="ROLE", help="its name: a to z, 0 to 9 and _; a reader there may read several")
    action(actions, "list", "list the roles that read the company", _list)
    drop = action(actions, "drop", "remove a role; it reads no company any more", _drop)
    drop.add_argument("role", metavar="ROLE", help="its name")


async def _create(connection: db.Connection, chosen: argparse.Namespace, output: Output) -> None:
    password = await readers.create_reader(connection, chosen.company, chosen.role)
    if output.as_json:
        output.record({"role": chosen.role, "password": password})
    elif password is None:
        output.note(f"The role {chosen.role} now reads {chosen.company}, too; its password is what it was.")
    else:
        output.text(password)
        output.note(f"The password of the role {chosen.role}, which reads {chosen.company}. It is shown only now.")


async def _list(connection: db.Connection, chosen: argparse.Namespace, output: Output) -> None:
    of_company = [one for one in await readers.list_readers(connection) if one.company_id == chosen.company]
    if output.as_json:
        for one in of_company:
            output.record({"role": one.role_name, "create_time": one.create_time.isoformat()})
    else:
        output.table(
            _TITLES, [(one.role_name, f"{one.create_time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}") for one in of_company]
        )


async def _drop(connection: db.Connection, chosen: argparse.Namespace, output: Output) -> None:
    bound = {(one.role_name, one.company_id) for one in await readers.list_readers(connection)}
    if (chosen.role, chosen.company) not in bound:
        raise OperatorError(f"The company has no reader {chosen.role}; `admin reader list` shows them.")
    companies, kept = await readers.drop_reader(connection, chosen.role)
    output.summary(
        {"role": chosen.role, "companies": companies, "kept": kept or None},
        f"The role {chosen.role} reads no company any more, but PostgreSQL keeps it: {kept}."
        if kept
        else f"The role {chosen.role} is gone.",
    )
