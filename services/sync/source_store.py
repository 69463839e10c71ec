"""Sources in PostgreSQL. Every function names its company."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from services.sync.statements import sql
from shared.db import Connection
from shared.platforms import Platform, PlatformMalformed, parse_platform, platforms, with_history

LOOK_BACK = timedelta(hours=1)
RUN_DEADLINE = timedelta(hours=24)


class Source(msgspec.Struct, frozen=True):
    """A source, without its credential. Its columns stand in sql/source_columns.part.sql."""

    company_id: str
    source: str
    platform: str
    base_url: str
    parameters: dict[str, str]
    created_time: datetime
    look_back: timedelta
    run_deadline: timedelta
    synced_time: datetime | None
    schedule_interval: timedelta | None
    schedule_cron: str | None
    schedule_time_zone: str
    schedule_jitter: timedelta
    schedule_start_time: datetime | None
    schedule_paused_time: datetime | None
    next_run_time: datetime | None


class Secret(msgspec.Struct, frozen=True):
    """What pulling a source takes; the credential is encrypted."""

    source: str
    platform: str
    base_url: str
    credential: bytes
    parameters: dict[str, str]
    history: int = 1
    """Counted up when the address or the parameters change."""


class Columns(msgspec.Struct, frozen=True):
    """What can be changed of a source, the credential encrypted. None: as it is."""

    base_url: str | None = None
    credential: bytes | None = None
    parameters: Mapping[str, str] | None = None
    look_back: timedelta | None = None
    run_deadline: timedelta | None = None


async def create_source(
    connection: Connection,
    company_id: str,
    source: str,
    *,
    platform: str,
    base_url: str,
    credential: bytes,
    parameters: Mapping[str, str],
    look_back: timedelta = LOOK_BACK,
    run_deadline: timedelta = RUN_DEADLINE,
) -> Source | None:
    """The new source, or None when there is one of that name."""
    rows = await sql.fetch(
        connection,
        "create_source",
        company_id=company_id,
        source=source,
        platform=platform,
        base_url=base_url,
        credential=credential,
        parameters=msgspec.json.encode(parameters),
        look_back=look_back,
        run_deadline=run_deadline,
    )
    return to_source(rows[0]) if rows else None


async def update_source(connection: Connection, company_id: str, source: str, changes: Columns) -> Source | None:
    """The source with its changes, or None when there is no such source."""
    rows = await sql.fetch(
        connection,
        "update_source",
        company_id=company_id,
        source=source,
        base_url=changes.base_url,
        credential=changes.credential,
        parameters=None if changes.parameters is None else msgspec.json.encode(changes.parameters),
        look_back=changes.look_back,
        run_deadline=changes.run_deadline,
    )
    return to_source(rows[0]) if rows else None


async def get_source(connection: Connection, company_id: str, source: str) -> Source | None:
    """The source, or None when there is no such source."""
    rows = await sql.fetch(connection, "get_source", company_id=company_id, source=source)
    return to_source(rows[0]) if rows else None


async def list_sources(connection: Connection, company_id: str) -> list[Source]:
    """All of a company's, by name."""
    return [to_source(row) for row in await sql.fetch(connection, "list_sources", company_id=company_id)]


async def source_secret(connection: Connection, company_id: str, source: str) -> Secret | None:
    """What pulling the source takes, or None when there is no such source."""
    rows = await sql.fetch(connection, "source_secret", company_id=company_id, source=source)
    return Secret(**{**rows[0], "parameters": _parameters(rows[0])}) if rows else None


async def is_active(connection: Connection, company_id: str, source: str) -> bool:
    """Whether a run of the source is active, or waits behind one."""
    [row] = await sql.fetch(connection, "is_active", company_id=company_id, source=source)
    return bool(row["is_active"])


async def delete_runs(connection: Connection, company_id: str, source: str, most: int) -> int:
    """Deletes runs of the source that have ended; gives how many."""
    return len(await sql.fetch(connection, "delete_runs", company_id=company_id, source=source, max_rows=most))


async def delete_source(connection: Connection, company_id: str, source: str) -> bool:
    """Whether it is gone by this: not when there is none, or a run of it is active or waits behind one."""
    return bool(await sql.fetch(connection, "delete_source", company_id=company_id, source=source))


async def platform_of(connection: Connection, company_id: str, name: str) -> Platform | None:
    """The platform of that name: the company's own mapping, else the built-in one, else None. An own mapping without a
    history has that of the built-in one."""
    rows = await sql.fetch(connection, "own_platform", company_id=company_id, platform=name)
    return _platform(name, rows[0]["mapping"] if rows else None)


async def platforms_of(connection: Connection, company_id: str) -> Mapping[str, Platform]:
    """All platforms that the company can name, by name: built-in ones, with its own in their place."""
    found = dict(platforms())
    for row in await sql.fetch(connection, "own_platforms", company_id=company_id):
        if platform := _platform(row["name"], row["mapping"]):
            found[row["name"]] = platform
    return found


def _platform(name: str, mapping: str | None) -> Platform | None:
    built_in = platforms().get(name)
    if mapping is None:
        return built_in
    try:
        return with_history(parse_platform(mapping.encode(), "mapping", own=True))
    except PlatformMalformed:
        # Taken by an older Hookline, and none by this one: as if it were not there, as in ingest.
        return built_in


def to_source(row: Mapping[str, Any]) -> Source:
    """The source that a row of its columns is."""
    return Source(**{**row, "parameters": _parameters(row)})


def _parameters(row: Mapping[str, Any]) -> dict[str, str]:
    return msgspec.json.decode(row["parameters"], type=dict[str, str])
