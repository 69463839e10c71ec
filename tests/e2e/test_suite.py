"""`python -m services run` as the operator knows it: a real process, its output, its exit status, what it leaves."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import asyncpg
import psutil
import pytest

from services.suite.embedded_postgres import EmbeddedPostgres
from services.suite.embedded_valkey import EmbeddedValkey
from services.suite.ports import free_address, free_addresses
from shared.settings import counted_up
from tests.scraping import scraped
from tests.waiting import eventually

STOP_SECONDS = 30
"""Long past the end of any stop: what a machine does that is busy with other things is no matter."""


class Operator:
    """Someone who runs the suite on one folder, from another."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "data"
        self.cwd = folder
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("HOOKLINE_")} | {
            "HOOKLINE_DATA_DIR": str(self.data_dir),
            "HOOKLINE_INGEST_ADDRESS": free_address(),
            "HOOKLINE_SYNC_ADDRESS": free_address(),
            "HOOKLINE_EXPORT_ADDRESS": free_address(),
            "HOOKLINE_HTTP_ADDRESS": free_address(),
            "HOOKLINE_SANDBOX_ADDRESS": free_address(),
            "HOOKLINE_METRICS_ADDRESS": free_addresses(8),
        }
        self.started: list[asyncio.subprocess.Process] = []
        self.output = folder / "output.log"
        """What the process started last says."""

    async def start(self, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
        """Starts `python -m services` with its output going to a file of its own."""
        self.output = self.cwd / f"output-{len(self.started)}.log"
        with self.output.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "services",
                *arguments,
                cwd=self.cwd,
                env=self.environment | environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    async def hears(self, words: str, after: int = 0) -> None:
        """Waits until the process started last has said these words, `after` so many characters."""
        await eventually(lambda: words in self.output.read_text()[after:], what=words)

    async def up(self, **environment: str) -> psutil.Process:
        """Starts the suite and returns its supervisor once everything is healthy."""
        process = await self.start("run", "--embedded", **environment)

        def is_up() -> bool:
            assert process.returncode is None, self.output.read_text()
            return "The suite is up" in self.output.read_text()

        await eventually(is_up, what="the suite is up")
        return psutil.Process(process.pid)

    async def refused(self, *arguments: str, **environment: str) -> str:
        """Runs a command that is to fail, and returns all that it says."""
        process = await self.start(*arguments, **environment)
        assert await asyncio.wait_for(process.wait(), 30) == 1
        return self.output.read_text()

    async def database(self) -> asyncpg.Connection:
        return await asyncpg.connect(
            f"postgresql://hookline@/hookline?host={(self.data_dir / 'postgres').resolve() / 'socket'}"
        )


@pytest.fixture
async def operator(tmp_path: Path) -> AsyncIterator[Operator]:
    operator = Operator(tmp_path)
    yield operator
    for process in operator.started:
        if process.returncode is None:
            # Its services follow by their lifeline, its servers when the data is destroyed.
            process.kill()
            await process.wait()
    if operator.data_dir.exists():
        await EmbeddedValkey(operator.data_dir).destroy()
        await EmbeddedPostgres(operator.data_dir).destroy()


def running(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that still run. A zombie doesn't."""
    alive = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
    return alive


def of_module(processes: Iterable[psutil.Process], module: str) -> psutil.Process:
    [found] = [process for process in processes if module in process.cmdline()]
    return found


async def test_runs_alone_on_its_data_until_told_to_stop_and_leaves_nothing_behind(operator: Operator) -> None:
    supervisor = await operator.up()
    output = operator.output
    said = output.read_text()
    for name in ("INGEST", "EXPORT"):
        assert f"{name.lower()} is healthy at {operator.environment[f'HOOKLINE_{name}_ADDRESS']}\n" in said
    children = supervisor.children(recursive=True)
    of_module(children, "services.ingest")
    of_module(children, "services.export")

    said = await operator.refused("run", "--embedded", HOOKLINE_INGEST_ADDRESS=free_address())
    assert said == (
        f"{operator.data_dir} is in use by process {supervisor.pid}; "
        "stop that one, or name another folder with HOOKLINE_DATA_DIR.\n"
    )
    assert running(children) == children

    supervisor.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(operator.started[0].wait(), STOP_SECONDS) == 0
    assert running(children) == []
    assert "Traceback" not in output.read_text()


async def test_starts_again_what_dies(operator: Operator) -> None:
    supervisor = await operator.up()
    for module in ("services.ingest", "services.export"):
        victim = of_module(supervisor.children(), module)
        before = len(operator.output.read_text())
        victim.kill()
        await operator.hears(f"{module.removeprefix('services.')} is healthy", after=before)
        assert of_module(supervisor.children(), module).pid != victim.pid

    [postgres] = [child for child in supervisor.children() if child.name() == "postgres"]
    before = len(operator.output.read_text())
    postgres.kill()
    await operator.hears("postgres is up", after=before)
    connection = await operator.database()
    assert await connection.fetchval("SELECT count(*) FROM hookline.schema_migrations") > 0
    await connection.close()


async def test_killed_its_services_go_too_and_the_next_run_has_the_data(operator: Operator) -> None:
    supervisor = await operator.up()
    connection = await operator.database()
    await connection.execute("CREATE TABLE kept AS SELECT 1 AS number")
    await connection.close()
    services = [of_module(supervisor.children(), module) for module in ("services.ingest", "services.export")]

    supervisor.kill()
    await operator.started[0].wait()
    await eventually(lambda: not running(services), timeout=STOP_SECONDS, what="the services are gone")

    await operator.up()
    connection = await operator.database()
    assert await connection.fetchval("SELECT number FROM kept") == 1
    await connection.close()


async def test_a_second_signal_stops_at_once(operator: Operator) -> None:
    # Longer than the test is let run.
    supervisor = await operator.up(HOOKLINE_DRAIN_SECONDS="300")
    children = supervisor.children(recursive=True)
    # A service that does not react makes the first stop wait.
    of_module(children, "services.ingest").suspend()
    supervisor.send_signal(signal.SIGINT)
    await operator.hears("stopping")
    supervisor.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(operator.started[0].wait(), STOP_SECONDS) == 1
    assert running(children) == []


async def test_one_that_does_not_react_does_not_hold_up_the_stop(operator: Operator) -> None:
    supervisor = await operator.up(HOOKLINE_DRAIN_SECONDS="1")
    children = supervisor.children(recursive=True)
    of_module(children, "services.ingest").suspend()
    supervisor.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(operator.started[0].wait(), STOP_SECONDS) == 0
    assert running(children) == []


async def metrics(operator: Operator, number: int) -> str:
    """What the process at one of the metrics addresses has counted; empty while there is none."""
    with suppress(OSError):
        return await scraped(counted_up(operator.environment["HOOKLINE_METRICS_ADDRESS"], number))
    return ""


@pytest.mark.parametrize("how", ["in order", "at once"])
async def test_runs_services_as_several_processes(operator: Operator, how: str) -> None:
    supervisor = await operator.up(HOOKLINE_PROCESSES="2")
    # Each process of each service serves its metrics: ingest's two, export's two, sync, its worker and its scheduler.
    counted = [await eventually(partial(metrics, operator, number)) for number in range(7)]
    assert ["hookline_http_connections" in text for text in counted] == [True] * 2 + [False] * 5
    children = supervisor.children(recursive=True)
    for module, processes in (("services.ingest", 2), ("services.export", 2), ("services.sync", 0)):
        assert len(of_module(supervisor.children(), module).children()) == processes
    if how == "at once":
        of_module(supervisor.children(), "services.ingest").children()[0].suspend()
        supervisor.send_signal(signal.SIGTERM)
        await operator.hears("stopping")
    supervisor.send_signal(signal.SIGTERM)
    status = await asyncio.wait_for(operator.started[0].wait(), STOP_SECONDS)
    assert status == (1 if how == "at once" else 0)
    assert running(children) == []


@pytest.mark.parametrize("name", ["INGEST", "HTTP", "EXPORT", "METRICS"])
async def test_refuses_a_taken_port(operator: Operator, name: str) -> None:
    setting = f"HOOKLINE_{name}_ADDRESS"
    host, port = operator.environment[setting].split(":")
    with socket.socket() as other:
        # One that shares its port, as gRPC servers do by default.
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind((host, int(port)))
        other.listen()
        said = await operator.refused("run", "--embedded")
    assert said == f"Port {port} on {host} is taken; {setting} names another.\n"
    assert not (operator.data_dir / "postgres").exists()


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (
            ["run"],
            {},
            "HOOKLINE_DATABASE_URL is not set; it names the PostgreSQL to use, and `--embedded` brings one along.",
        ),
        (["migrate"], {}, "HOOKLINE_DATABASE_URL is not set; it names the PostgreSQL to migrate."),
        (
            ["run", "--embedded"],
            {"HOOKLINE_DATABASE_URL": "postgresql://hookline@127.0.0.1/hookline"},
            "HOOKLINE_DATABASE_URL is set and `--embedded` is given; drop one of them.",
        ),
        (
            ["run"],
            {"HOOKLINE_DATABASE_URL": "mysql://hookline@127.0.0.1/hookline"},
            "HOOKLINE_DATABASE_URL is not a PostgreSQL URL; it looks like postgresql://user@host/name.",
        ),
        (
            ["run", "--embedded"],
            {"HOOKLINE_EXPORT_ADDRESS": "nowhere"},
            "HOOKLINE_EXPORT_ADDRESS is wrong: 'nowhere' is not host:port.",
        ),
        (
            ["demo"],
            {"HOOKLINE_PROCESSES": "0"},
            "HOOKLINE_PROCESSES is wrong: Input should be greater than or equal to 1.",
        ),
        (
            ["run"],
            {"HOOKLINE_REQUIRE_TOKEN": "true"},
            "HOOKLINE_REQUIRE_TOKEN is no setting of Hookline; shared/settings.py lists them.",
        ),
    ],
)
async def test_a_mistake_is_one_sentence(
    operator: Operator, arguments: list[str], environment: Mapping[str, str], sentence: str
) -> None:
    assert await operator.refused(*arguments, **environment) == sentence + "\n"


async def test_a_database_that_refuses_is_one_sentence(operator: Operator) -> None:
    postgres = EmbeddedPostgres(operator.data_dir)
    await postgres.start()
    try:
        folder = (operator.data_dir / "postgres").resolve() / "socket"
        said = await operator.refused("run", HOOKLINE_DATABASE_URL=f"postgresql://hookline@/missing?host={folder}")
    finally:
        await postgres.stop()
    assert said == f"PostgreSQL at {folder}/missing has no such database.\n"


async def test_without_a_command_it_explains_itself(operator: Operator) -> None:
    process = await operator.start()
    assert await asyncio.wait_for(process.wait(), 30) == 2
    said = operator.output.read_text()
    for command in ("run", "migrate", "demo"):
        assert f"    {command} " in said
