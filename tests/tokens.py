"""Tokens for tests, and how calls carry them."""

from datetime import timedelta

import grpc

from hookline.client.authorization import authorized
from shared import token_store
from shared.auth import Scope, new_token
from shared.db import Connection

DAY = timedelta(days=1)
Metadata = list[tuple[str, str]]


async def token_of(
    connection: Connection, company: str, *scopes: str, name: str = "test", lasts: timedelta | None = DAY
) -> str:
    """A new token of a company, with all scopes unless some are given. With a negative `lasts` it has expired."""
    text = new_token(company)
    await token_store.create_token(connection, company, text, name, [Scope(one) for one in scopes or Scope], lasts)
    return text


async def revoke(connection: Connection, company: str, token: str) -> None:
    """Revokes a token, as the operator's command does."""
    [one] = [one for one in await token_store.list_tokens(connection, company) if token.endswith(one.token_hint)]
    await token_store.revoke_token(connection, company, one.token_id)


def bearer(token: str) -> Metadata:
    """What a call carries a token in."""
    return [("authorization", f"Bearer {token}")]


def with_token(channel: grpc.aio.Channel, token: str) -> grpc.aio.Channel:
    """The channel for somebody with a token: stubs are made of it."""
    channel_with_token: grpc.aio.Channel = authorized(channel, token)
    return channel_with_token
