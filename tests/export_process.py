"""The export service as a process of its own, to be killed, and what stands between it and its callers."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.suite.ports import free_address
from tests.ingest_process import SECRET_KEY
from tests.waiting import eventually


class ExportProcess:
    """`python -m services.export` on a free port, always the same one and with the same secret key; `settings` are
    those of shared/settings.py. What it logs goes to a file in the folder."""

    def __init__(self, database_url: str, folder: Path, **settings: Any) -> None:
        self.address = free_address()
        self._log = folder / "export.log"
        self._process: asyncio.subprocess.Process
        told = {"database_url": database_url, "export_address": self.address, "secret_key": SECRET_KEY, **settings}
        self._environment = os.environ | {f"HOOKLINE_{name.upper()}": str(value) for name, value in told.items()}

    async def start(self) -> None:
        """Starts it, and waits until it serves."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "services.export", env=self._environment, stdout=log, stderr=log
            )
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 100)]
        async with grpc.aio.insecure_channel(self.address, options) as channel:
            await eventually(lambda: self._serves(channel), timeout=60, what="export serves")

    async def end(self, how: signal.Signals) -> None:
        """Ends it, and waits until it is gone."""
        if self._process.returncode is None:
            self._process.send_signal(how)
        async with asyncio.timeout(30):
            await self._process.wait()

    async def _serves(self, channel: grpc.aio.Channel) -> bool:
        assert self._process.returncode is None, f"export ended: {self._log.read_text()[-2000:]}"
        with suppress(grpc.aio.AioRpcError):
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
        return False


@asynccontextmanager
async def export_process(database_url: str, folder: Path, **settings: Any) -> AsyncIterator[ExportProcess]:
    """An export process until the block ends."""
    process = ExportProcess(database_url, folder, **settings)
    await process.start()
    try:
        yield process
    finally:
        await process.end(signal.SIGTERM)


class TrappedRelay:
    """Passes on what callers and a server say, and at a chosen byte of the answers stops to let something happen."""

    def __init__(self, target: str) -> None:
        self._target = target.rsplit(":", 1)
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._bytes_left = 0
        self._happens: Callable[[], Awaitable[None]] | None = None

    def trap(self, size: int, happens: Callable[[], Awaitable[None]]) -> None:
        """After so many more bytes of answers, over whichever connection, this happens, once."""
        self._bytes_left, self._happens = size, happens

    def disarm(self) -> None:
        """Nothing happens any more."""
        self._happens = None

    async def cut(self) -> None:
        """Breaks all connections; new ones are taken."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one caller."""
        try:
            up_reader, up_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, up_writer}
        for passing in (self._answers(up_reader, writer), self._questions(reader, up_writer)):
            task = asyncio.create_task(passing)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        await self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _questions(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if self._happens and len(data) >= self._bytes_left:
                    writer.write(data[: self._bytes_left])
                    data = data[self._bytes_left :]
                    await writer.drain()
                    happens, self._happens = self._happens, None
                    await happens()
                self._bytes_left -= len(data)
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@asynccontextmanager
async def relayed(target: str) -> AsyncIterator[tuple[TrappedRelay, str]]:
    """A relay in front of an address, and its own address, until the block ends."""
    relay = TrappedRelay(target)
    server = await asyncio.start_server(relay.connected, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield relay, f"{host}:{port}"
    finally:
        server.close()
        await relay.close()
