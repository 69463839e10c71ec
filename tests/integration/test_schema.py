"""The schema is what the migrations make; migrating is safe to repeat and to do twice at once."""

import asyncio
import enum

import asyncpg
import pytest
from structlog.testing import capture_logs

from services.export.filters import Status
from services.ingest import store
from shared import migrate as module
from shared.db import Connection
from shared.errors import OperatorError
from shared.migrate import PARTITIONS_AHEAD, check_migrated, migrate, migrations
from tests.integration.conftest import Databases
from tests.schema_dump import dump, schema_file
from tests.waiting import eventually


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


async def test_another_that_migrates_is_waited_for_longer_than_a_table(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOCK_TIMEOUT", "100ms")
    other = await asyncpg.connect(empty_database_url)
    try:
        await other.execute("SELECT pg_advisory_lock($1)", module._LOCK)
        waiting = asyncio.ensure_future(migrate(empty_database_url))

        async def has_waited() -> bool:
            return waiting.done() or await other.fetchval(
                "SELECT count(*) = 1 FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event = 'advisory'"
                " AND clock_timestamp() - query_start > interval '200 ms'"
            )

        await eventually(has_waited, what="it waits")
        await other.execute("SELECT pg_advisory_unlock_all()")
        assert len(await waiting) == len(migrations())
    finally:
        await other.close()


async def test_a_wait_that_takes_too_long_is_one_sentence(
    database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOCK_TIMEOUT", "50ms")
    async with connection.transaction():
        await connection.execute("LOCK hookline.schema_migrations")
        with pytest.raises(OperatorError, match=r"^Another session .* more than 50ms; try again later\.$"):
            await migrate(database_url)
    monkeypatch.setattr(module, "PATIENCE", "50ms")
    await connection.execute("SELECT pg_advisory_lock($1)", module._LOCK)
    with pytest.raises(OperatorError, match=r"another process that migrates, took longer than 50ms\.$"):
        await migrate(database_url)


async def test_a_migration_that_has_changed_since_is_refused(database_url: str, connection: Connection) -> None:
    await connection.execute("UPDATE hookline.schema_migrations SET sha256 = 'another' WHERE version = 1")
    with pytest.raises(OperatorError, match=r"^Migration 1 is not the one"):
        await migrate(database_url)


async def test_a_newer_database_is_left_as_it_is_and_may_be_used(database_url: str, connection: Connection) -> None:
    await connection.execute("INSERT INTO hookline.schema_migrations (version, name, sha256) VALUES (9999, 'new', '')")
    with capture_logs() as logged:
        assert await migrate(database_url) == []
    newest = migrations()[-1].version
    expected = {"event": "database_ahead", "log_level": "warning", "migration": 9999, "newest_known": newest}
    assert expected in logged
    await check_migrated(connection)
    await connection.execute("DELETE FROM hookline.schema_migrations WHERE version = $1", newest)
    with pytest.raises(OperatorError, match=rf"^The database has migration 9999, .* and lacks {newest}\.$"):
        await migrate(database_url)


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
