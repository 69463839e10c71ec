"""The sync worker's process: `python -m services.sync.worker`. Any number of them may run."""

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog
from taskiq import AsyncBroker
from taskiq.acks import AcknowledgeType
from taskiq.receiver import Receiver

from hookline.client import AsyncClient
from services.sync.connectors import Connector
from services.sync.connectors.http import Limits, open_http
from services.sync.connectors.opening import opening
from services.sync.doorbell import TASK
from services.sync.runner import Runner
from services.sync.source_store import Secret
from shared import db, logs, server, tls
from shared.broker import make_broker
from shared.internal import InternalTokens
from shared.metrics_server import serving_metrics
from shared.migrate import check_migrated
from shared.platforms import Platform
from shared.settings import Settings
from shared.vault import Vault

_log = structlog.get_logger()


async def main(settings: Settings, stopping: asyncio.Event) -> None:
    broker = make_broker(settings.required_redis_url)
    vault = Vault(settings.required_secret_key)
    pool = await db.open_pool(
        settings.required_database_url,
        settings.database_connections,
        statement_timeout="30s",
        # Should this process freeze in the middle of a transaction, it lets go of its rows all the same.
        idle_in_transaction_session_timeout="10s",
    )
    async with (
        pool,
        open_http(
            allow_loopback=settings.allow_loopback_sources, limits=Limits(read=settings.sync_silence_seconds)
        ) as http,
        # Longer than a lease: whether ingest is there or not, the lease decides how long to try.
        AsyncClient(
            settings.ingest_address,
            patience=settings.sync_lease,
            timeout=settings.sync_lease,
            token=InternalTokens(settings.required_secret_key).source("sync-worker"),
            **tls.client_options(settings),
        ) as ingest,
    ):
        async with pool.acquire() as connection:
            await check_migrated(connection)

        def open_source(secret: Secret, platform: Platform) -> Connector:
            credential = vault.decrypt(secret.credential)
            return opening(secret, platform, http, credential, first_wait=settings.sync_retry_seconds)

        runner = Runner(
            pool,
            ingest,
            open_source,
            lease=settings.sync_lease,
            first_wait=settings.sync_retry_seconds,
            failures_alert=settings.sync_failures_alert,
        )

        async def pull(company_id: str, run_id: str) -> None:
            await runner.run(company_id, uuid.UUID(run_id))

        broker.register_task(pull, task_name=TASK)
        with serving_metrics(settings.metrics_address, tls.certificates(settings)):
            listening = asyncio.create_task(_listen(broker, settings.sync_concurrency))
            _log.info("listening")
            await stopping.wait()
            listening.cancel()
            await runner.stop()
            await asyncio.wait([listening], timeout=2)
            await broker.shutdown()
            _log.info("stopped")


async def _listen(broker: AsyncBroker, concurrency: int) -> None:
    """Takes messages for ever. A listener that fails (Redis is away, or was emptied) is started anew."""
    broker.is_worker_process = True
    with ThreadPoolExecutor(max_workers=1) as executor:
        while True:
            try:
                receiver: Any = Receiver(
                    broker,
                    executor=executor,
                    run_startup=True,
                    max_async_tasks=concurrency,
                    # Acknowledged at once: the truth is in PostgreSQL, and a message that comes again is harmless.
                    ack_type=AcknowledgeType.WHEN_RECEIVED,
                )
                await receiver.listen(asyncio.Event())
            except Exception as error:
                _log.warning("listener_failed", **logs.describe(error))
            await asyncio.sleep(0.5)


if __name__ == "__main__":
    server.run("sync-worker", main)
