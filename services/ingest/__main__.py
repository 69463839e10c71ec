"""The ingest service's process: `python -m services.ingest`."""

import asyncio
import os

import grpc

from hookline.ingest.v1 import ingest_service_pb2, ingest_service_pb2_grpc
from services.ingest.committer import Committer
from services.ingest.maintenance import keep_partitions_ahead
from services.ingest.mapping import Mapper
from services.ingest.servicer import IngestServicer
from shared import db, server
from shared.migrate import check_migrated
from shared.platforms import platforms
from shared.settings import Settings


async def main(settings: Settings, stopping: asyncio.Event) -> None:
    mapper = Mapper(platforms(), settings.max_event_bytes)
    pool = await db.open_pool(settings.required_database_url, settings.database_connections, statement_timeout="30s")
    async with pool:
        async with pool.acquire() as connection:
            await check_migrated(connection)
        # A batch keeps one core of PostgreSQL busy: more writers than cores only wait for each other.
        writers = min(os.cpu_count() or 2, settings.database_connections - 1)
        committer = Committer(pool, writers, settings.max_queued_bytes)
        servicer = IngestServicer(mapper, committer, pool)
        maintenance = asyncio.create_task(keep_partitions_ahead(pool))

        def register(grpc_server: grpc.aio.Server) -> None:
            ingest_service_pb2_grpc.add_IngestServiceServicer_to_server(servicer, grpc_server)

        names = [service.full_name for service in ingest_service_pb2.DESCRIPTOR.services_by_name.values()]
        async with server.serving(settings, settings.ingest_address, names, register, stopping):
            await stopping.wait()
            servicer.stop_reading()
        maintenance.cancel()
        await committer.close()


if __name__ == "__main__":
    server.run("ingest", main)
