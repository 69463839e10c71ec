"""Tokens that were given for credentials, for as long as they are good."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

MOST_TOKENS = 1_000
_EARLY_SECONDS = 60.0

Fetch = Callable[[], Awaitable[tuple[str, float]]]
"""Gives a new token, and for how many seconds it is good."""


class TokenCache:
    """One for a process. It is asked by what a token depends on, and keeps only a digest of that."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tokens: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        self._locks: dict[bytes, asyncio.Lock] = {}

    async def token(self, key: bytes, fetch: Fetch) -> str:
        """A token that is good for a while yet; fetched if need be, by one at a time. Raises what `fetch` raises."""
        if token := self._good(key):
            return token
        lock = self._locks.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                if token := self._good(key):
                    return token
                token, seconds = await fetch()
                self._tokens[key] = token, self._clock() + seconds - min(_EARLY_SECONDS, seconds / 10)
                self._tokens.move_to_end(key)
                while len(self._tokens) > MOST_TOKENS:
                    self._tokens.popitem(last=False)
                return token
        finally:
            if not lock.locked():
                self._locks.pop(key, None)

    def forget(self, key: bytes, token: str) -> None:
        """Forgets a token that was refused; not the one that somebody has fetched since."""
        if key in self._tokens and self._tokens[key][0] == token:
            del self._tokens[key]

    def _good(self, key: bytes) -> str | None:
        token, until = self._tokens.get(key, ("", 0.0))
        return token if token and self._clock() < until else None


def key_of(*parts: str) -> bytes:
    """What a token is kept under."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8) + part.encode())
    return digest.digest()
