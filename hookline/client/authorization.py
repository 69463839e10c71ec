"""How a token goes along with every call."""

import os
import re
from collections.abc import Callable
from typing import Any

Token = str | Callable[[], str]
"""A token, or what gives one for each call."""


def token_or_environment(token: Token | None) -> Token | None:
    """The token as given, else as HOOKLINE_TOKEN says, else none."""
    return token if token is not None else os.environ.get("HOOKLINE_TOKEN", "").strip() or None


def company_of(token: str) -> str | None:
    """The company that a token names; None when it is not one that `admin token create` makes."""
    named = re.fullmatch(r"hk_([A-Za-z0-9_.-]+)\.[A-Za-z0-9_-]{43}", token)
    return named[1] if named else None


class AuthorizedChannel:
    """What stubs are made of in a channel's place, blocking or not: every call through it carries the token.

    Not by gRPC's interceptors, which cost each call more and, under asyncio, change what a call can do.
    """

    def __init__(self, channel: Any, token: Token) -> None:
        self._channel = channel
        self._token: Callable[[], str] = token if callable(token) else lambda: token

    def unary_unary(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        return self._with_token(self._channel.unary_unary(*arguments, **options))

    def unary_stream(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        return self._with_token(self._channel.unary_stream(*arguments, **options))

    def stream_unary(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        return self._with_token(self._channel.stream_unary(*arguments, **options))

    def stream_stream(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        return self._with_token(self._channel.stream_stream(*arguments, **options))

    def _with_token(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*request: Any, metadata: Any = None, **options: Any) -> Any:
            authorization = ("authorization", f"Bearer {self._token()}")
            return method(*request, metadata=[*(metadata or ()), authorization], **options)

        return call


def authorized(channel: Any, token: Token | None) -> Any:
    """The channel, or what stands for it where there is a token."""
    return channel if token is None else AuthorizedChannel(channel, token)
