"""What was worked out before, in Redis or Valkey. It only saves time: answers are the same without it, or with it down.

Keys hold the moment of the log that a value is true for, so nothing is ever to be taken back. Values are encrypted:
whoever else reaches that server can neither read nor make one up, and with another secret key none of them is believed.
"""

import asyncio
import os

import redis.asyncio
import redis.exceptions
import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from services.export import compression
from shared.cache_keys import PREFIX
from shared.secret_keys import secret_keys

TTL_SECONDS = 3600
MAX_VALUE_BYTES = 1024 * 1024
"""As it is kept: compressed. Summaries, the largest of all, come to a fifth."""
# An answer that takes longer is no help.
PATIENCE_SECONDS = 0.1
REST_SECONDS = 5.0
"""After a failure it is left alone for so long."""

_NONCE_BYTES = 12
_FAILURES = (redis.exceptions.RedisError, OSError, TimeoutError)


class Cache:
    """A cache at `redis_url`; None: there is none. Every process with the same HOOKLINE_SECRET_KEY reads what any of
    them has put. Never raises."""

    def __init__(self, redis_url: str | None, secret_key: str) -> None:
        key = secret_keys(secret_key)[0]
        self._cipher = AESGCM(HKDF(SHA256(), 32, salt=None, info=b"hookline cache").derive(key.encode()))
        self._client = (
            redis.asyncio.Redis.from_url(redis_url, socket_connect_timeout=1, socket_timeout=1) if redis_url else None
        )
        self._rest_until = 0.0

    async def get(self, key: str) -> bytes | None:
        """What was put under the key, or None; None, too, when it is not as it was put."""
        if self._client is None or self._is_resting():
            return None
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                value = await self._client.get(PREFIX + key)
        except _FAILURES:
            self._rest()
            return None
        return self._opened(key, value) if isinstance(value, bytes) else None

    async def put(self, key: str, value: bytes) -> None:
        """Keeps the value for an hour at most; not at all when it is large."""
        if self._client is None or self._is_resting():
            return
        sealed = self._sealed(key, compression.zstd(value))
        if len(sealed) > MAX_VALUE_BYTES:
            return
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._client.set(PREFIX + key, sealed, ex=TTL_SECONDS)
        except _FAILURES:
            self._rest()

    async def aclose(self) -> None:
        """Gives back its connections."""
        if self._client is not None:
            await self._client.aclose()

    def _sealed(self, key: str, value: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        # With its key: a value that was moved to another one, of another company say, is none.
        return nonce + self._cipher.encrypt(nonce, value, key.encode())

    def _opened(self, key: str, sealed: bytes) -> bytes | None:
        try:
            value = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], key.encode())
            return zstandard.decompress(value)
        except (InvalidTag, ValueError, zstandard.ZstdError):
            return None

    def _is_resting(self) -> bool:
        return asyncio.get_running_loop().time() < self._rest_until

    def _rest(self) -> None:
        self._rest_until = asyncio.get_running_loop().time() + REST_SECONDS
