"""Roles of PostgreSQL for people and dashboards, each bound to companies: `python -m services admin reader`."""

import re
import secrets
from collections.abc import Sequence
from datetime import datetime

import asyncpg
import msgspec

from shared import db
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


async def create_reader(database_url: str, company_id: str, role_name: str) -> str | None:
    """Makes the role and binds it to the company; gives its password, or None where the role was a reader before, which
    then reads this company too. Raises OperatorError."""
    if not _is_role(role_name) or role_name == GROUP:
        raise OperatorError(f"{role_name!r} is no name for a reader: a to z, 0 to 9 and _, at most 63.")
    connection = await db.connect(database_url)
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
            elif not await _is_reader(connection, role_name):
                raise OperatorError(f"The database has a role {role_name} that is no reader; choose another name.")
            await connection.execute(
                "INSERT INTO hookline.readers (company_id, role_name) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                company_id,
                role_name,
            )
            return password
    except asyncpg.InsufficientPrivilegeError as error:
        raise OperatorError(f"The database user may not make roles: {error}.") from None
    finally:
        await connection.close()


async def list_readers(database_url: str) -> Sequence[Reader]:
    """All of them, by company."""
    connection = await db.connect(database_url)
    try:
        rows = await connection.fetch(
            "SELECT role_name, company_id, create_time FROM hookline.readers ORDER BY company_id, role_name"
        )
    finally:
        await connection.close()
    return [Reader(**row) for row in rows]


async def drop_reader(database_url: str, role_name: str) -> None:
    """Removes the role; its sessions see nothing more. Raises OperatorError when there is no such reader."""
    connection = await db.connect(database_url)
    try:
        async with connection.transaction():
            gone = await connection.fetch("DELETE FROM hookline.readers WHERE role_name = $1 RETURNING 1", role_name)
            if not gone or not _is_role(role_name):
                raise OperatorError(f"There is no reader {role_name}.")
            await connection.execute(f"DROP ROLE IF EXISTS {role_name}")
    except asyncpg.InsufficientPrivilegeError as error:
        raise OperatorError(f"The database user may not drop roles: {error}.") from None
    finally:
        await connection.close()


async def _exists(connection: db.Connection, role_name: str) -> bool:
    return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role_name))


async def _is_reader(connection: db.Connection, role_name: str) -> bool:
    # Not pg_has_role: a superuser has every role.
    return bool(
        await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_auth_members WHERE roleid = $1::regrole AND member = $2::regrole)",
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
    tables = ", ".join(f"hookline.{table}" for table in _TABLES)
    functions = ", ".join(f"hookline.{function}" for function in _FUNCTIONS)
    await connection.execute(
        f"GRANT USAGE ON SCHEMA hookline TO {GROUP};"
        f"GRANT SELECT ON {tables} TO {GROUP};"
        f"GRANT SELECT ({_SOURCE_COLUMNS}) ON hookline.sources TO {GROUP};"
        f"GRANT EXECUTE ON FUNCTION {functions} TO {GROUP}"
    )
