"""Sources in PostgreSQL. Every function names its company."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from services.sync.statements import sql
from shared.db import Connection


class Source(msgspec.Struct, frozen=True):
    """A source, without its credential."""

    company_id: str
    source: str
    platform: str
    base_url: str
    parameters: dict[str, str]
    created_time: datetime
    schedule_interval: timedelta | None
    next_run_time: datetime | None


class Secret(msgspec.Struct, frozen=True):
    """What pulling a source takes; the credential is encrypted."""

    platform: str
    base_url: str
    credential: bytes
    parameters: dict[str, str]


async def create_source(
    connection: Connection,
    company_id: str,
    source: str,
    *,
    platform: str,
    base_url: str,
    credential: bytes,
    parameters: Mapping[str, str],
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
    )
    return to_source(rows[0]) if rows else None


async def list_sources(connection: Connection, company_id: str) -> list[Source]:
    """All of a company's, by name."""
    return [to_source(row) for row in await sql.fetch(connection, "list_sources", company_id=company_id)]


async def source_secret(connection: Connection, company_id: str, source: str) -> Secret | None:
    """What pulling the source takes, or None when there is no such source."""
    rows = await sql.fetch(connection, "source_secret", company_id=company_id, source=source)
    return Secret(**{**rows[0], "parameters": _parameters(rows[0])}) if rows else None


async def delete_source(connection: Connection, company_id: str, source: str) -> bool:
    """Whether it is gone by this: not when there is none, or a run of it is active."""
    return bool(await sql.fetch(connection, "delete_source", company_id=company_id, source=source))


def to_source(row: Mapping[str, Any]) -> Source:
    return Source(**{**row, "parameters": _parameters(row)})


def _parameters(row: Mapping[str, Any]) -> dict[str, str]:
    return msgspec.json.decode(row["parameters"], type=dict[str, str])
