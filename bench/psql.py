"""A psql that is connected and waits for commands, so that a measurement holds neither its start nor its log-in."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

_MARK = "-- done --"


class Psql:
    """One psql process, driven through its standard input."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def seconds(self, command: str) -> tuple[float, list[str]]:
        """Runs a command, a line of its own, to its end; gives its time and what it printed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        began = time.perf_counter()
        self._process.stdin.write(f"{command}\n\\echo '{_MARK}'\n".encode())
        printed: list[str] = []
        while (line := (await self._process.stdout.readline()).decode()) != f"{_MARK}\n":
            if not line:
                raise RuntimeError(f"psql ended: {printed}")
            printed.append(line.rstrip())
        return time.perf_counter() - began, printed


@asynccontextmanager
async def connected(psql: Path, database_url: str, settings: Mapping[str, str]) -> AsyncIterator[Psql]:
    """Starts psql with these server settings; it ends with the block, and at the first error."""
    process = await asyncio.create_subprocess_exec(
        psql,
        "--no-psqlrc",
        "--set=ON_ERROR_STOP=1",
        database_url,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    driven = Psql(process)
    try:
        for name, value in settings.items():
            await driven.seconds(f"SET {name} = '{value}';")
        yield driven
    finally:
        process.stdin.close()
        await process.wait()
