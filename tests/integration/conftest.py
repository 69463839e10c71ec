"""A real PostgreSQL for each worker, a database for each test, cloned from a migrated template, and the services."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from services.ingest import http_server
from services.suite.embedded_postgres import EmbeddedPostgres
from shared import db
from shared.migrate import migrate
from tests.in_process import Exporting, Ingesting, exporting, ingesting

TEMPLATE = "hookline_template"
# Nothing here outlives the tests: no crash to recover from, no replica to feed.
SETTINGS = {
    "shared_buffers": "64MB",
    "max_connections": "200",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
}


# Rows only, whatever triggers and foreign keys say, and of tables that have any.
EMPTY = """
DO $$
DECLARE
    one regclass;
    has_rows boolean;
BEGIN
    SET LOCAL session_replication_role = replica;
    FOR one IN SELECT oid FROM pg_class
               WHERE relnamespace = 'hookline'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
                 AND relname <> 'schema_migrations'
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %s)', one) INTO has_rows;
        IF has_rows THEN
            EXECUTE format('DELETE FROM %s', one);
        END IF;
    END LOOP;
    FOR one IN SELECT oid FROM pg_class WHERE relnamespace = 'hookline'::regnamespace AND relkind = 'S' LOOP
        PERFORM setval(one, 1, false);
    END LOOP;
END
$$
"""
# What tells whether a test has changed more than rows.
SHAPE = """
SELECT (SELECT string_agg(format('%s %s %s', oid, relname, relrowsecurity), ',' ORDER BY oid) FROM pg_class
        WHERE relnamespace = 'hookline'::regnamespace)
    || (SELECT string_agg(format('%s %s %s', oid, conname, pg_get_constraintdef(oid)), ',' ORDER BY oid)
        FROM pg_constraint WHERE connamespace = 'hookline'::regnamespace)
    || (SELECT string_agg(format('%s %s', oid, md5(prosrc)), ',' ORDER BY oid) FROM pg_proc
        WHERE pronamespace = 'hookline'::regnamespace)
    || (SELECT string_agg(format('%s %s %s', tgrelid, tgname, tgenabled), ',' ORDER BY oid) FROM pg_trigger)
    || (SELECT string_agg(format('%s %s %s %s', attrelid, attname, atttypid, attnotnull), ',' ORDER BY attrelid, attnum)
        FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE c.relnamespace = 'hookline'::regnamespace)
    || (SELECT string_agg(format('%s %s', version, sha256), ',' ORDER BY version) FROM hookline.schema_migrations)
    || (SELECT coalesce(string_agg(setconfig::text, ','), '') FROM pg_db_role_setting s
        WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())))
"""


class Databases:
    """The databases of one server. `pg_dump` is the server's own, `log` what it writes down."""

    def __init__(self, dsn: str, pg_dump: Path, log: Path) -> None:
        self._dsn = dsn
        self.pg_dump = pg_dump
        self.log = log
        self._shape: str | None = None
        self._empty: list[str] = []

    def url(self, name: str) -> str:
        head, separator, tail = self._dsn.partition("/hookline?")
        assert separator
        return f"{head}/{name}?{tail}"

    async def make(self, template: str = "template0") -> str:
        """Makes a database; gives its URL."""
        name = f"test_{uuid.uuid4().hex}"
        await self._execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return self.url(name)

    async def take(self) -> str:
        """A migrated database without rows: one that another test has given back, or a new one; gives its URL. Making
        one takes longer than most tests."""
        return self._empty.pop() if self._empty else await self.make(TEMPLATE)

    async def give_back(self, url: str) -> None:
        """Empties the database for the next test; drops it where more than rows was changed. Whoever is still connected
        is not any more."""
        name = url.partition("@/")[2].partition("?")[0]
        await self._execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        connection = await asyncpg.connect(url)
        try:
            same = await connection.fetchval(SHAPE) == self._shape
            if same:
                await connection.execute(EMPTY)
        except asyncpg.PostgresError:
            same = False
        finally:
            await connection.close()
        if same:
            self._empty.append(url)
        else:
            await self.drop(url)

    async def make_template(self) -> None:
        await self._execute(f"CREATE DATABASE {TEMPLATE}")
        await migrate(self.url(TEMPLATE))
        connection = await asyncpg.connect(self.url(TEMPLATE))
        try:
            self._shape = await connection.fetchval(SHAPE)
        finally:
            await connection.close()

    async def drop(self, url: str) -> None:
        """Drops a database, whoever is still connected."""
        await self._execute(f"DROP DATABASE {url.partition('@/')[2].partition('?')[0]} WITH (FORCE)")

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self._dsn)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """A server of this worker's own."""
    with asyncio.Runner() as runner:
        postgres = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), SETTINGS)
        runner.run(postgres.start())
        made = Databases(postgres.dsn, postgres.psql.with_name("pg_dump"), postgres.log)
        try:
            runner.run(made.make_template())
            yield made
        finally:
            runner.run(postgres.destroy())


@pytest.fixture(scope="session", autouse=True)
def no_notice() -> Iterator[None]:
    """A door that closes waits for no one who is just on the way, but in the tests of that: it would be a tenth of a
    second a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http_server, "NOTICE_SECONDS", 0)
        yield


@pytest.fixture
async def database_url(databases: Databases) -> AsyncIterator[str]:
    """A migrated database of this test's own, without rows."""
    url = await databases.take()
    yield url
    await databases.give_back(url)


@pytest.fixture
async def empty_database_url(databases: Databases) -> AsyncIterator[str]:
    """A database without anything in it."""
    url = await databases.make()
    yield url
    await databases.drop(url)


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[db.Connection]:
    """A connection to the test's database, as the services open them."""
    async with await db.open_pool(database_url, 1, application_name="test") as pool, pool.acquire() as one:
        yield one


@pytest.fixture
async def ingest(database_url: str) -> AsyncIterator[Ingesting]:
    """The ingest service on the test's database."""
    async with ingesting(database_url) as running:
        yield running


@pytest.fixture
async def export(database_url: str) -> AsyncIterator[Exporting]:
    """The export service on the test's database."""
    async with exporting(database_url) as running:
        yield running


@pytest.fixture
def no_deadlocks(databases: Databases) -> Iterator[None]:
    """Holds that PostgreSQL finds no deadlock during the test. By its log: its statistics come late."""
    before = databases.log.stat().st_size
    yield
    assert b"deadlock detected" not in databases.log.read_bytes()[before:]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_database_url(databases: Databases) -> AsyncIterator[str]:
    """A migrated database for all tests of a module that are marked so (`loop_scope="module"`): each takes companies
    of its own."""
    url = await databases.make(TEMPLATE)
    yield url
    await databases.drop(url)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_ingest(module_database_url: str) -> AsyncIterator[Ingesting]:
    """The ingest service on the module's database."""
    async with ingesting(module_database_url) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_export(module_database_url: str) -> AsyncIterator[Exporting]:
    """The export service on the module's database."""
    async with exporting(module_database_url) as running:
        yield running
