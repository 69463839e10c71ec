"""The services as they are, in this process: wired by their own `main`, over real sockets on free ports."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from cryptography.fernet import Fernet
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hookline.client.requests import CHANNEL_OPTIONS
from hookline.export.v1.event_query_service_pb2_grpc import EventQueryServiceStub
from hookline.export.v1.export_service_pb2_grpc import ExportServiceStub
from hookline.ingest.v1.endpoint_service_pb2_grpc import EndpointServiceStub
from hookline.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub
from services.export.__main__ import main as export_main
from services.ingest.__main__ import main as ingest_main
from services.suite.ports import free_address
from shared.settings import Settings, split_address
from tests.waiting import eventually

if TYPE_CHECKING:
    from hookline.export.v1.event_query_service_pb2_grpc import EventQueryServiceAsyncStub
    from hookline.export.v1.export_service_pb2_grpc import ExportServiceAsyncStub
    from hookline.ingest.v1.endpoint_service_pb2_grpc import EndpointServiceAsyncStub
    from hookline.ingest.v1.ingest_service_pb2_grpc import IngestServiceAsyncStub

SECRET_KEY = Fernet.generate_key().decode()
"""The key of every service that runs here."""
Main = Callable[[Settings, asyncio.Event], Awaitable[None]]


@dataclass(frozen=True)
class Running:
    """A service that serves. `stopping` is what a SIGTERM sets; `stopped` is done when the service has ended."""

    address: str
    channel: grpc.aio.Channel
    stopping: asyncio.Event
    stopped: asyncio.Future[None]

    def raw(self, kind: str, method: str) -> Any:
        """A method, such as "unary_unary", that sends bytes as they are."""
        return getattr(self.channel, kind)(method)


@dataclass(frozen=True)
class Ingesting(Running):
    """`http` is what the door's URLs begin with."""

    stub: "IngestServiceAsyncStub"
    endpoints: "EndpointServiceAsyncStub"
    http: str


@dataclass(frozen=True)
class Exporting(Running):
    export: "ExportServiceAsyncStub"
    query: "EventQueryServiceAsyncStub"


@asynccontextmanager
async def ingesting(
    database_url: str, *, credentials: grpc.ChannelCredentials | None = None, **settings: Any
) -> AsyncIterator[Ingesting]:
    """Runs an ingest service until the block ends. With TLS among the settings, `credentials` are those to reach it by,
    and `name` is what its certificate says."""
    address = settings.setdefault("ingest_address", free_address())
    door = settings.setdefault("http_address", free_address())
    async with _running(ingest_main, address, database_url, credentials, **settings) as running:
        channel = running[1]
        yield Ingesting(
            *running,
            stub=IngestServiceStub(channel),
            endpoints=EndpointServiceStub(channel),
            http=f"{'https' if credentials else 'http'}://{door}",
        )


@asynccontextmanager
async def exporting(
    database_url: str, *, credentials: grpc.ChannelCredentials | None = None, **settings: Any
) -> AsyncIterator[Exporting]:
    """Runs an export service until the block ends."""
    address = settings.setdefault("export_address", free_address())
    async with _running(export_main, address, database_url, credentials, **settings) as running:
        channel = running[1]
        yield Exporting(*running, export=ExportServiceStub(channel), query=EventQueryServiceStub(channel))


@asynccontextmanager
async def _running(
    main: Main, address: str, database_url: str, credentials: grpc.ChannelCredentials | None = None, **settings: Any
) -> AsyncIterator[tuple[str, grpc.aio.Channel, asyncio.Event, asyncio.Future[None]]]:
    name = settings.pop("name", None)
    settings = {"database_url": database_url, "drain_seconds": 2, "secret_key": SECRET_KEY, **settings}
    stopping = asyncio.Event()
    service = asyncio.ensure_future(main(Settings(**settings), stopping))
    # Called a moment too early, a channel waits a fifth of a second before it tries again: longer than most tests take.
    await eventually(lambda: _listens(address, service), what="the service listens")
    # A channel of its own: not one that other tests have used, with their time-outs and their server of this port.
    options: list[tuple[str, Any]] = [*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
    if name:
        options.append(("grpc.ssl_target_name_override", name))
    async with (
        grpc.aio.secure_channel(address, credentials, options)
        if credentials
        else grpc.aio.insecure_channel(address, options)
    ) as channel:
        try:
            await eventually(lambda: _serves(channel, service), what="the service is healthy")
            yield address, channel, stopping, service
        finally:
            stopping.set()
            await asyncio.wait([service])
    service.result()


async def _listens(address: str, service: "asyncio.Future[None]") -> bool:
    if service.done():
        # Raises what has ended it.
        service.result()
    host, port = split_address(address)
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


async def _serves(channel: grpc.aio.Channel, service: "asyncio.Future[None]") -> bool:
    if service.done():
        # Raises what has ended it.
        service.result()
    try:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2)
    except grpc.aio.AioRpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
