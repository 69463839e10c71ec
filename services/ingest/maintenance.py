"""What keeps the tables fit while events come in."""

import asyncio
from collections.abc import Callable

import structlog

from services.ingest import store
from shared import db, logs
from shared.migrate import PARTITIONS_AHEAD

PARTITIONS_SECONDS = 3600
PENDING_SECONDS = 0.2
# Fewer at a time would cost more for each.
PENDING_EVENTS = 1000
RETRY_SECONDS = 60

_log = structlog.get_logger()


async def keep_partitions_ahead(pool: db.Pool) -> None:
    """Makes the coming months' partitions, now and every hour, for ever. Any number of processes may do so."""
    while True:
        try:
            async with pool.acquire() as connection:
                for name in await store.create_partitions(connection, PARTITIONS_AHEAD):
                    _log.info("partition_created", partition=name)
        except Exception as error:
            # The next round tries again; months lie between a failure and an event without a partition.
            _log.warning("partitions_failed", **logs.describe(error))
        await asyncio.sleep(PARTITIONS_SECONDS)


async def keep_pending_lists_short(pool: db.Pool, stored: Callable[[], int]) -> None:
    """Merges what new events have left for the indexes of payloads and words, as long as events come, for ever.

    PostgreSQL keeps a list of it, and has whoever fills the list merge it all: one call in thousands, and all that come
    meanwhile, would wait a fifth of a second. `stored` tells how many events this process has stored so far. Any number
    of processes may do so.
    """
    merged = 0
    while True:
        await asyncio.sleep(PENDING_SECONDS)
        if (now := stored()) - merged < PENDING_EVENTS:
            continue
        try:
            async with pool.acquire() as connection:
                await store.merge_pending(connection)
            merged = now
        except Exception as error:
            # Meanwhile whoever fills the list does the work.
            _log.warning("merge_failed", **logs.describe(error))
            await asyncio.sleep(RETRY_SECONDS)
