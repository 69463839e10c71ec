"""The sync service's process: `python -m services.sync`. It serves gRPC; the worker and the scheduler do the work."""

import asyncio

import aiohttp
import grpc

from hookline.sync.v1 import sync_service_pb2, sync_service_pb2_grpc
from services.sync.doorbell import Doorbell
from services.sync.servicer import SyncServicer
from shared import db, limits, server
from shared.broker import make_broker
from shared.migrate import check_migrated
from shared.settings import Settings
from shared.vault import Vault


async def main(settings: Settings, stopping: asyncio.Event) -> None:
    broker = make_broker(settings.required_redis_url)
    vault = Vault(settings.required_secret_key)
    pool = await db.open_pool(settings.required_database_url, settings.database_connections, statement_timeout="30s")
    async with pool, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        async with pool.acquire() as connection:
            await check_migrated(connection)
        servicer = SyncServicer(
            pool, Doorbell(broker), vault, session, stopping, allow_loopback=settings.allow_loopback_sources
        )

        def register(grpc_server: grpc.aio.Server) -> None:
            sync_service_pb2_grpc.add_SyncServiceServicer_to_server(servicer, grpc_server)

        names = [service.full_name for service in sync_service_pb2.DESCRIPTOR.services_by_name.values()]
        async with (
            limits.opened(settings, pool) as limiter,
            server.serving(settings, settings.sync_address, names, register, stopping, limiter),
        ):
            await stopping.wait()
        await broker.shutdown()


if __name__ == "__main__":
    server.run("sync", main)
