"""The schema is what the migrations make; migrating is safe to repeat and to do twice at once."""

import asyncio
import enum

import asyncpg
import pytest

from services.export.filters import Status
from services.ingest import store
from shared.db import Connection
from shared.errors import OperatorError
from shared.migrate import PARTITIONS_AHEAD, check_migrated, migrate, migrations
from tests.integration.conftest import Databases
from tests.schema_dump import dump, schema_file


async def test_the_schema_file_is_what_the_migrations_make(databases: Databases, database_url: str) -> None:
    text = await asyncio.to_thread(dump, databases.pg_dump, database_url)
    assert text == schema_file().read_text(encoding="utf-8"), "`make schema` writes it anew"


async def test_migrating_again_changes_nothing(empty_database_url: str) -> None:
    names = await migrate(empty_database_url)
    assert names == [f"{one.version:04}_{one.name}" for one in migrations()]
    assert await migrate(empty_database_url) == []


async def test_two_that_migrate_at_once_wait_for_each_other(empty_database_url: str) -> None:
    applied = await asyncio.gather(*(migrate(empty_database_url) for _ in range(4)))
    assert sorted(map(len, applied)) == [0, 0, 0, len(migrations())]


async def test_a_migration_that_has_changed_since_is_refused(database_url: str, connection: Connection) -> None:
    await connection.execute("UPDATE hookline.schema_migrations SET sha256 = 'another' WHERE version = 1")
    with pytest.raises(OperatorError, match=r"^Migration 1 is not the one"):
        await migrate(database_url)


async def test_a_newer_database_is_not_migrated_but_may_be_used(database_url: str, connection: Connection) -> None:
    await connection.execute("INSERT INTO hookline.schema_migrations (version, name, sha256) VALUES (9999, 'new', '')")
    with pytest.raises(OperatorError, match=r"migration 9999, made by a newer Hookline"):
        await migrate(database_url)
    await check_migrated(connection)


async def test_a_database_that_is_behind_is_refused(empty_database_url: str, connection: Connection) -> None:
    behind = await asyncpg.connect(empty_database_url)
    try:
        with pytest.raises(OperatorError, match=r"python -m services migrate"):
            await check_migrated(behind)
    finally:
        await behind.close()
    await connection.execute("DELETE FROM hookline.schema_migrations")
    with pytest.raises(OperatorError, match=r"schema is behind"):
        await check_migrated(connection)


async def test_partitions_are_made_ahead(connection: Connection) -> None:
    rows = await connection.fetch(
        """
        SELECT to_char(generate_series(date_trunc('month', now() AT TIME ZONE 'UTC'),
                                       date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => $1),
                                       interval '1 month'), '"hookline.events_"YYYY_MM') AS name
        """,
        PARTITIONS_AHEAD,
    )
    found = await connection.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'hookline.events'::regclass"
    )
    expected = {row["name"].removeprefix("hookline.") for row in rows}
    assert {row["name"] for row in found} == expected
    assert len(expected) == PARTITIONS_AHEAD + 1
    # Nothing is missing, so nothing is made.
    assert await store.create_partitions(connection, PARTITIONS_AHEAD) == []
    assert len(await store.create_partitions(connection, PARTITIONS_AHEAD + 2)) == 2


@pytest.mark.parametrize("of_python", [Status, store.Status])
async def test_the_databases_enum_is_that_of_python(connection: Connection, of_python: type[enum.StrEnum]) -> None:
    rows = await connection.fetch("SELECT unnest(enum_range(NULL::hookline.processing_status))::text AS value")
    values = [row["value"] for row in rows]
    if of_python is store.Status:
        # What an event can be marked as: pending is what it is before.
        values.remove("pending")
    assert [one.value for one in of_python] == values


async def test_every_key_of_a_companys_table_begins_with_the_company(connection: Connection) -> None:
    rows = await connection.fetch(
        """
        SELECT i.indrelid::regclass::text AS table_name, i.indexrelid::regclass::text AS index_name,
               (SELECT attname FROM pg_attribute WHERE attrelid = i.indrelid AND attnum = i.indkey[0]) AS first_column
        FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'hookline' AND i.indisunique
          AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'company_id')
        """
    )
    assert len(rows) >= 8
    assert [row["index_name"] for row in rows if row["first_column"] != "company_id"] == []


async def test_every_table_with_events_data_has_a_company(connection: Connection) -> None:
    rows = await connection.fetch(
        """
        SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'hookline' AND c.relkind IN ('r', 'p')
          AND NOT EXISTS (SELECT FROM pg_attribute a
                          WHERE a.attrelid = c.oid AND a.attname = 'company_id' AND a.attnotnull)
        """
    )
    assert {row["relname"] for row in rows} == {"schema_migrations"}
