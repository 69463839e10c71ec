"""The sync scheduler's process: `python -m services.sync.scheduler`. Any number of them may run."""

import asyncio
from datetime import timedelta

import structlog

from services.sync.alerting import alerting
from services.sync.doorbell import Doorbell
from services.sync.reaper import Reaper
from services.sync.retention import removing
from shared import db, server, tls
from shared.broker import make_broker
from shared.metrics_server import serving_metrics
from shared.migrate import check_migrated
from shared.settings import Settings
from shared.vault import Vault

_log = structlog.get_logger()


async def main(settings: Settings, stopping: asyncio.Event) -> None:
    broker = make_broker(settings.required_redis_url)
    vault = Vault(settings.required_secret_key)
    pool = await db.open_pool(
        settings.required_database_url,
        4,
        statement_timeout="30s",
        # A row that a frozen process holds holds up nothing else; and should this one freeze, it lets go of its own.
        lock_timeout="2s",
        idle_in_transaction_session_timeout="10s",
    )
    async with pool:
        async with pool.acquire() as connection:
            await check_migrated(connection)
        reaper = Reaper(pool, Doorbell(broker), settings.sync_lease, failures_alert=settings.sync_failures_alert)
        with serving_metrics(settings.metrics_address, tls.certificates(settings)):
            async with alerting(pool, vault, settings):
                kept = timedelta(days=settings.sync_retention_days)
                tasks = [asyncio.create_task(reaper.run()), asyncio.create_task(removing(pool, kept))]
                _log.info("reaping")
                await stopping.wait()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            await broker.shutdown()
            _log.info("stopped")


if __name__ == "__main__":
    server.run("sync-scheduler", main)
