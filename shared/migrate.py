"""Brings a database's schema up to date: forward only, one transaction a file, one process at a time."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import asyncpg
import structlog

from shared import db
from shared.errors import OperatorError

_log = structlog.get_logger()

# Any constant will do that no one else uses as an advisory lock of this database.
_LOCK = 0x686F6F6B
# A migration waits for locks only briefly: while it waits, everyone behind it waits too.
LOCK_TIMEOUT = "5s"
PATIENCE = "10min"
"""For another process that migrates, and for each statement."""
PARTITIONS_AHEAD = 3
"""Months after the current one for which partitions are kept ready."""


@dataclass(frozen=True)
class Migration:
    """One numbered .sql file. `sha256` is that of its text: a landed file never changes."""

    version: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> Sequence[Migration]:
    """All migrations, in order. Their numbers run from 1 without gaps."""
    found = sorted(
        (
            Migration(int(match[1]), match[2], file.read_text(encoding="utf-8"))
            for file in files("shared").joinpath("migrations").iterdir()
            if (match := re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name))
        ),
        key=lambda migration: migration.version,
    )
    assert [migration.version for migration in found] == list(range(1, len(found) + 1))
    return found


async def migrate(database_url: str) -> list[str]:
    """Applies what is missing and makes the partitions ahead; returns the names of the migrations applied.

    Waits for another process that is migrating. A database that has all of it and more, from a newer Hookline, is only
    warned of. Raises OperatorError when the database can't be reached, was migrated by another Hookline that lacks some
    of this one's migrations, or by a file that has changed since, or when what is to change is in use for too long.
    """
    connection = await db.connect(database_url)
    try:
        await connection.execute(f"SET statement_timeout = '{PATIENCE}'")
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        # Only now: it holds for that lock, too.
        await connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        applied = await _applied(connection)
        known = {migration.version: migration for migration in migrations()}
        for version, migration in known.items():
            if applied.get(version, migration.sha256) != migration.sha256:
                raise OperatorError(f"Migration {version} is not the one that the database was made with.")
        missing = [migration for migration in known.values() if migration.version not in applied]
        if newest := max(applied.keys() - known.keys(), default=None):
            if missing:
                raise OperatorError(
                    f"The database has migration {newest}, unknown to this Hookline, and lacks {missing[0].version}."
                )
            # Someone has gone back to an older Hookline, on purpose: `check_migrated` lets it run, too.
            _log.warning("database_ahead", migration=newest, newest_known=max(known))
        for migration in missing:
            await _apply(connection, migration)
        await connection.fetch("SELECT hookline.create_event_partitions($1)", PARTITIONS_AHEAD)
        return [f"{migration.version:04}_{migration.name}" for migration in missing]
    except asyncpg.InsufficientPrivilegeError as error:
        raise OperatorError(f"The database user may not migrate: {error}.") from None
    except asyncpg.LockNotAvailableError:
        raise OperatorError(
            f"Another session has held a table that a migration needs for more than {LOCK_TIMEOUT}; try again later."
        ) from None
    except asyncpg.QueryCanceledError:
        raise OperatorError(
            f"A migration, or the wait for another process that migrates, took longer than {PATIENCE}."
        ) from None
    finally:
        await connection.close()


async def check_migrated(connection: db.Connection) -> None:
    """Raises OperatorError unless every migration that this code knows has been applied.

    A database ahead of the code is fine: code runs before and after each migration.
    """
    exists = await connection.fetchval("SELECT to_regclass('hookline.schema_migrations') IS NOT NULL")
    version = await connection.fetchval("SELECT max(version) FROM hookline.schema_migrations") if exists else 0
    if (version or 0) < migrations()[-1].version:
        raise OperatorError("The database's schema is behind; `python -m services migrate` brings it up to date.")


async def _applied(connection: db.Connection) -> dict[int, str]:
    await connection.execute(
        """
        CREATE SCHEMA IF NOT EXISTS hookline;
        CREATE TABLE IF NOT EXISTS hookline.schema_migrations (
            version integer PRIMARY KEY,
            name text NOT NULL,
            sha256 text NOT NULL,
            applied_time timestamptz NOT NULL DEFAULT clock_timestamp()
        )
        """
    )
    rows = await connection.fetch("SELECT version, sha256 FROM hookline.schema_migrations ORDER BY version")
    return {row["version"]: row["sha256"] for row in rows}


async def _apply(connection: db.Connection, migration: Migration) -> None:
    async with connection.transaction():
        await connection.execute(migration.sql)
        await connection.execute(
            "INSERT INTO hookline.schema_migrations (version, name, sha256) VALUES ($1, $2, $3)",
            migration.version,
            migration.name,
            migration.sha256,
        )
