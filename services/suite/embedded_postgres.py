"""PostgreSQL brought along, run as a child of this process.

It listens on a Unix socket only, in a folder that nobody but its user may enter, so it needs no password.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import asyncpg

from services.suite.lock import FileLock
from services.suite.postgres_place import PORT, PostgresPlace, prepare_place, remove_place
from shared.errors import OperatorError

DATABASE = "hookline"
USER = "hookline"

SMALL_MACHINE = {
    "shared_buffers": "256MB",
    "max_connections": "200",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "on",
}
"""The defaults, for a machine with few cores and a few gigabytes. Everything else is as PostgreSQL has it."""

_ALWAYS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "fsync": "on",
    # What fails is logged without the statement and its values: they hold customers' data.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}
_NOT_YET = (
    ConnectionError,
    FileNotFoundError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
)
_LARGEST_LOG = 10 * 1024 * 1024
_START_SECONDS = 300  # a crash leaves up to max_wal_size to replay
_RETRY_SECONDS = 15
_ORPHAN_SECONDS = 10
# What a new server says while the backends of a killed one are still on their way out.
_STILL_LEAVING = ("pre-existing shared memory block", "lock file")


class EmbeddedPostgres:
    """A PostgreSQL server with its data in `<data_dir>/postgres` (as root: a link to a folder in /var/lib/hookline).

    `settings` replace those of `SMALL_MACHINE`. Needs asyncio's own event loop, not uvloop: the latter can't start a
    process as another user. Not for concurrent use. The server outlives a killed parent; the next `start()` on the same
    data replaces it.
    """

    def __init__(self, data_dir: Path, settings: Mapping[str, str] = SMALL_MACHINE) -> None:
        self._data_dir = data_dir
        self._settings = settings
        self._place: PostgresPlace | None = None
        self._lock: FileLock | None = None
        self.process: asyncio.subprocess.Process | None = None
        """The server, once started."""

    @property
    def dsn(self) -> str:
        """The URL of the database. Only once started."""
        return self._dsn(DATABASE)

    @property
    def psql(self) -> Path:
        """The `psql` that came along. Only once started."""
        return self._placed.binaries / "psql"

    @property
    def log(self) -> Path:
        """What the server says. Only once started."""
        return self._placed.log

    async def start(self) -> None:
        """Starts the server, makes its data and the database on first use, and returns once it takes connections.

        Also starts a server again that has died. Raises OperatorError when the wheel is not installed, another process
        has a server on the data, or PostgreSQL does not start; nothing is then left running.
        """
        try:
            place = await self._prepare()
            # With the lock held, a server that still runs on the data is an orphan, never someone's.
            self._lock = self._lock or FileLock(place.home / "lock")
            await _make_data(place)
            await _stop_orphan(place)
            await self._launch()
        except BaseException as error:
            await self.stop()
            if isinstance(error, OSError):
                raise OperatorError(
                    f"PostgreSQL can't keep its data in {self._data_dir}: {error.strerror or error}"
                    f"{f' ({error.filename})' if error.filename else ''}."
                ) from error
            raise

    async def wait(self) -> int:
        """Waits for the server's end and returns its exit status, negative for a signal."""
        assert self.process is not None
        return await self.process.wait()

    async def stop(self, grace: float = 5) -> None:
        """Stops the server: disconnects everyone and writes everything out; after `grace` seconds without, leaving
        that to the next start. Loses nothing that was committed. Does nothing when it isn't running."""
        process = self.process
        if process is not None and process.returncode is None:
            for number, patience in ((signal.SIGINT, grace), (signal.SIGQUIT, 6.0), (signal.SIGKILL, None)):
                self._signal(number)
                with suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), patience)
                    break
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def kill(self) -> None:
        """Makes the server drop everything and end; `stop()`, perhaps under way already, then finds it gone."""
        self._signal(signal.SIGQUIT)

    async def destroy(self) -> None:
        """Stops the server and removes all of its data. Irreversible; for temporary folders."""
        await self.stop()
        place = await self._prepare()
        lock = FileLock(place.home / "lock")
        try:
            await _stop_orphan(place)
            await asyncio.to_thread(remove_place, place, self._data_dir)
        finally:
            lock.release()
            self._place = None

    @property
    def _placed(self) -> PostgresPlace:
        assert self._place is not None, "not started"
        return self._place

    async def _prepare(self) -> PostgresPlace:
        if self._place is None:
            self._place = await asyncio.to_thread(prepare_place, self._data_dir)
        return self._place

    def _dsn(self, database: str) -> str:
        return f"postgresql://{USER}@/{database}?host={quote(str(self._placed.sockets))}&port={PORT}"

    def _signal(self, number: int) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)

    async def _launch(self) -> None:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + _RETRY_SECONDS
        while True:
            already_logged = await self._spawn()
            if await self._accepts():
                return
            said = _last_lines(self._placed.log, already_logged)
            if loop.time() > give_up or not any(sign in said for sign in _STILL_LEAVING):
                raise OperatorError(f"PostgreSQL does not start; {self._placed.log} ends with: {said or 'nothing'}.")
            await asyncio.sleep(0.25)

    async def _spawn(self) -> int:
        """Starts the server; returns how much its log held before."""
        place = self._placed
        # A list within the setting: quoted, since a path may hold a comma.
        folder = '"' + str(place.sockets).replace('"', '""') + '"'
        arguments = ["-D", str(place.data)]
        for name, value in {**self._settings, **_ALWAYS, "unix_socket_directories": folder}.items():
            arguments += ["-c", f"{name}={value}"]
        log = _open_log(place.log)
        already_logged = os.fstat(log).st_size
        try:
            self.process = await asyncio.create_subprocess_exec(
                place.binaries / "postgres", *arguments, stdout=log, stderr=log, **place.spawning()
            )
        finally:
            os.close(log)
        return already_logged

    async def _accepts(self) -> bool:
        """Waits until the server takes connections and has the database; False when it ended instead."""
        assert self.process is not None
        give_up = asyncio.get_running_loop().time() + _START_SECONDS
        while self.process.returncode is None:
            try:
                await self._make_database()
            except _NOT_YET:
                if asyncio.get_running_loop().time() > give_up:
                    raise OperatorError(
                        f"PostgreSQL is not up after {_START_SECONDS} seconds; its log is {self._placed.log}."
                    ) from None
                await asyncio.sleep(0.05)
            else:
                return True
        return False

    async def _make_database(self) -> None:
        connection = await asyncpg.connect(self._dsn("postgres"), timeout=10)
        try:
            if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close()


async def _make_data(place: PostgresPlace) -> None:
    """Makes the data when there is none: beside, then renamed, so that a kill leaves all or nothing."""
    if place.data.exists():
        return
    for half_made in place.home.glob("data.new.*"):
        shutil.rmtree(half_made, ignore_errors=True)
    making = Path(tempfile.mkdtemp(prefix="data.new.", dir=place.home))
    if place.user != os.geteuid():
        os.chown(making, place.user, place.group)
    initdb = await asyncio.create_subprocess_exec(
        place.binaries / "initdb",
        "--pgdata",
        making,
        "--encoding=UTF8",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--auth=trust",
        f"--username={USER}",
        "--no-instructions",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **place.spawning(),
    )
    try:
        output, _ = await initdb.communicate()
    except asyncio.CancelledError:
        initdb.kill()
        await initdb.wait()
        raise
    if initdb.returncode:
        shutil.rmtree(making, ignore_errors=True)
        raise OperatorError(f"PostgreSQL's data can't be made in {place.home}: {_joined(output)}.")
    _rename_durably(making, place.data)


def _rename_durably(making: Path, data: Path) -> None:
    making.rename(data)
    # The name must be as durable as what will be committed under it.
    folder = os.open(data.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


async def _stop_orphan(place: PostgresPlace) -> None:
    """Stops a server that runs on the data though its parent is gone."""
    pid = await asyncio.to_thread(_running_server, place)
    if pid is None:
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        give_up = loop.time() + _ORPHAN_SECONDS
        while loop.time() < give_up:
            if str(place.data) not in await asyncio.to_thread(_command, pid):
                return
            await asyncio.sleep(0.05)
    raise OperatorError(f"Process {pid} serves {place.data} and can't be stopped.")


def _running_server(place: PostgresPlace) -> int | None:
    noted = place.data / "postmaster.pid"
    try:
        pid = int(noted.read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None
    if str(place.data) in _command(pid):
        return pid
    # Stale. PostgreSQL would still refuse to start if the pid has since gone to another process of the same user, as
    # happens after a reboot, or to a zombie. Shared memory in use is guarded apart from this file.
    noted.unlink()
    return None


def _command(pid: int) -> str:
    """The command line of a process. Empty for one that is gone, or dead and not yet reaped."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="surrogateescape")
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self").exists():
            return ""
    # As on macOS.
    found = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, check=False)  # noqa: S607
    return found.stdout.decode(errors="surrogateescape")


def _open_log(path: Path) -> int:
    """Opens the log for appending; one that has grown large is set aside. It may quote statements: for its owner."""
    with suppress(FileNotFoundError):
        if path.stat().st_size > _LARGEST_LOG:
            path.replace(path.with_suffix(".log.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)


def _last_lines(log: Path, offset: int) -> str:
    with log.open("rb") as file:
        file.seek(offset)
        return _joined(file.read())


def _joined(output: bytes) -> str:
    """The last lines of some output, in one."""
    lines = [line.strip() for line in output.decode(errors="replace").splitlines() if line.strip()]
    return " · ".join(lines[-4:]).removesuffix(".")
