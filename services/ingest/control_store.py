"""The SQL of a company's endpoints, signing secrets and mappings. Every function names its company; what changes is
told to every process by a notification of the same statement."""

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
from uuid_utils.compat import uuid7

from shared.db import Connection
from shared.statements import Statements

CHANNEL = "hookline_rules"
"""Where changes are told: the payload is the company's id."""

_sql = Statements("services.ingest")


class Endpoint(msgspec.Struct, frozen=True):
    """A URL that a platform sends to, without its token."""

    endpoint_id: uuid.UUID
    source: str
    platform: str
    token_hint: str
    create_time: datetime
    token_time: datetime
    old_token_expire_time: datetime | None
    revoke_time: datetime | None


class Found(msgspec.Struct, frozen=True):
    """Whose token it is. `seconds_left`: how long it is still good; None: until that is changed."""

    endpoint_id: uuid.UUID
    source: str
    platform: str
    revoked: bool
    seconds_left: float | None


class SigningSecret(msgspec.Struct, frozen=True):
    """That a source has a secret."""

    source: str
    update_time: datetime
    old_secret_expire_time: datetime | None


class Encrypted(msgspec.Struct, frozen=True):
    """A source's secrets, as they are stored."""

    source: str
    secret: bytes
    old_secret: bytes | None
    old_secret_expire_time: datetime | None


class Mapping(msgspec.Struct, frozen=True):
    """A platform mapping of a company's own, as TOML."""

    name: str
    mapping: str
    update_time: datetime


async def create_endpoint(
    connection: Connection, company_id: str, source: str, platform: str, token_sha256: bytes, token_hint: str
) -> Endpoint:
    """A new endpoint."""
    [row] = await _sql.fetch(
        connection,
        "create_endpoint",
        company_id=company_id,
        endpoint_id=uuid7(),
        source=source,
        platform=platform,
        token_sha256=token_sha256,
        token_hint=token_hint,
    )
    return Endpoint(**row)


async def list_endpoints(
    connection: Connection, company_id: str, after: uuid.UUID | None, max_rows: int
) -> list[Endpoint]:
    """The oldest first; `after` is the last id of the page before."""
    rows = await _sql.fetch(connection, "list_endpoints", company_id=company_id, after_id=after, max_rows=max_rows)
    return [Endpoint(**row) for row in rows]


async def rotate_endpoint(
    connection: Connection,
    company_id: str,
    endpoint_id: uuid.UUID,
    token_sha256: bytes,
    token_hint: str,
    keep_old: timedelta,
) -> Endpoint | None:
    """The endpoint with its new token; None when there is none, or it was revoked."""
    rows = await _sql.fetch(
        connection,
        "rotate_endpoint",
        company_id=company_id,
        endpoint_id=endpoint_id,
        token_sha256=token_sha256,
        token_hint=token_hint,
        keep_old=keep_old,
    )
    return Endpoint(**rows[0]) if rows else None


async def revoke_endpoint(connection: Connection, company_id: str, endpoint_id: uuid.UUID) -> Endpoint | None:
    """The endpoint, revoked now or before; None when there is none."""
    rows = await _sql.fetch(connection, "revoke_endpoint", company_id=company_id, endpoint_id=endpoint_id)
    return Endpoint(**rows[0]) if rows else None


async def find_endpoint(connection: Connection, company_id: str, token_sha256: bytes) -> Found | None:
    """Whose token it is; None when nobody's, or it is good no more."""
    rows = await _sql.fetch(connection, "find_endpoint", company_id=company_id, token_sha256=token_sha256)
    return Found(**rows[0]) if rows else None


async def put_signing_secret(
    connection: Connection,
    company_id: str,
    source: str,
    secret: bytes,
    keep_old: timedelta,
    is_same_as: Callable[[bytes], bool],
) -> SigningSecret:
    """Stores a source's secret. `is_same_as` tells whether it is the one that an encrypted text holds: then the secret
    before stays as it is, but for its time, which can become shorter."""
    place = {"company_id": company_id, "source": source}
    async with connection.transaction():
        before = await _sql.fetch(connection, "lock_signing_secret", **place)
        [row] = await _sql.fetch(
            connection,
            "put_signing_secret",
            secret=secret,
            is_same=bool(before) and is_same_as(before[0]["secret"]),
            keep_old=keep_old,
            **place,
        )
    return SigningSecret(**row)


async def list_signing_secrets(
    connection: Connection, company_id: str, after: str | None, max_rows: int
) -> list[SigningSecret]:
    """By source; `after` is the last source of the page before."""
    rows = await _sql.fetch(
        connection, "list_signing_secrets", company_id=company_id, after_source=after, max_rows=max_rows
    )
    return [SigningSecret(**row) for row in rows]


async def load_signing_secrets(connection: Connection, company_id: str) -> list[Encrypted]:
    """All that are good now."""
    rows = await _sql.fetch(connection, "load_signing_secrets", company_id=company_id)
    return [Encrypted(**row) for row in rows]


async def delete_signing_secret(connection: Connection, company_id: str, source: str) -> bool:
    """Whether there was one."""
    return bool(await _sql.fetch(connection, "delete_signing_secret", company_id=company_id, source=source))


async def put_mapping(connection: Connection, company_id: str, name: str, mapping: str, most: int) -> Mapping | None:
    """The mapping, stored; None when the company has `most` others."""
    async with connection.transaction():
        await _sql.fetch(connection, "lock_mappings", company_id=company_id)
        rows = await _sql.fetch(
            connection, "put_mapping", company_id=company_id, mapping_name=name, mapping=mapping, most=most
        )
    return Mapping(**rows[0]) if rows else None


async def list_mappings(connection: Connection, company_id: str) -> list[Mapping]:
    """All of a company's own, in the order in which they are tried."""
    return [Mapping(**row) for row in await _sql.fetch(connection, "list_mappings", company_id=company_id)]


async def delete_mapping(connection: Connection, company_id: str, name: str) -> bool:
    """Whether there was one."""
    return bool(await _sql.fetch(connection, "delete_mapping", company_id=company_id, mapping_name=name))
