"""The command as a process against the real service: killed, cut off and slowed down, it still gives the very same file
in the end, and shows every event once."""

import asyncio
import json
import os
import random
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from hookline.client import AsyncClient
from tests.in_process import Exporting, Ingesting
from tests.samples import grapfy, send
from tests.waiting import eventually


class Relay:
    """Stands between a caller and the service: lets only so many bytes of answers through, and breaks connections."""

    def __init__(self, target: str) -> None:
        self._target = target.rsplit(":", 1)
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._may_pass = asyncio.Event()
        self._allowance: float = 0
        self.address = ""
        self.passed = 0

    def allow(self, more: float) -> None:
        """So many more bytes; what was allowed and has not passed is forgotten."""
        self._allowance = self.passed + more
        self._may_pass.set()

    def has_passed(self, size: int) -> bool:
        return self.passed >= size

    def cut(self) -> None:
        """Breaks all connections; new ones are taken."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(*self._target)
        self._writers |= {writer, up_writer}
        for task in (self._answers(up_reader, writer), self._questions(reader, up_writer)):
            running = asyncio.create_task(task)
            self._tasks.add(running)
            running.add_done_callback(self._tasks.discard)

    async def _questions(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(4096):
                while self.passed >= self._allowance and not writer.transport.is_closing():
                    self._may_pass.clear()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(0.1):
                            await self._may_pass.wait()
                self.passed += len(data)
                writer.write(data)
                await writer.drain()
        writer.transport.abort()

    async def close(self) -> None:
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def relay(export: Exporting) -> AsyncIterator[Relay]:
    made = Relay(export.address)
    server = await asyncio.start_server(made.connected, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    made.address = f"{host}:{port}"
    yield made
    server.close()
    await made.close()


async def fill(ingest: Ingesting, start: int, count: int) -> None:
    made = random.Random(start)
    for first in range(start, start + count, 500):
        numbers = range(first, min(first + 500, start + count))
        await send(ingest.stub, "acme", [grapfy(number, x=made.randbytes(700).hex()) for number in numbers])


@asynccontextmanager
async def command(address: str, *arguments: str) -> AsyncIterator[Process]:
    environment = os.environ | {"HOOKLINE_COMPANY": "acme", "HOOKLINE_EXPORT_ADDRESS": address}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hookline.cli", *arguments, env=environment, stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def whole(export: Exporting, name: str, path: Path, *options: str) -> bytes:
    async with command(export.address, "export", "-o", str(path / name), *options) as process:
        _, told = await process.communicate()
        assert process.returncode == 0, told
    return (path / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("events.ndjson", ()),
        ("events.json", ("--compression", "zstd")),
        ("events.csv", ("--dialect", "excel-ptbr", "--columns", "event_id,total,payload", "--compression", "gzip")),
    ],
)
async def test_killed_midway_and_resumed(
    ingest: Ingesting, export: Exporting, relay: Relay, tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    await fill(ingest, 0, 2000)
    (tmp_path / "whole").mkdir()
    expected = await whole(export, name, tmp_path / "whole", *options)
    target = tmp_path / name
    note = target.with_name(f"{name}.part.json")
    arguments = ("export", "-o", str(target), "--resume", *options)
    for _ in range(2):
        # Far enough for a chunk or two of what is left, and no further.
        relay.allow(450_000)
        fresh = note.stat().st_mtime_ns if note.exists() else 0
        async with command(relay.address, *arguments) as process:
            await eventually(partial(is_newer, note, fresh))
            process.send_signal(signal.SIGKILL)
            await process.wait()
        assert not target.exists()
    # What happens meanwhile is not in it.
    await fill(ingest, 5000, 300)
    relay.allow(10**9)
    before = relay.passed
    async with command(relay.address, *arguments, "--json") as process:
        out, told = await process.communicate()
        assert process.returncode == 0, told
    assert target.read_bytes() == expected
    assert json.loads(out)["rows"] == 2000
    assert names(tmp_path) == sorted([name, "whole"])
    if not options:
        assert relay.passed - before < len(expected)


def is_newer(path: Path, moment: int) -> bool:
    return path.exists() and path.stat().st_mtime_ns > moment


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_ended_by_ctrl_c_and_resumed(ingest: Ingesting, export: Exporting, relay: Relay, tmp_path: Path) -> None:
    await fill(ingest, 0, 2000)
    target = tmp_path / "events.ndjson"
    relay.allow(600_000)
    async with command(relay.address, "export", "-o", str(target), "--resume") as process:
        await eventually(target.with_name("events.ndjson.part.json").exists)
        process.send_signal(signal.SIGINT)
        _, told = await process.communicate()
        assert process.returncode == 130
        assert b"the same command goes on from there" in told
    relay.allow(10**9)
    async with command(relay.address, "export", "-o", str(target), "--resume") as process:
        _, told = await process.communicate()
        assert process.returncode == 0, told
    assert len(target.read_bytes().splitlines()) == 2000


async def test_a_connection_that_breaks_again_and_again(
    ingest: Ingesting, export: Exporting, relay: Relay, tmp_path: Path
) -> None:
    await fill(ingest, 0, 2000)
    (tmp_path / "whole").mkdir()
    expected = await whole(export, "events.ndjson", tmp_path / "whole")
    for output in ("-", str(tmp_path / "events.ndjson")):
        relay.allow(400_000)
        async with command(relay.address, "export", "--format", "ndjson", "-o", output) as process:
            ended = asyncio.create_task(process.communicate())
            for _ in range(5):
                stood = relay.passed
                await eventually(partial(relay.has_passed, stood + 400_000))
                relay.cut()
                relay.allow(400_000)
            relay.allow(10**9)
            out, told = await ended
            assert process.returncode == 0, told
        assert (out if output == "-" else (tmp_path / "events.ndjson").read_bytes()) == expected


async def test_watching_over_a_connection_that_breaks(ingest: Ingesting, export: Exporting, relay: Relay) -> None:
    await fill(ingest, 0, 20)
    relay.allow(10**9)
    seen: list[int] = []
    async with command(relay.address, "watch", "--after", "5", "--json", "--payload") as process:
        assert process.stdout
        for start in range(20, 120, 20):
            await fill(ingest, start, 20)
            while not seen or seen[-1] < start + 10:
                seen.append(json.loads(await process.stdout.readline())["sequence"])
            relay.cut()
        while seen[-1] < 120:
            seen.append(json.loads(await process.stdout.readline())["sequence"])
        process.send_signal(signal.SIGINT)
        assert await process.communicate() == (b"", b"")
        assert process.returncode == 0
    assert seen == list(range(6, 121))


async def test_the_client_for_asyncio_watches_too(ingest: Ingesting, export: Exporting, relay: Relay) -> None:
    await fill(ingest, 0, 20)
    relay.allow(10**9)
    seen = []
    async with AsyncClient(export=relay.address) as client:
        async for event in client.watch("acme", after=0):
            seen.append(event.sequence)
            if event.sequence % 10 == 5:
                relay.cut()
            if event.sequence == 20:
                await fill(ingest, 20, 20)
            if event.sequence == 40:
                break
    assert seen == list(range(1, 41))
