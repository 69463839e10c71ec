"""Roles for people and dashboards: each sees its companies and nothing else, and no secrets of those."""

import uuid
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from services.suite.readers import GROUP, create_reader, drop_reader, list_readers
from shared.db import Connection
from shared.errors import OperatorError
from tests.in_process import Ingesting
from tests.samples import grapfy, send

SECRET = ("endpoints", "signing_secrets", "api_tokens", "alert_channels", "event_keys", "readers", "erasures")


def as_role(database_url: str, role: str, password: str) -> str:
    parts = urlsplit(database_url)
    return urlunsplit(parts._replace(netloc=f"{role}:{password}@{parts.netloc.rpartition('@')[2]}"))


@pytest.fixture
async def role(connection: Connection) -> AsyncIterator[str]:
    """A name that no other test uses: roles are of the whole server."""
    name = f"reader_{uuid.uuid4().hex[:12]}"
    yield name
    if any(reader.role_name == name for reader in await list_readers(connection)):
        await drop_reader(connection, name)


@pytest.fixture
async def reader(
    ingest: Ingesting, connection: Connection, database_url: str, role: str
) -> AsyncIterator["asyncpg.Connection"]:
    """A connection of a reader of acme's; acme and bolt have events."""
    for company, name in (("acme", "Ana Lima"), ("bolt", "Bia Reis")):
        payloads = [grapfy(number, customer={"name": name}, total=number) for number in range(30)]
        await send(ingest.stub, company, [*payloads, b"{"])
    password = await create_reader(connection, "acme", role)
    assert password
    one = await asyncpg.connect(as_role(database_url, role, password))
    yield one
    await one.close()


async def test_a_reader_sees_its_own_company_only(reader: Connection, connection: Connection) -> None:
    for table in ("events", "companies", "unprocessed", "quarantine"):
        companies = await reader.fetch(f"SELECT DISTINCT company_id FROM hookline.{table}")
        assert [row["company_id"] for row in companies] == ["acme"], table
        assert await connection.fetchval(f"SELECT count(DISTINCT company_id) FROM hookline.{table}") == 2
    assert await reader.fetchval("SELECT count(*) FROM hookline.events WHERE company_id = 'bolt'") == 0
    assert await reader.fetchval("SELECT count(*) FROM hookline.events_naming('bia')") == 0
    assert await reader.fetchval("SELECT count(*) FROM hookline.events_naming('ana')") == 30
    found = await reader.fetch("""SELECT company_id FROM hookline.events_containing('{"total": 7}')""")
    assert [row["company_id"] for row in found] == ["acme"]


async def test_no_setting_and_no_role_opens_another_company(reader: Connection) -> None:
    partition = await reader.fetchval(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'hookline.events'::regclass LIMIT 1"
    )
    for attempt in (
        "SET ROLE hookline",
        "SET SESSION AUTHORIZATION hookline",
        "SET row_security = off; SELECT count(*) FROM hookline.events",
        "INSERT INTO hookline.readers (company_id, role_name) VALUES ('bolt', session_user)",
        "SELECT * FROM hookline.readers",
        "UPDATE hookline.events SET company_id = 'acme'",
        "DELETE FROM hookline.events",
        "SELECT credential FROM hookline.sources",
        f"SELECT count(*) FROM {partition}",
    ):
        # What its role is set to at login, anyone may set anew.
        await reader.execute("SET default_transaction_read_only = off")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.execute(attempt)
        await reader.execute("RESET ALL")
    for table in SECRET:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.fetch(f"SELECT 1 FROM hookline.{table}")


async def test_every_table_of_companies_is_guarded(connection: Connection) -> None:
    open_tables = await connection.fetch(
        """
        SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'company_id'
        WHERE c.relnamespace = 'hookline'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
          AND NOT c.relrowsecurity
        """
    )
    assert open_tables == [], "a migration that makes a table of companies says ENABLE ROW LEVEL SECURITY"


async def test_any_other_role_sees_nothing(
    connection: Connection, database_url: str, role: str, ingest: Ingesting
) -> None:
    """One that was granted everything by somebody, but is bound to no company."""
    await send(ingest.stub, "acme", [grapfy(1)])
    password = await create_reader(connection, "acme", role)
    assert password
    await connection.execute(f"DELETE FROM hookline.readers; GRANT SELECT ON ALL TABLES IN SCHEMA hookline TO {role}")
    other = await asyncpg.connect(as_role(database_url, role, password))
    try:
        for table in ("events", "event_keys", "api_tokens", "endpoints", "sources"):
            assert await other.fetch(f"SELECT 1 FROM hookline.{table}") == [], table
    finally:
        await other.close()
    await connection.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA hookline FROM {role}; DROP ROLE {role}")


async def test_a_reader_of_two_companies_sees_both_until_dropped(
    reader: Connection, connection: Connection, role: str
) -> None:
    assert await create_reader(connection, "bolt", role) is None
    assert [one.company_id for one in await list_readers(connection)] == ["acme", "bolt"]
    assert await reader.fetchval("SELECT count(DISTINCT company_id) FROM hookline.events") == 2
    assert await drop_reader(connection, role) == (["acme", "bolt"], "")
    assert await list_readers(connection) == []
    with pytest.raises(OperatorError, match=r"^There is no reader"):
        await drop_reader(connection, role)


async def test_a_new_role_gets_nothing_of_an_old_one(reader: Connection, connection: Connection, role: str) -> None:
    await connection.execute(f"DROP ROLE {role}")
    assert await create_reader(connection, "bolt", role)
    assert [one.company_id for one in await list_readers(connection)] == ["bolt"]


async def test_one_that_was_given_more_reads_nothing_once_dropped(
    reader: Connection, connection: Connection, role: str
) -> None:
    await connection.execute(f"GRANT SELECT ON hookline.schema_migrations TO {role}")
    companies, kept = await drop_reader(connection, role)
    assert companies == ["acme"]
    assert kept == "privileges for table schema_migrations"
    assert await reader.fetch("SELECT 1 FROM hookline.events") == []
    assert await list_readers(connection) == []
    await connection.execute(f"REVOKE ALL ON hookline.schema_migrations FROM {role}; DROP ROLE {role}")


async def test_what_is_not_written_down_is_not_done(connection: Connection, role: str) -> None:
    await connection.execute("ALTER TABLE hookline.audit_log ADD CONSTRAINT full_up CHECK (false) NOT VALID")
    with pytest.raises(asyncpg.CheckViolationError):
        await create_reader(connection, "acme", role)
    assert not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role)
    await connection.execute("ALTER TABLE hookline.audit_log DROP CONSTRAINT full_up")
    await create_reader(connection, "acme", role)
    await connection.execute("ALTER TABLE hookline.audit_log ADD CONSTRAINT full_up CHECK (false) NOT VALID")
    with pytest.raises(asyncpg.CheckViolationError):
        await drop_reader(connection, role)
    assert [one.role_name for one in await list_readers(connection)] == [role]
    assert await connection.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role)
    await connection.execute("ALTER TABLE hookline.audit_log DROP CONSTRAINT full_up")


@pytest.mark.parametrize("name", ["", "Reader", "a b", "x'; DROP TABLE", "1st", GROUP, "ä", "a" * 64])
async def test_odd_names_are_refused(connection: Connection, name: str) -> None:
    with pytest.raises(OperatorError, match="is no name for a reader"):
        await create_reader(connection, "acme", name)


async def test_a_role_that_is_no_reader_is_left_alone(connection: Connection) -> None:
    with pytest.raises(OperatorError, match=r"a role hookline that is no reader"):
        await create_reader(connection, "acme", "hookline")
