"""`python -m services`: the whole suite on one machine, the migration, the demo."""

import argparse
import asyncio
import sys
from collections.abc import Sequence

import asyncpg
import click
from cryptography.fernet import Fernet

from services.suite import admin, supervisor
from services.suite.resealing import reseal
from shared import db
from shared.errors import HooklineError, OperatorError
from shared.migrate import check_migrated, migrate
from shared.processes import ChildFailed
from shared.settings import Settings, load_settings
from shared.vault import Vault

_SETTINGS = "Settings come from the environment, as HOOKLINE_DATABASE_URL and others; shared/settings.py lists them."


def main(arguments: Sequence[str]) -> int:
    """Runs one command and returns the exit status. A mistake in the set-up is one sentence on stderr."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    try:
        match chosen.command:
            case "run":
                return asyncio.run(supervisor.run(load_settings(), embedded=chosen.embedded))
            case "migrate":
                return asyncio.run(_migrate(load_settings()))
            case "reseal":
                return asyncio.run(_reseal(load_settings()))
            case "admin":
                return asyncio.run(admin.run(chosen, load_settings()))
            case "secret-key":
                click.echo(Fernet.generate_key().decode())
                return 0
            case "demo":
                # Imported here: no other command needs what the demo needs.
                from services.suite.demo import run  # noqa: PLC0415

                return run()
        parser.print_help(sys.stderr)
        return 2
    except ChildFailed:
        # It has said why.
        return 1
    except OperatorError as error:
        click.echo(str(error), err=True)
        return 1
    except HooklineError as error:
        click.echo(f"{error}.", err=True)
        return 1
    except asyncpg.PostgresError as error:
        click.echo(f"PostgreSQL can't be used: {error.args[0]}.", err=True)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services", description="Hookline, the system of record for webhook events.", epilog=_SETTINGS
    )
    commands = parser.add_subparsers(dest="command", metavar="command")
    run = commands.add_parser(
        "run",
        help="run the whole suite on this machine until Ctrl-C",
        description="Brings the database's schema up to date, runs every service as a process of its own, restarts "
        "what dies, and stops in order on Ctrl-C or SIGTERM (at once on a second one).",
        epilog=_SETTINGS,
    )
    run.add_argument(
        "--embedded",
        action="store_true",
        help="bring PostgreSQL and Valkey along, with the data in HOOKLINE_DATA_DIR (.hookline), instead of "
        "HOOKLINE_DATABASE_URL and HOOKLINE_REDIS_URL",
    )
    commands.add_parser(
        "migrate",
        help="bring the database's schema up to date",
        description="Applies the migrations that HOOKLINE_DATABASE_URL's database lacks, and makes the partitions of "
        "the months ahead. Harmless when there is nothing to do, and while services run.",
        epilog=_SETTINGS,
    )
    commands.add_parser(
        "secret-key",
        help="print a new HOOKLINE_SECRET_KEY",
        description="Prints a new key for HOOKLINE_SECRET_KEY, which encrypts the credentials of sources and the "
        "signing secrets, and signs tokens. Keep it: without it the credentials and the secrets are lost.",
    )
    commands.add_parser(
        "reseal",
        help="encrypt what is stored with the first key of HOOKLINE_SECRET_KEY",
        description="Encrypts the credentials of sources, the signing secrets and those of alert channels anew, with "
        "the first of several keys in HOOKLINE_SECRET_KEY, so that the others can go. Harmless while services run that "
        "know that key.",
        epilog=_SETTINGS,
    )
    admin.add_parser(commands)
    commands.add_parser(
        "demo",
        help="ingest sample events twice, export them and pull a shop, in a temporary directory",
        description="Runs the suite with a PostgreSQL and a Valkey of its own on free ports, in a temporary directory "
        "that it removes, ingests sample events twice, exports them, and pulls the history of a sandbox shop.",
    )
    return parser


async def _migrate(settings: Settings) -> int:
    if settings.database_url is None:
        raise OperatorError("HOOKLINE_DATABASE_URL is not set; it names the PostgreSQL to migrate.")
    for name in await migrate(settings.database_url):
        click.echo(f"migrated: {name}")
    return 0


async def _reseal(settings: Settings) -> int:
    vault = Vault(settings.required_secret_key)
    async with await db.open_pool(settings.required_database_url, 1) as pool, pool.acquire() as connection:
        await check_migrated(connection)
        count, unreadable = await reseal(connection, vault)
    for place in unreadable:
        click.echo(f"No key of HOOKLINE_SECRET_KEY opens {place}; it stays as it is.", err=True)
    click.echo(f"Secrets encrypted with the first key: {count}.")
    return 1 if unreadable else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
