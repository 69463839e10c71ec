"""Telling workers that there is a run."""

import asyncio
import uuid

import structlog
from taskiq import AsyncBroker
from taskiq.kicker import AsyncKicker

from shared import logs

TASK = "pull"
PATIENCE = 2.0
"""Seconds: one that answers at all answers in milliseconds, and the reaper tries again."""

_log = structlog.get_logger()


class Doorbell:
    """Sends messages. A message that can't be sent, or is lost, is sent again by the reaper: nothing is raised."""

    def __init__(self, broker: AsyncBroker) -> None:
        self._broker = broker
        self._started = False

    async def ring(self, company_id: str, run_id: uuid.UUID) -> bool:
        """Tells a worker. False when Redis is away, or does not answer."""
        kicker: AsyncKicker[[str, str], None] = AsyncKicker(TASK, self._broker, {})
        # The first try after a restart of Redis finds a dead connection.
        for attempt in range(2):
            try:
                async with asyncio.timeout(PATIENCE):
                    if not self._started:
                        await self._broker.startup()
                        self._started = True
                    await kicker.kiq(company_id, str(run_id))
            except Exception as error:
                if attempt == 1 or isinstance(error, TimeoutError):
                    _log.warning("doorbell_failed", **logs.describe(error))
                    return False
                await asyncio.sleep(0)
            else:
                return True
        return False
