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
async def role(database_url: str) -> AsyncIterator[str]:
    """A name that no other test uses: roles are of the whole server."""
    name = f"reader_{uuid.uuid4().hex[:12]}"
    yield name
    if any(reader.role_name == name for reader in await list_readers(database_url)):
        await drop_reader(database_url, name)


@pytest.fixture
async def reader(ingest: Ingesting, database_url: str, role: str) -> AsyncIterator["asyncpg.Connection"]:
    """A connection of a reader of acme's; acme and bolt have events."""
    for company, name in (("acme", "Ana Lima"), ("bolt", "Bia Reis")):
        payloads = [grapfy(number, customer={"name": name}, total=number) for number in range(30)]
        await send(ingest.stub, company, [*payloads, b"{"])
    password = await create_reader(database_url, "acme", role)
    assert password
    connection = await asyncpg.connect(as_role(database_url, role, password))
    yield connection
    await connection.close()


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
    for attempt in (
        "SET ROLE hookline",
        "SET SESSION AUTHORIZATION hookline",
        "SET row_security = off; SELECT count(*) FROM hookline.events",
        "INSERT INTO hookline.readers (company_id, role_name) VALUES ('bolt', session_user)",
        "SELECT * FROM hookline.readers",
        "UPDATE hookline.events SET company_id = 'acme'",
        "DELETE FROM hookline.events",
        "SELECT credential FROM hookline.sources",
        "SELECT count(*) FROM hookline.events_2026_11",
    ):
        # What its role is set to at login, anyone may set anew.
        await reader.execute("SET default_transaction_read_only = off")
        with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedTableError)):
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


async def test_any_other_role_sees_nothing(database_url: str, role: str, ingest: Ingesting) -> None:
    """One that was granted everything by somebody, but is bound to no company."""
    await send(ingest.stub, "acme", [grapfy(1)])
    password = await create_reader(database_url, "acme", role)
    assert password
    owner = await asyncpg.connect(database_url)
    try:
        await owner.execute(f"DELETE FROM hookline.readers; GRANT SELECT ON ALL TABLES IN SCHEMA hookline TO {role}")
        other = await asyncpg.connect(as_role(database_url, role, password))
        try:
            for table in ("events", "event_keys", "api_tokens", "endpoints", "sources"):
                assert await other.fetch(f"SELECT 1 FROM hookline.{table}") == [], table
        finally:
            await other.close()
        await owner.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA hookline FROM {role}; DROP ROLE {role}")
    finally:
        await owner.close()


async def test_a_reader_of_two_companies_sees_both_until_dropped(
    reader: Connection, database_url: str, role: str
) -> None:
    assert await create_reader(database_url, "bolt", role) is None
    assert [one.company_id for one in await list_readers(database_url)] == ["acme", "bolt"]
    assert await reader.fetchval("SELECT count(DISTINCT company_id) FROM hookline.events") == 2
    await drop_reader(database_url, role)
    assert await list_readers(database_url) == []
    with pytest.raises(OperatorError, match=r"^There is no reader"):
        await drop_reader(database_url, role)


@pytest.mark.parametrize("name", ["", "Reader", "a b", "x'; DROP TABLE", "1st", GROUP, "ä", "a" * 64])
async def test_odd_names_are_refused(database_url: str, name: str) -> None:
    with pytest.raises(OperatorError, match="is no name for a reader"):
        await create_reader(database_url, "acme", name)


async def test_a_role_that_is_no_reader_is_left_alone(database_url: str) -> None:
    with pytest.raises(OperatorError, match=r"a role hookline that is no reader"):
        await create_reader(database_url, "acme", "hookline")
