"""The SQL of tokens. Every function names its company; a revocation is told to every process by a notification of the
same statement."""

import uuid
from collections.abc import Collection
from datetime import datetime, timedelta

import msgspec
from uuid_utils.compat import uuid7

from shared.auth import HINT_CHARACTERS, Scope, token_digest
from shared.db import Connection
from shared.statements import Statements

CHANNEL = "hookline_tokens"
"""Where revocations are told: the payload is the company's id."""

_sql = Statements("shared")


class Token(msgspec.Struct, frozen=True):
    """A token, without what it reads."""

    token_id: uuid.UUID
    token_hint: str
    name: str
    scopes: list[str]
    create_time: datetime
    expire_time: datetime | None
    revoke_time: datetime | None
    last_used_time: datetime | None


class Found(msgspec.Struct, frozen=True):
    """A token that is good. `seconds_left`: for how long; None: until it is revoked."""

    token_id: uuid.UUID
    token_hint: str
    name: str
    scopes: list[str]
    seconds_left: float | None


async def create_token(
    connection: Connection,
    company_id: str,
    token: str,
    name: str,
    scopes: Collection[Scope],
    lasts: timedelta | None,
) -> Token:
    """Stores a new token; None lasts until it is revoked."""
    [row] = await _sql.fetch(
        connection,
        "create_token",
        company_id=company_id,
        token_id=uuid7(),
        token_sha256=token_digest(token),
        token_hint=token[-HINT_CHARACTERS:],
        token_name=name,
        scopes=[scope for scope in Scope if scope in scopes],
        lasts=lasts,
    )
    return Token(**row)


async def list_tokens(connection: Connection, company_id: str) -> list[Token]:
    """All, those that are good no more too, in the order of making."""
    return [Token(**row) for row in await _sql.fetch(connection, "list_tokens", company_id=company_id)]


async def revoke_token(connection: Connection, company_id: str, token_id: uuid.UUID) -> Token | None:
    """The token, revoked now or before; None when there is none."""
    rows = await _sql.fetch(connection, "revoke_token", company_id=company_id, token_id=token_id)
    return Token(**rows[0]) if rows else None


async def find_token(connection: Connection, company_id: str, token_sha256: bytes) -> Found | None:
    """The token, if it is good."""
    rows = await _sql.fetch(connection, "find_token", company_id=company_id, token_sha256=token_sha256)
    return Found(**rows[0]) if rows else None


async def note_used(
    connection: Connection, company_id: str, token_ids: Collection[uuid.UUID], at_most_every: timedelta
) -> None:
    """Writes down that the tokens have just been used, where that was not written down a short while ago."""
    await _sql.fetch(
        connection,
        "note_tokens_used",
        company_id=company_id,
        token_ids=list(token_ids),
        at_most_every=at_most_every,
    )
