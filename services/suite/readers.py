"""Roles of PostgreSQL for people and dashboards, each bound to companies: `python -m services admin reader`."""

import re
import secrets
from collections.abc import Sequence
from datetime import datetime

import asyncpg
import msgspec

from shared import audit, db
from shared.audit import Action
from shared.errors import OperatorError

GROUP = "hookline_reader"
"""The role that all of them are members of; what it may read, they may."""

_TABLES = (
    *("companies", "events", "event_status", "unprocessed", "quarantine", "event_conflicts", "sync_runs", "sync_log"),
    *("sync_reconciliations", "sync_differences", "alerts", "platform_mappings", "audit_log"),
)
# A source without its credential.
_SOURCE_COLUMNS = "company_id, source, platform, base_url, created_time, next_run_time, synced_time"
_FUNCTIONS = (
    *("readable_companies()", "events_containing(jsonb, integer)", "events_naming(text, integer)"),
    *("words(text)", "rfc3339(timestamptz)", "rfc3339(timestamptz, text)"),
)
_is_role = re.compile(r"[a-z_][a-z0-9_]{0,62}").fullmatch


class Reader(msgspec.Struct, frozen=True):
    """A role that reads a company."""

    role_name: str
    company_id: str
    create_time: datetime


async def create_reader(connection: db.Connection, company_id: str, role_name: str) -> str | None:
    """Makes the role and binds it to the company; gives its password, or None where the role was a reader before, which
    then reads this company too. Written down in the same transaction. Raises OperatorError."""
    if not _is_role(role_name) or role_name == GROUP:
        raise OperatorError(f"{role_name!r} is no name for a reader: a to z, 0 to 9 and _, at most 63.")
    try:
        async with connection.transaction():
            await _grant(connection)
            password = None
            if not await _exists(connection, role_name):
                password = secrets.token_urlsafe(24)
                # Utility statements take no parameters; neither text holds a quote.
                await connection.execute(f"CREATE ROLE {role_name} LOGIN PASSWORD '{password}' IN ROLE {GROUP}")
                await connection.execute(f"ALTER ROLE {role_name} SET default_transaction_read_only = on")
                await connection.execute(f"ALTER ROLE {role_name} SET statement_timeout = '60s'")
                # Of another role of that name, which was dropped otherwise, or is on the server that a dump came from.
                await connection.execute("DELETE FROM hookline.readers WHERE role_name = $1", role_name)
            elif not await _is_reader(connection, role_name):
                raise OperatorError(f"The database has a role {role_name} that is no reader; choose another name.")
            await connection.execute(
                "INSERT INTO hookline.readers (company_id, role_name) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                company_id,
                role_name,
            )
            await audit.record(connection, company_id, Action.READER_CREATED, role_name)
            return password
    except asyncpg.InsufficientPrivilegeError as error:
        raise OperatorError(f"The database user may not make roles: {error}.") from None


async def list_readers(connection: db.Connection) -> Sequence[Reader]:
    """All of them, by company."""
    rows = await connection.fetch(
        "SELECT role_name, company_id, create_time FROM hookline.readers ORDER BY company_id, role_name"
    )
    return [Reader(**row) for row in rows]


async def drop_reader(connection: db.Connection, role_name: str) -> tuple[Sequence[str], str]:
    """Removes the role; its sessions see nothing more. Gives the companies that it read and, where PostgreSQL keeps the
    role, the reason: it is bound to no company all the same. Written down in the same transaction. Raises OperatorError
    when there is no such reader."""
    async with connection.transaction():
        gone = await connection.fetch(
            "DELETE FROM hookline.readers WHERE role_name = $1 RETURNING company_id", role_name
        )
        if not gone or not _is_role(role_name):
            raise OperatorError(f"There is no reader {role_name}.")
        of_role = sorted(row["company_id"] for row in gone)
        for company_id in of_role:
            await audit.record(connection, company_id, Action.READER_DROPPED, role_name)
        try:
            async with connection.transaction():
                await connection.execute(f"DROP ROLE IF EXISTS {role_name}")
        except (asyncpg.DependentObjectsStillExistError, asyncpg.InsufficientPrivilegeError) as error:
            # It was given more than a reader has, which is not ours to take; or somebody else has made it.
            return of_role, "; ".join((error.detail or error.args[0]).splitlines())
    return of_role, ""


async def _exists(connection: db.Connection, role_name: str) -> bool:
    return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role_name))


async def _is_reader(connection: db.Connection, role_name: str) -> bool:
    # Not pg_has_role: a superuser has every role. Who may make roles and isn't one administers those that it has made.
    return bool(
        await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_auth_members"
            " WHERE roleid = $1::regrole AND member = $2::regrole AND NOT admin_option)",
            GROUP,
            role_name,
        )
    )


async def _grant(connection: db.Connection) -> None:
    """Gives the group what readers may read: also what has come with a migration since."""
    # One at a time: roles are of the whole server.
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", GROUP)
    if not await _exists(connection, GROUP):
        await connection.execute(f"CREATE ROLE {GROUP} NOLOGIN")
    # Which everybody may who hasn't been kept out, as deploy/postgres/init.sql does.
    database = await connection.fetchval("SELECT quote_ident(current_database())")
    tables = ", ".join(f"hookline.{table}" for table in _TABLES)
    functions = ", ".join(f"hookline.{function}" for function in _FUNCTIONS)
    await connection.execute(
        f"GRANT CONNECT ON DATABASE {database} TO {GROUP};"
        f"GRANT USAGE ON SCHEMA hookline TO {GROUP};"
        f"GRANT SELECT ON {tables} TO {GROUP};"
        f"GRANT SELECT ({_SOURCE_COLUMNS}) ON hookline.sources TO {GROUP};"
        f"GRANT EXECUTE ON FUNCTION {functions} TO {GROUP}"
    )
