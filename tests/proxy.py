"""What stands between a service and PostgreSQL when the network fails: a socket that can be cut at a chosen moment."""

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import quote, unquote

_SOCKET = ".s.PGSQL.5432"


class Proxy:
    """Passes everything on, until told otherwise. `url` is the database's, through this proxy."""

    def __init__(self, url: str, target: Path, path: Path) -> None:
        self.url = url
        self._target = target
        self._path = path
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_words: bytes | None = None

    async def mend(self) -> None:
        """Takes connections (again)."""
        self._server = await asyncio.start_unix_server(self._connected, self._path)

    def lose_answers_to(self, words: bytes) -> None:
        """Once a client has said so, it gets no more answers on that connection: the server hears and does what it is
        told, and nobody learns of it. Until the connections are broken."""
        self._last_words = words

    def cut(self) -> None:
        """Breaks all connections and takes no new ones."""
        if self._server is not None:
            self._server.close()
            self._path.unlink()
            self._server = None
        self.break_connections()

    def break_connections(self) -> None:
        """Breaks all connections; new ones are taken, and whole."""
        self._last_words = None
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def close(self) -> None:
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_unix_connection(self._target)
        self._writers |= {writer, server_writer}
        answers = asyncio.create_task(self._pass(server_reader, writer))
        questions = asyncio.create_task(self._pass(reader, server_writer, answers))
        for task in (answers, questions):
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: "asyncio.Task[None] | None" = None
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if answers and self._last_words and self._last_words in data:
                    answers.cancel()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
        self._writers.discard(writer)


@asynccontextmanager
async def proxied(database_url: str) -> AsyncIterator[Proxy]:
    """A proxy in front of a database that is reached over a Unix socket."""
    match = re.search(r"\bhost=([^&]*)", database_url)
    assert match
    # Not pytest's folder: a socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="hookline-") as folder:
        url = database_url.replace(match[0], f"host={quote(folder)}")
        proxy = Proxy(url, Path(unquote(match[1])) / _SOCKET, Path(folder) / _SOCKET)
        await proxy.mend()
        try:
            yield proxy
        finally:
            await proxy.close()
