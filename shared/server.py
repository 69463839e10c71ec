"""A gRPC server as every service runs it: health, reflection, metrics, graceful stop. And the process around it."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NoReturn, cast

import asyncpg
import click
import grpc
import structlog
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from shared import gate, logs, page_tokens, processes, sockets, tls
from shared.errors import HooklineError, OperatorError
from shared.interceptors import CallInterceptor
from shared.limits import Limiter
from shared.metrics_server import serving_metrics
from shared.settings import Settings, load_settings

GC_THRESHOLD = 10_000
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
KEEPALIVE_SECONDS = 60.0
"""A caller that has said nothing for so long is asked whether it is still there."""
KEEPALIVE_TIMEOUT_SECONDS = 20.0
"""One that does not answer for so long is gone, and so are its streams."""

_log = structlog.get_logger()


def run(
    service: str,
    main: Callable[[Settings, asyncio.Event], Awaitable[None]],
    *,
    shared: Callable[[Settings], Sequence[str]] | None = None,
) -> NoReturn:
    """Runs `main` as this process. It gets the settings and an event that is set when the process should stop (SIGTERM,
    SIGINT, the lifeline's end). An OperatorError ends the process with its one sentence and status 1, and so does what
    PostgreSQL refuses, or its loss, while the service starts.

    `shared` gives the addresses that several processes may share; with it, and where the settings say more than one
    process, this one becomes the parent of so many that run `main`. Without it there is always one.
    """
    try:
        settings = load_settings()
        if settings.log_level not in logs.LEVELS:
            raise OperatorError(f"HOOKLINE_LOG_LEVEL is wrong: it is one of {', '.join(logs.LEVELS)}.")
        logs.configure(service, settings.log_level)
        # Python looks for cycles after every 700 new objects. A batch of events makes thousands, and none of them is in
        # a cycle: the looking took a tenth of the time.
        gc.set_threshold(GC_THRESHOLD)
        uvloop.run(_with_signals(_chosen(settings, main, shared)))
    except processes.ChildFailed:
        sys.exit(1)
    except OperatorError as error:
        click.echo(f"{service}: {error}", err=True)
        sys.exit(1)
    except HooklineError as error:
        click.echo(f"{service}: {error}.", err=True)
        sys.exit(1)
    except asyncpg.PostgresError as error:
        click.echo(f"{service}: PostgreSQL can't be used: {error.args[0]}.", err=True)
        sys.exit(1)
    sys.exit(0)


def _chosen(
    settings: Settings,
    main: Callable[[Settings, asyncio.Event], Awaitable[None]],
    shared: Callable[[Settings], Sequence[str]] | None,
) -> Callable[[asyncio.Event], Awaitable[None]]:
    if shared is None or settings.processes == 1:
        alone = settings.model_copy(update={"processes": 1})
        return lambda stopping: main(alone, stopping)
    if one := processes.one_of_several(settings):
        return lambda stopping: main(one, stopping)
    addresses = shared(settings)
    return lambda stopping: processes.keep(settings, addresses, stopping)


async def _with_signals(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    if lifeline := os.environ.get(processes.LIFELINE_FD):

        def at_end() -> None:
            loop.remove_reader(int(lifeline))
            stopping.set()

        loop.add_reader(int(lifeline), at_end)
    await main(stopping)


@asynccontextmanager
async def serving(
    settings: Settings,
    address: str,
    services: Sequence[str],
    register: Callable[[grpc.aio.Server], None],
    stopping: asyncio.Event,
    limiter: Limiter | None = None,
) -> AsyncIterator[None]:
    """Serves what `register` adds to the server until the block ends, then stops gracefully.

    `services` are the full names for health and reflection. Leaving the block: health says NOT_SERVING, new calls are
    refused, those under way get `drain_seconds`. Raises OperatorError when the address can't be had or may not be used,
    and without a secret key.
    """
    sockets.require_allowed(settings, address, has_tokens=settings.require_tokens)
    page_tokens.configure(settings.required_secret_key)
    async with gate.opened(settings) as guarding:
        calls = CallInterceptor(
            settings.max_call_seconds,
            settings.stall_seconds,
            gate=guarding,
            limiter=limiter,
            log_all=settings.log_level == "debug",
        )
        async with _serving(settings, address, services, register, calls, stopping):
            yield


@asynccontextmanager
async def _serving(
    settings: Settings,
    address: str,
    services: Sequence[str],
    register: Callable[[grpc.aio.Server], None],
    calls: CallInterceptor,
    stopping: asyncio.Event,
) -> AsyncIterator[None]:
    server = grpc.aio.server(
        options=[
            # Sharing a port by accident would split the calls between two databases.
            ("grpc.so_reuseport", int(settings.processes > 1)),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES + 65536),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES + 65536),
            # Callers that vanish without a word (a cable, a NAT that forgot) would hold their streams for two hours.
            ("grpc.keepalive_time_ms", int(KEEPALIVE_SECONDS * 1000)),
            ("grpc.keepalive_timeout_ms", int(KEEPALIVE_TIMEOUT_SECONDS * 1000)),
            # Without it that takes a minute, whatever the one above says (measured).
            ("grpc.http2.ping_timeout_ms", int(KEEPALIVE_TIMEOUT_SECONDS * 1000)),
            # A stream without news is asked again and again.
            ("grpc.http2.max_pings_without_data", 0),
            # Clients ping through NATs and load balancers.
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
        ],
    )
    methods = cast(grpc.aio.Server, calls)
    register(methods)
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, methods)
    if settings.reflects:
        reflected = reflection.aio.ReflectionServicer([*services, health.SERVICE_NAME, reflection.SERVICE_NAME])
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflected, methods)
    server.add_generic_rpc_handlers([calls])
    certificates = tls.certificates(settings)
    try:
        if certificates:
            server.add_secure_port(address, certificates.grpc_credentials())
        else:
            server.add_insecure_port(address)
    except RuntimeError:
        raise sockets.taken(address) from None
    with serving_metrics(settings.metrics_address, certificates):
        await server.start()
        for service in ("", *services):
            await checks.set(service, health_pb2.HealthCheckResponse.SERVING)
        _log.info("serving", address=address)
        processes.tell_that_it_serves()
        try:
            yield
        finally:
            stopping.set()
            await checks.enter_graceful_shutdown()
            await server.stop(settings.drain_seconds)
            _log.info("stopped", address=address)
