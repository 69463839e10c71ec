"""Runs the suite on one machine: PostgreSQL if it is to be brought along, the migration, then each service as a process
of its own, started again when it dies."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import click
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.suite import ports, roster
from services.suite.embedded_postgres import SMALL_MACHINE, EmbeddedPostgres
from services.suite.embedded_valkey import EmbeddedValkey
from services.suite.lock import FileLock
from services.suite.roster import Service
from services.suite.secret_key import keep_secret_key
from services.suite.welcome import welcome
from shared import own_server, tls
from shared.errors import OperatorError
from shared.processes import LIFELINE_FD, again_and_again, end, why_ended
from shared.settings import Settings, counted_up, reachable

METRICS_ADDRESS = "127.0.0.1:9464"
"""Where `run` serves the first service's metrics unless told otherwise."""
SANDBOX_ADDRESS = "127.0.0.1:8090"
"""Where `run --embedded` has the sandbox shop unless told otherwise."""

_START_SECONDS = 60
_STOP_SECONDS = 9.0
"""A stop takes less than 10 seconds as long as services drain in time; what they leave of it is PostgreSQL's."""


class Suite:
    """The running suite, as an asynchronous context manager: entered when every service is healthy, left when all of
    its processes are gone.

    `embedded` brings PostgreSQL and Valkey along, with their data in `settings.data_dir`; `postgres_settings` are
    PostgreSQL's.
    `services` are those of the roster unless given. What happens is told to `say`, a line at a time.

    Entering raises OperatorError (ChildFailed when a child has already told why) and then leaves nothing running. Later
    deaths of a process are no error: it is started again, after a delay that grows while it keeps dying. Needs
    asyncio's own event loop (see EmbeddedPostgres).
    """

    def __init__(
        self,
        settings: Settings,
        *,
        embedded: bool,
        postgres_settings: Mapping[str, str] = SMALL_MACHINE,
        services: Sequence[Service] | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.settings = settings
        self.services = roster.services(settings) if services is None else services
        self.postgres: EmbeddedPostgres | None = None
        self.valkey: EmbeddedValkey | None = None
        self.stopping = False
        self._embedded = embedded
        self._postgres_settings = postgres_settings
        self._say = say
        self._lock: FileLock | None = None
        self._secret_key = settings.secret_key
        self._lifeline: tuple[int, int] | None = None
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._keepers: list[asyncio.Task[NoReturn]] = []
        self._proven: set[str] = set()
        self._all_proven = asyncio.Event()

    @property
    def database_url(self) -> str:
        """The database that the services use. With an embedded one, only once entered."""
        url = self.postgres.dsn if self.postgres else self.settings.database_url
        assert url is not None
        return url

    @property
    def _servers(self) -> Mapping[str, EmbeddedPostgres | EmbeddedValkey]:
        """The servers brought along, in the order of starting."""
        named = {"postgres": self.postgres, "valkey": self.valkey}
        return {name: server for name, server in named.items() if server is not None}

    @property
    def addresses(self) -> Mapping[str, str]:
        """How this machine reaches each service's gRPC, by the service's name."""
        return {service.name: reachable(service.address) for service in self.services if service.address}

    def process(self, name: str) -> asyncio.subprocess.Process:
        """The service's process of the moment; after a death, for a while, the dead one."""
        return self._processes[name]

    async def healthy(self, name: str, timeout: float = 30) -> None:
        """Waits until the service says that it is serving. Raises TimeoutError."""
        [service] = [service for service in self.services if service.name == name]
        async with asyncio.timeout(timeout):
            await _until_healthy(service, self.settings)

    async def failed(self) -> NoReturn:
        """Waits until the suite can't go on, which it is built never to; raises why."""
        done, _ = await asyncio.wait(self._keepers, return_when=asyncio.FIRST_COMPLETED)
        raise next(iter(done)).exception() or AssertionError("a keeper returned")

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Stops everything: the services as they drain, then PostgreSQL. Must not be cancelled; `kill` hurries it."""
        self.stopping = True
        began = time.monotonic()
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await asyncio.gather(*(end(process, self.settings.drain_seconds + 3) for process in self._processes.values()))
        self._kill_groups()
        grace = max(1.0, _STOP_SECONDS - (time.monotonic() - began))
        await asyncio.gather(*(server.stop(grace) for server in self._servers.values()))
        if self._lifeline:
            for descriptor in self._lifeline:
                os.close(descriptor)
            self._lifeline = None
        if self._lock:
            self._lock.release()
            self._lock = None

    def kill(self) -> None:
        """Makes a `stop` under way end at once. Loses nothing that was committed."""
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                process.kill()
        self._kill_groups()
        for server in self._servers.values():
            server.kill()

    def _kill_groups(self) -> None:
        """Kills what is left of services of several processes whose parent could not stop them."""
        for service in self.services:
            if service.processes > 1 and service.name in self._processes:
                with suppress(ProcessLookupError):
                    os.killpg(self._processes[service.name].pid, signal.SIGKILL)

    async def _start(self) -> None:
        for name, url in (("DATABASE", self.settings.database_url), ("REDIS", self.settings.redis_url)):
            if self._embedded and url:
                raise OperatorError(f"HOOKLINE_{name}_URL is set and `--embedded` is given; drop one of them.")
        if not self._embedded:
            # Says so if it is missing, before anything is started.
            _ = self.settings.required_database_url
        # The same for what is wrong with them.
        tls.certificates(self.settings)
        if self._embedded:
            self._lock = _lock(self.settings.data_dir)
        ports.check_free(self._listened_on())
        self._lifeline = os.pipe()
        if self._embedded:
            self.postgres = EmbeddedPostgres(self.settings.data_dir, self._postgres_settings)
            self.valkey = EmbeddedValkey(self.settings.data_dir)
            self._secret_key = keep_secret_key(self.settings)
            for name, server in self._servers.items():
                await server.start()
                self._say(f"{name} is up")
        await self._migrate()
        self._keepers = [asyncio.create_task(self._keep(service)) for service in self.services]
        self._keepers += [asyncio.create_task(self._keep_server(*named)) for named in self._servers.items()]
        await self._until_all_healthy()

    def _listened_on(self) -> Iterator[tuple[str, str]]:
        """Every address that the services will listen on, after the setting that names it."""
        for service in self.services:
            if service.address:
                yield f"HOOKLINE_{service.name.upper()}_ADDRESS", service.address
            if service.http_address:
                yield "HOOKLINE_HTTP_ADDRESS", service.http_address
            if first := self._metrics_address(service):
                for number in range(service.processes):
                    yield "HOOKLINE_METRICS_ADDRESS", counted_up(first, number)

    def _metrics_address(self, service: Service) -> str | None:
        """Where the service's first process serves its metrics: after those of the services before it."""
        if self.settings.metrics_address is None:
            return None
        before = self.services[: self.services.index(service)]
        return counted_up(self.settings.metrics_address, sum(other.processes for other in before))

    def _environment(self, service: Service | None = None) -> dict[str, str]:
        """What a child is told: this suite's settings, whatever the environment says, and its own metrics address."""
        told = self.settings.model_dump(mode="json")
        told |= {"database_url": self.database_url, "data_dir": str(self.settings.data_dir.absolute())}
        if self.valkey:
            told |= {"redis_url": self.valkey.url, "secret_key": self._secret_key}
        if service:
            told["metrics_address"] = self._metrics_address(service)
        # The sandbox shop has settings of its own.
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("HOOKLINE_") or name.startswith("HOOKLINE_SANDBOX_")
        }
        return inherited | {f"HOOKLINE_{name.upper()}": str(value) for name, value in told.items() if value is not None}

    async def _migrate(self) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services", "migrate", env=self._environment(), start_new_session=True
        )
        try:
            status = await process.wait()
        finally:
            await end(process, 1)
        if status:
            raise why_ended("The migration", status, "done")

    async def _spawn(self, service: Service) -> asyncio.subprocess.Process:
        assert self._lifeline is not None
        reading, _ = self._lifeline
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            service.module,
            env=self._environment(service) | {LIFELINE_FD: str(reading)},
            pass_fds=(reading,),
            # A terminal's Ctrl-C is for the supervisor alone, which stops the services in order.
            start_new_session=True,
        )

    async def _keep(self, service: Service) -> NoReturn:
        async def run_once() -> int:
            process = self._processes[service.name] = await self._spawn(service)
            greeting = asyncio.create_task(self._greet(service))
            try:
                status = await process.wait()
            finally:
                greeting.cancel()
            if status and service.name not in self._proven:
                raise why_ended(service.name, status, "healthy")
            return status

        await self._again_and_again(service.name, run_once)

    async def _keep_server(self, name: str, server: EmbeddedPostgres | EmbeddedValkey) -> NoReturn:
        async def run_once() -> int | str:
            assert server.process is not None
            if server.process.returncode is not None:
                try:
                    await server.start()
                except OperatorError as error:
                    return str(error)
                self._say(f"{name} is up")
            return await server.wait()

        await self._again_and_again(name, run_once)

    async def _again_and_again(self, name: str, run_once: Callable[[], Awaitable[int | str]]) -> NoReturn:
        def ended(how: str, delay: float) -> None:
            self._say(f"{name} ended ({how}); starting it again in {delay:g} s")

        await again_and_again(run_once, ended)

    async def _greet(self, service: Service) -> None:
        if service.health:
            await _until_healthy(service, self.settings)
        self._proven.add(service.name)
        if len(self._proven) == len(self.services):
            self._all_proven.set()
        self._say(f"{service.name} is healthy" + (f" at {service.address}" if service.address else ""))

    async def _until_all_healthy(self) -> None:
        waiting = asyncio.create_task(self._all_proven.wait())
        try:
            done, _ = await asyncio.wait(
                {waiting, *self._keepers}, timeout=_START_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            waiting.cancel()
        if not done:
            late = ", ".join(service.name for service in self.services if service.name not in self._proven)
            raise OperatorError(f"Not healthy after {_START_SECONDS} seconds: {late}.")
        for task in done:
            task.result()


async def run(settings: Settings, *, embedded: bool) -> int:
    """Runs the suite until SIGINT, SIGTERM or SIGHUP; a second one ends everything at once. Returns the exit status.

    Raises OperatorError (ChildFailed when a child has already told why).
    """
    if settings.metrics_address is None:
        settings = settings.model_copy(update={"metrics_address": METRICS_ADDRESS})
    if embedded:
        # For trying things out: a shop to pull from, and the leave to pull from this machine.
        sandbox = settings.sandbox_address or SANDBOX_ADDRESS
        settings = settings.model_copy(update={"sandbox_address": sandbox, "allow_loopback_sources": True})
    suite = Suite(settings, embedded=embedded, say=_tell)
    killed = False

    async def live() -> None:
        async with suite:
            psql = suite.postgres.psql if suite.postgres else None
            secured = tls.client_environment(settings)
            _tell(welcome(suite.addresses, suite.database_url, psql, tokens=settings.require_tokens, tls=secured))
            await suite.failed()

    def on_signal() -> None:
        nonlocal killed
        if suite.stopping:
            killed = True
            suite.kill()
        else:
            _tell("stopping; a second signal stops at once")
            life.cancel()

    life = asyncio.create_task(live())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Under nohup, SIGHUP stays ignored. SIGINT does not, though shells start background jobs with it ignored: who
        # sends it means it.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            loop.add_signal_handler(number, on_signal)
    with suppress(asyncio.CancelledError):
        await life
    _tell("stopped")
    return 1 if killed else 0


def _tell(line: str) -> None:
    # Whoever read along, through a pipe or on a terminal, may have left. The suite stays.
    with suppress(OSError):
        click.echo(line)


def _lock(data_dir: Path) -> FileLock:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        return FileLock(data_dir.absolute() / "lock")
    except OSError as error:
        raise OperatorError(f"HOOKLINE_DATA_DIR: {data_dir} can't be used ({error.strerror}).") from None


async def _until_healthy(service: Service, settings: Settings) -> None:
    assert service.address is not None
    options = [
        # Not the back-off meant for servers far away, and not that of earlier attempts.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.min_reconnect_backoff_ms", 50),
        ("grpc.max_reconnect_backoff_ms", 100),
    ]
    async with await _channel(reachable(service.address), settings, options) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        while True:
            with suppress(grpc.aio.AioRpcError):
                answer = await check(health_pb2.HealthCheckRequest(), timeout=2, wait_for_ready=True)
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
            await asyncio.sleep(0.02)


async def _channel(address: str, settings: Settings, options: Sequence[tuple[str, Any]]) -> grpc.aio.Channel:
    """A channel to a service of this suite, once there is something that listens there."""
    if not settings.tls_certificate:
        return grpc.aio.insecure_channel(address, options)
    while True:
        with suppress(OSError):
            credentials, more = await asyncio.to_thread(
                own_server.credentials, address, settings.tls_certificate, settings.tls_key
            )
            return grpc.aio.secure_channel(address, credentials, [*options, *more])
        await asyncio.sleep(0.05)
