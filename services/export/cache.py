"""What was worked out before, in Redis or Valkey. It only saves time: answers are the same without it, or with it down.

Keys hold the moment of the log that a value is true for, so nothing is ever to be taken back.
"""

import asyncio

import redis.asyncio
import redis.exceptions

PREFIX = "hookline:cache:"
TTL_SECONDS = 3600
MAX_VALUE_BYTES = 1024 * 1024
# An answer that takes longer is no help.
PATIENCE_SECONDS = 0.1
REST_SECONDS = 5.0
"""After a failure it is left alone for so long."""

_FAILURES = (redis.exceptions.RedisError, OSError, TimeoutError)


class Cache:
    """A cache at `redis_url`; None: there is none. Never raises."""

    def __init__(self, redis_url: str | None) -> None:
        self._client = (
            redis.asyncio.Redis.from_url(redis_url, socket_connect_timeout=1, socket_timeout=1) if redis_url else None
        )
        self._rest_until = 0.0

    async def get(self, key: str) -> bytes | None:
        """What was put under the key, or None."""
        if self._client is None or self._is_resting():
            return None
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                value = await self._client.get(PREFIX + key)
                return value if isinstance(value, bytes) else None
        except _FAILURES:
            self._rest()
            return None

    async def put(self, key: str, value: bytes) -> None:
        """Keeps the value for an hour at most; not at all when it is large."""
        if self._client is None or self._is_resting() or len(value) > MAX_VALUE_BYTES:
            return
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._client.set(PREFIX + key, value, ex=TTL_SECONDS)
        except _FAILURES:
            self._rest()

    async def aclose(self) -> None:
        """Gives back its connections."""
        if self._client is not None:
            await self._client.aclose()

    def _is_resting(self) -> bool:
        return asyncio.get_running_loop().time() < self._rest_until

    def _rest(self) -> None:
        self._rest_until = asyncio.get_running_loop().time() + REST_SECONDS
