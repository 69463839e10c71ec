"""Finds what is due, and tells workers. Any number of reapers may run: each row is taken by one."""

import asyncio
from datetime import timedelta

import structlog

from services.sync import reaper_store
from services.sync.doorbell import Doorbell
from shared import db, logs

ROUND_SECONDS = 1.0
BATCH = 200

_log = structlog.get_logger()


class Reaper:
    """Makes runs of due schedules; tells of runs that wait, and of those whose workers died."""

    def __init__(self, pool: db.Pool, doorbell: Doorbell, lease: float) -> None:
        self._pool = pool
        self._doorbell = doorbell
        # A message that brought nothing for so long is taken to be lost.
        self._again_after = timedelta(seconds=lease)

    async def run(self) -> None:
        """Round after round, for ever. A round that fails is made up for by the next."""
        while True:
            try:
                await self.round()
            except Exception as error:
                _log.warning("round_failed", **logs.describe(error))
            await asyncio.sleep(ROUND_SECONDS)

    async def round(self) -> None:
        """One look at everything. Raises what the database raises."""
        async with self._pool.acquire() as connection:
            for company_id, run_id in await reaper_store.cancel_abandoned(connection):
                _log.info("run_cancelled", company_id=company_id, run_id=str(run_id))
            while len(due := await reaper_store.create_due_runs(connection, BATCH)) == BATCH:
                _log.info("schedules_due", runs=len(due))
            kicks = await reaper_store.take_kicks(connection, self._again_after, BATCH)
        for company_id, run_id in kicks:
            if not await self._doorbell.ring(company_id, run_id):
                # Redis is away. The rest is told of when it has been long enough.
                break
