"""What keeps the tables fit while events come in."""

import asyncio

import structlog

from services.ingest import store
from shared import db, logs
from shared.migrate import PARTITIONS_AHEAD

PARTITIONS_SECONDS = 3600

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
