"""uvicorn within our process: our loop, our signals, our socket, our way to stop."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
import uvicorn
from prometheus_client import Gauge

from services.ingest.http_connection import Application, Config, Connection
from shared import logs, tls
from shared.settings import Settings
from shared.sockets import listening, require_allowed, taken

NOTICE_SECONDS = 0.1
"""Between the word that the door closes and its closing: what is just on its way is answered, each time as the last of
its connection."""

CONNECTIONS = Gauge("hookline_http_connections", "Connections to the door.")
_log = structlog.get_logger()


@asynccontextmanager
async def serving(settings: Settings, app: Application, stopping: asyncio.Event) -> AsyncIterator[None]:
    """Serves an application at `http_address` until `stopping` is set or the block ends; requests under way then get
    `drain_seconds`, and are cancelled.

    Raises OperatorError when the address can't be had or may not be used.
    """
    address = settings.http_address
    # Its tokens are in the URLs, always.
    require_allowed(settings, address, has_tokens=True)
    certificates = tls.certificates(settings)
    try:
        listener = listening(address, shared=settings.processes > 1)
    except OSError:
        raise taken(address) from None
    config = Config(app, settings, stopping)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    config.tell_the_time()
    # Not `serve`: it takes the process's signals, and looks ten times a second whether to end. Nor its `startup`, which
    # gives a handshake as long as asyncio does.
    state = server.server_state
    context = certificates.context(ask_clients=False) if certificates else None
    server.servers = [
        await asyncio.get_running_loop().create_server(
            lambda: Connection(config=config, server_state=state, app_state={}),
            sock=listener,
            ssl=context,
            ssl_handshake_timeout=settings.http_body_seconds if context else None,
            ssl_shutdown_timeout=settings.http_body_seconds if context else None,
            backlog=config.backlog,
        )
    ]
    server.started = True
    CONNECTIONS.set_function(lambda: len(server.server_state.connections))
    caring = asyncio.create_task(_look_after(config, server))
    closing = asyncio.create_task(_close_when(stopping, server, listener, settings.drain_seconds))
    _log.info("serving", address=address)
    try:
        yield
    finally:
        stopping.set()
        await closing
        caring.cancel()
        _log.info("stopped", address=address)


async def _look_after(config: Config, server: uvicorn.Server) -> None:
    while True:
        config.tell_the_time()
        now = asyncio.get_running_loop().time()
        for connection in list(server.server_state.connections):
            if isinstance(connection, Connection):
                _look_after_one(connection, now)
        await asyncio.sleep(0.5)


def _look_after_one(connection: Connection, now: float) -> None:
    try:
        connection.look_after(now)
    except Exception as error:
        # The time goes on for all the others.
        _log.error("connection_failed", **logs.describe(error))
        connection.transport.abort()


async def _close_when(
    stopping: asyncio.Event, server: uvicorn.Server, listener: socket.socket, drain_seconds: float
) -> None:
    await stopping.wait()
    try:
        async with asyncio.timeout(drain_seconds):
            await asyncio.sleep(NOTICE_SECONDS)
            await server.shutdown(sockets=[listener])
    except TimeoutError:
        state = server.server_state
        tasks = list(state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in list(state.connections):
            connection.transport.abort()
