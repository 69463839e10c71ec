"""The ingest service's process: `python -m services.ingest`."""

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager

import grpc

from hookline.ingest.v1 import (
    endpoint_service_pb2,
    endpoint_service_pb2_grpc,
    ingest_service_pb2,
    ingest_service_pb2_grpc,
    privacy_service_pb2,
    privacy_service_pb2_grpc,
)
from services.ingest import http_server
from services.ingest.committer import Committer
from services.ingest.endpoint_servicer import EndpointServicer
from services.ingest.erased_keys import ErasedKeys
from services.ingest.http import Hooks
from services.ingest.maintenance import keep_partitions_ahead, keep_pending_lists_short
from services.ingest.mapping import Mapper
from services.ingest.privacy_servicer import PrivacyServicer
from services.ingest.registry import Registry
from services.ingest.servicer import IngestServicer
from shared import db, limits, server
from shared.migrate import check_migrated
from shared.platforms import platforms
from shared.settings import Settings
from shared.vault import Vault

SERVICES = [
    service.full_name
    for file in (ingest_service_pb2.DESCRIPTOR, endpoint_service_pb2.DESCRIPTOR, privacy_service_pb2.DESCRIPTOR)
    for service in file.services_by_name.values()
]


async def main(settings: Settings, stopping: asyncio.Event) -> None:
    mapper = Mapper(platforms(), settings.max_event_bytes)
    vault = Vault(settings.required_secret_key)
    pool = await db.open_pool(settings.required_database_url, settings.database_connections, statement_timeout="30s")
    async with pool, AsyncExitStack() as stack:
        async with pool.acquire() as connection:
            await check_migrated(connection)
        limiter = await stack.enter_async_context(limits.opened(settings, pool))
        # A batch keeps one core of PostgreSQL busy: more writers than cores only wait for each other. One connection is
        # for the batch that they may begin beyond their number, one for everything else.
        writers = max(1, min(os.cpu_count() or 2, settings.database_connections - 2))
        erased_keys = ErasedKeys(settings.required_secret_key)
        committer = Committer(pool, writers, settings.max_queued_bytes, erased_keys)
        registry = Registry(pool, vault)
        servicer = IngestServicer(mapper, registry, committer, pool, limiter)
        hooks = Hooks(mapper, committer, registry, settings, stopping, limiter)
        endpoints = EndpointServicer(pool, vault, registry, settings.public_url)
        privacy = PrivacyServicer(pool, erased_keys, settings.redis_url)

        def register(grpc_server: grpc.aio.Server) -> None:
            ingest_service_pb2_grpc.add_IngestServiceServicer_to_server(servicer, grpc_server)
            endpoint_service_pb2_grpc.add_EndpointServiceServicer_to_server(endpoints, grpc_server)
            privacy_service_pb2_grpc.add_PrivacyServiceServicer_to_server(privacy, grpc_server)

        work = (
            keep_partitions_ahead(pool),
            keep_pending_lists_short(pool, lambda: committer.stored),
            registry.keep_listening(settings.required_database_url),
        )
        async with _beside(*work):
            # The door opens first: where gRPC says that it serves, all does.
            async with (
                http_server.serving(settings, hooks, stopping),
                server.serving(settings, settings.ingest_address, SERVICES, register, stopping, limiter),
            ):
                await stopping.wait()
                servicer.stop_reading()
            await committer.close()


@asynccontextmanager
async def _beside(*work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Does work that never ends until the block does."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    server.run("ingest", main, shared=lambda settings: [settings.ingest_address, settings.http_address])
