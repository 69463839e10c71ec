"""The audit trail: who did what. Only added to; holds no personal data and no secrets."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import asyncpg
import msgspec

from shared.auth import CALLER
from shared.db import Connection
from shared.statements import Statements

_sql = Statements("shared")


class Action(StrEnum):
    """What can be done that is written down. docs/security.md lists them."""

    EVENTS_EXPORTED = "EVENTS_EXPORTED"
    SUBJECT_ERASED = "SUBJECT_ERASED"
    TOKEN_CREATED = "TOKEN_CREATED"  # noqa: S105 - not one
    TOKEN_REVOKED = "TOKEN_REVOKED"  # noqa: S105 - not one
    READER_CREATED = "READER_CREATED"
    READER_DROPPED = "READER_DROPPED"
    LIMITS_CHANGED = "LIMITS_CHANGED"
    ENDPOINT_CREATED = "ENDPOINT_CREATED"
    ENDPOINT_ROTATED = "ENDPOINT_ROTATED"
    ENDPOINT_REVOKED = "ENDPOINT_REVOKED"
    SIGNING_SECRET_PUT = "SIGNING_SECRET_PUT"  # noqa: S105 - not one
    SIGNING_SECRET_DELETED = "SIGNING_SECRET_DELETED"  # noqa: S105 - not one
    PLATFORM_MAPPING_PUT = "PLATFORM_MAPPING_PUT"
    PLATFORM_MAPPING_DELETED = "PLATFORM_MAPPING_DELETED"
    SOURCE_CREATED = "SOURCE_CREATED"
    SOURCE_UPDATED = "SOURCE_UPDATED"
    SOURCE_DELETED = "SOURCE_DELETED"
    SCHEDULE_STARTED = "SCHEDULE_STARTED"
    SCHEDULE_PAUSED = "SCHEDULE_PAUSED"
    SCHEDULE_RESUMED = "SCHEDULE_RESUMED"
    SCHEDULE_STOPPED = "SCHEDULE_STOPPED"
    ALERT_CHANNEL_CREATED = "ALERT_CHANNEL_CREATED"
    ALERT_CHANNEL_DELETED = "ALERT_CHANNEL_DELETED"


class Entry(msgspec.Struct, frozen=True):
    """Something that someone did. `details` is a JSON object."""

    entry: int
    log_time: datetime
    actor: str
    action: str
    subject: str
    details: bytes


async def record(connection: Connection, company_id: str, action: Action, subject: str = "", **details: Any) -> None:
    """Writes an entry; whom this task works for did it. To be called in the transaction of what it tells of.

    `details` must hold nothing personal: no filters' values, no payloads.
    """
    await _sql.fetch(
        connection,
        "record_audit",
        company_id=company_id,
        actor=CALLER.get().actor,
        action=action,
        subject=subject,
        details=msgspec.json.encode(details),
    )


async def record_alone(
    connection: Connection, company_id: str, action: Action, subject: str = "", **details: Any
) -> None:
    """The same in a transaction of its own, also over a connection that is read-only by default."""
    async with connection.transaction():
        try:
            await _sql.fetch(connection, "allow_writing")
        except asyncpg.FeatureNotSupportedError as error:
            # What a standby says to that, where it says of a write that it is one.
            raise asyncpg.ReadOnlySQLTransactionError from error
        await record(connection, company_id, action, subject, **details)


async def list_entries(
    connection: Connection, company_id: str, action: str | None, before: int | None, max_rows: int
) -> list[Entry]:
    """Newest first; `before` is the number of the last entry of the page before."""
    rows: list[Mapping[str, Any]] = list(
        await _sql.fetch(
            connection, "list_audit", company_id=company_id, action=action, before_entry=before, max_rows=max_rows
        )
    )
    return [Entry(**row) for row in rows]
