"""Removes what is old: runs that ended long ago with all that hangs on them, and alerts that were over long ago."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import NoReturn

import structlog

from services.sync import reaper_store
from shared import db, logs

ROUND_SECONDS = 600.0
BATCH = 100
"""Of a statement: each run may have 10,000 entries in its log, and as many differences."""

_log = structlog.get_logger()

Remove = Callable[[db.Connection, timedelta, int], Awaitable[int]]


async def removing(pool: db.Pool, kept: timedelta) -> NoReturn:
    """Removes what is older than that, for ever. A round that fails is made up for by the next. Any number of processes
    may do so: each row is taken by one."""
    while True:
        try:
            await remove_old(pool, kept)
        except Exception as error:
            _log.warning("removing_failed", **logs.describe(error))
        await asyncio.sleep(ROUND_SECONDS)


async def remove_old(pool: db.Pool, kept: timedelta) -> None:
    """Removes all of it, a batch a transaction. Raises what the database raises."""
    runs = await _all_of(pool, reaper_store.remove_runs, kept)
    alerts = await _all_of(pool, reaper_store.remove_alerts, kept)
    if runs or alerts:
        _log.info("removed", runs=runs, alerts=alerts)


async def _all_of(pool: db.Pool, remove: Remove, kept: timedelta) -> int:
    removed = 0
    while True:
        async with pool.acquire() as connection:
            batch = await remove(connection, kept, BATCH)
        removed += batch
        if batch < BATCH:
            return removed
