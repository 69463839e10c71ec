"""PostgreSQL brought along: starts, keeps its data, and replaces what a killed parent left behind."""

import asyncio
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

from services.suite.embedded_postgres import EmbeddedPostgres
from shared.errors import OperatorError
from tests.waiting import eventually

SMALL = {"shared_buffers": "16MB", "max_connections": "20"}


@pytest.fixture
async def data_dir(tmp_path: Path) -> AsyncIterator[Path]:
    """A folder for the data, which is destroyed afterwards whatever the test has left running on it."""
    yield tmp_path
    await EmbeddedPostgres(tmp_path).destroy()


async def ask(postgres: EmbeddedPostgres, query: str) -> Any:
    connection = await asyncpg.connect(postgres.dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_starts_and_keeps_its_data(data_dir: Path) -> None:
    postgres = EmbeddedPostgres(data_dir, SMALL)
    await postgres.start()
    await ask(postgres, "CREATE TABLE kept AS SELECT 'Violão' AS name")
    assert await ask(postgres, "SHOW listen_addresses") == ""
    assert await ask(postgres, "SHOW fsync") == "on"
    assert await ask(postgres, "SHOW server_encoding") == "UTF8"
    assert await ask(postgres, "SHOW max_connections") == "20"
    await postgres.stop()
    assert postgres.process is not None
    assert postgres.process.returncode == 0

    again = EmbeddedPostgres(data_dir, SMALL)
    await again.start()
    assert await ask(again, "SELECT name FROM kept") == "Violão"
    await again.stop()


async def test_notices_its_death_and_starts_again(data_dir: Path) -> None:
    postgres = EmbeddedPostgres(data_dir, SMALL)
    await postgres.start()
    await ask(postgres, "CREATE TABLE kept AS SELECT 1 AS number")
    dsn = postgres.dsn
    assert postgres.process is not None
    os.kill(postgres.process.pid, signal.SIGKILL)
    assert await asyncio.wait_for(postgres.wait(), 10) == -signal.SIGKILL
    await postgres.start()
    assert postgres.dsn == dsn
    assert await ask(postgres, "SELECT number FROM kept") == 1
    await postgres.stop()


async def test_replaces_the_server_of_a_killed_parent(data_dir: Path) -> None:
    script = textwrap.dedent("""
        import asyncio, sys
        from pathlib import Path
        import asyncpg
        from services.suite.embedded_postgres import EmbeddedPostgres

        async def main():
            postgres = EmbeddedPostgres(Path(sys.argv[1]), {"shared_buffers": "16MB", "max_connections": "20"})
            await postgres.start()
            connection = await asyncpg.connect(postgres.dsn)
            await connection.execute("CREATE TABLE kept AS SELECT 1 AS number")
            print(postgres.process.pid, flush=True)
            await asyncio.Event().wait()

        asyncio.run(main())
    """)
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(data_dir), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    orphan = psutil.Process(int(await parent.stdout.readline()))
    parent.kill()
    await parent.wait()
    assert orphan.is_running()

    postgres = EmbeddedPostgres(data_dir, SMALL)
    await postgres.start()
    await eventually(lambda: not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE, what="orphan gone")
    assert await ask(postgres, "SELECT number FROM kept") == 1
    await postgres.stop()


async def test_a_pid_taken_over_by_another_process_does_not_keep_it_from_starting(data_dir: Path) -> None:
    postgres = EmbeddedPostgres(data_dir, SMALL)
    await postgres.start()
    assert postgres.process is not None
    noted = data_dir / "postgres" / "data" / "postmaster.pid"
    lines = noted.read_text().split("\n")
    os.kill(postgres.process.pid, signal.SIGKILL)
    await postgres.wait()
    noted.write_text("\n".join([str(os.getppid()), *lines[1:]]))
    await postgres.start()
    assert await ask(postgres, "SELECT 1") == 1
    assert psutil.pid_exists(os.getppid())
    await postgres.stop()


async def test_refuses_a_second_server_on_the_same_data(data_dir: Path) -> None:
    postgres = EmbeddedPostgres(data_dir, SMALL)
    await postgres.start()
    with pytest.raises(OperatorError, match=rf"in use by process {os.getpid()};"):
        await EmbeddedPostgres(data_dir, SMALL).start()
    assert await ask(postgres, "SELECT 1") == 1
    await postgres.stop()


async def test_makes_its_data_anew_after_being_killed_while_making_it(data_dir: Path) -> None:
    postgres = EmbeddedPostgres(data_dir, SMALL)
    starting = asyncio.create_task(postgres.start())
    home = data_dir / "postgres"
    await eventually(lambda: list(home.glob("data.new.*/PG_VERSION")), what="initdb under way")
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not (home / "data").exists()
    await postgres.start()
    assert await ask(postgres, "SELECT 1") == 1
    assert not list(home.glob("data.new.*"))
    await postgres.stop()


async def test_says_why_it_does_not_start_and_leaves_nothing_running(data_dir: Path) -> None:
    postgres = EmbeddedPostgres(data_dir, SMALL | {"shared_buffers": "plenty"})
    with pytest.raises(OperatorError, match=r'postgres\.log ends with: .*invalid value .*"plenty"'):
        await postgres.start()
    assert postgres.process is not None
    assert postgres.process.returncode
    postgres = EmbeddedPostgres(data_dir, SMALL)
    await postgres.start()
    await postgres.stop()


async def test_works_where_the_path_is_too_long_for_a_socket(tmp_path: Path) -> None:
    data_dir = tmp_path / ("long" * 30)
    postgres = EmbeddedPostgres(data_dir, SMALL)
    try:
        await postgres.start()
        assert await ask(postgres, "SELECT 1") == 1
    finally:
        await postgres.destroy()
    assert list(data_dir.iterdir()) == []
