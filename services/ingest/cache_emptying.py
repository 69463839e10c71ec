"""Takes away what the export service has cached of a company, in Redis or Valkey: when a person is erased."""

import asyncio

import redis.asyncio
import redis.exceptions
import structlog

from shared import cache_keys, logs

_BATCH = 1000
_PATIENCE_SECONDS = 60

_log = structlog.get_logger()


async def empty_cache(redis_url: str | None, company_id: str) -> None:
    """Takes away all of it. Should that fail, what is there is never asked for again, and is gone within an hour."""
    if redis_url is None:
        return
    client = redis.asyncio.Redis.from_url(redis_url, socket_connect_timeout=5, socket_timeout=5)
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            found = client.scan_iter(match=cache_keys.pattern_of(company_id), count=_BATCH)
            async for key in found:
                await client.unlink(key)
    except (redis.exceptions.RedisError, OSError, TimeoutError) as error:
        _log.warning("cache_not_emptied", company_id=company_id, **logs.describe(error))
    finally:
        await client.aclose()
