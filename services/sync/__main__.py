"""The sync service's process: `python -m services.sync`. It serves gRPC; the worker and the scheduler do the work."""

import asyncio

import grpc

from hookline.client import AsyncClient
from hookline.sync.v1 import (
    alert_service_pb2,
    alert_service_pb2_grpc,
    sync_service_pb2,
    sync_service_pb2_grpc,
)
from services.sync.alert_servicer import AlertServicer
from services.sync.alerting import alerting
from services.sync.connectors.http import Limits, open_http
from services.sync.doorbell import Doorbell
from services.sync.servicer import SyncServicer
from shared import db, limits, server, tls
from shared.broker import make_broker
from shared.internal import InternalTokens
from shared.migrate import check_migrated
from shared.settings import Settings
from shared.vault import Vault

PREVIEW_SECONDS = 5.0


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
        # Asked when a source is tried: someone waits for the answer.
        AsyncClient(
            settings.ingest_address,
            patience=1,
            timeout=PREVIEW_SECONDS,
            token=InternalTokens(settings.required_secret_key).source("sync"),
            **tls.client_options(settings),
        ) as ingest,
    ):
        async with pool.acquire() as connection:
            await check_migrated(connection)
        servicer = SyncServicer(pool, Doorbell(broker), vault, http, ingest, stopping)

        async with alerting(pool, vault, settings) as deliverer:
            alerts = AlertServicer(pool, vault, deliverer, allow_loopback=settings.allow_loopback_sources)

            def register(grpc_server: grpc.aio.Server) -> None:
                sync_service_pb2_grpc.add_SyncServiceServicer_to_server(servicer, grpc_server)
                alert_service_pb2_grpc.add_AlertServiceServicer_to_server(alerts, grpc_server)

            names = [
                service.full_name
                for module in (sync_service_pb2, alert_service_pb2)
                for service in module.DESCRIPTOR.services_by_name.values()
            ]
            async with (
                limits.opened(settings, pool) as limiter,
                server.serving(settings, settings.sync_address, names, register, stopping, limiter),
            ):
                await stopping.wait()
        await broker.shutdown()


if __name__ == "__main__":
    server.run("sync", main)
