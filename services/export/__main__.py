"""The export service's process: `python -m services.export`."""

import asyncio
from contextlib import AsyncExitStack, aclosing

import grpc

from hookline.export.v1 import (
    audit_service_pb2,
    audit_service_pb2_grpc,
    event_query_service_pb2,
    event_query_service_pb2_grpc,
    export_service_pb2,
    export_service_pb2_grpc,
)
from services.export import memory
from services.export.audit_servicer import AuditServicer
from services.export.cache import Cache
from services.export.query_servicer import EventQueryServicer
from services.export.resuming import ResumeTokens
from services.export.servicer import ExportServicer
from services.export.turns import Turns
from services.export.watching import Tails
from shared import db, limits, server
from shared.migrate import check_migrated
from shared.settings import Settings


async def main(settings: Settings, stopping: asyncio.Event) -> None:
    tokens = ResumeTokens(settings.required_secret_key)
    # Exports have connections of their own: lists and searches never wait for them.
    async with (
        await open_pool(settings, settings.database_connections) as queries,
        # With random reads as dear as PostgreSQL has them by itself, it would read a page of some size in the table's
        # order and sort it: that takes longer than the index's order, and gives nothing before the last row is read.
        await open_pool(settings, settings.export_connections, random_page_cost="1.1") as exports,
        aclosing(Cache(settings.redis_url, settings.required_secret_key)) as cache,
        AsyncExitStack() as stack,
    ):
        async with queries.acquire() as connection:
            await check_migrated(connection)
        # A summary may have to read the whole log: lists and searches always find connections that no summary has.
        sums = Turns(max(1, settings.database_connections // 4))
        limiter = await stack.enter_async_context(limits.opened(settings, queries))

        def register(grpc_server: grpc.aio.Server) -> None:
            servicer = ExportServicer(exports, Turns(settings.export_connections), tokens, limiter)
            export_service_pb2_grpc.add_ExportServiceServicer_to_server(servicer, grpc_server)
            audit_service_pb2_grpc.add_AuditServiceServicer_to_server(AuditServicer(queries), grpc_server)
            event_query_service_pb2_grpc.add_EventQueryServiceServicer_to_server(
                EventQueryServicer(queries, sums, cache, Tails(queries, stopping)), grpc_server
            )

        names = [
            service.full_name
            for module in (export_service_pb2, event_query_service_pb2, audit_service_pb2)
            for service in module.DESCRIPTOR.services_by_name.values()
        ]
        async with server.serving(settings, settings.export_address, names, register, stopping, limiter):
            await stopping.wait()


async def open_pool(settings: Settings, connections: int, **server_settings: str) -> db.Pool:
    """A pool of at most so many connections, set as the statements of this service need it, and with these settings."""
    return await db.open_pool(
        settings.required_database_url,
        connections,
        statement_timeout="60s",
        default_transaction_read_only="on",
        # Filters that are not given must fold away before an index is chosen; one plan for all of them can't do that.
        plan_cache_mode="force_custom_plan",
        # A page is a few milliseconds of work: compiling it, or starting workers for it, takes longer.
        jit="off",
        max_parallel_workers_per_gather="0",
        # A call that is given up lets go of its connection; PostgreSQL would notice only when it has something to send.
        client_connection_check_interval="500ms",
        **server_settings,
    )


if __name__ == "__main__":
    memory.keep_freed()
    server.run("export", main, shared=lambda settings: [settings.export_address])
