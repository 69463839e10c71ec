"""Connections to PostgreSQL, and what its errors mean to us."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urlsplit

import asyncpg

from shared.errors import DatabaseUnavailable, OperatorError

Connection: TypeAlias = "asyncpg.Connection[Any]"
Pool: TypeAlias = "asyncpg.Pool[Any]"
T = TypeVar("T")

# The connection is gone, or the server is coming or going: nothing that the statement itself could help.
# QueryCanceledError is a statement_timeout, LockNotAvailableError a lock_timeout: a server too busy to answer.
# IdleInTransactionSessionTimeoutError is what a process finds that was frozen in the middle of a transaction.
# ReadOnlySQLTransactionError is a primary that no longer is one. A write over connections that we open to read only
# would be told the same: that is for tests to find.
UNAVAILABLE = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.QueryCanceledError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.OutOfMemoryError,
    asyncpg.DiskFullError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
_STARTING = (asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError, ConnectionRefusedError, FileNotFoundError)
_PATIENCE_SECONDS = 15
_RETRY_SECONDS = (0.05, 0.2, 0.5, 1.0)


@asynccontextmanager
async def unavailable_if_lost() -> AsyncIterator[None]:
    """Turns the loss of the database inside the block into DatabaseUnavailable."""
    try:
        yield
    except UNAVAILABLE as error:
        if isinstance(error, ValueError):
            # asyncpg's word for an argument that it can't encode is an InterfaceError too: that is our own mistake.
            raise
        raise DatabaseUnavailable from error


@asynccontextmanager
async def acquired(pool: Pool) -> AsyncIterator[Connection]:
    """A connection of the pool for the block. The loss of the database, before or inside it, is DatabaseUnavailable."""
    async with unavailable_if_lost():
        try:
            async with pool.acquire() as connection:
                yield connection
        except asyncpg.ReadOnlySQLTransactionError:
            # Its sessions may outlive its being the primary: only new ones lead to the one that is by now.
            await pool.expire_connections()
            raise


async def read_patiently(pool: Pool, read: Callable[[Connection], Awaitable[T]]) -> T:
    """Reads something, again and again for about two seconds: as patient as ingest's committer, so that an event that
    meets a lost connection is not refused for that. Raises DatabaseUnavailable."""
    for delay in _RETRY_SECONDS:
        try:
            async with acquired(pool) as connection:
                return await read(connection)
        except DatabaseUnavailable:
            await asyncio.sleep(delay)
    async with acquired(pool) as connection:
        return await read(connection)


async def connect(database_url: str, **server_settings: str) -> Connection:
    """Opens one connection. Waits up to 15 seconds for a server that is starting; else raises OperatorError."""
    async with _explained(database_url):
        return await _patiently(lambda: asyncpg.connect(database_url, timeout=10, server_settings=server_settings))


async def open_pool(database_url: str, connections: int, **server_settings: str) -> Pool:
    """Opens a pool of at most `connections`. Waits up to 15 seconds for a server that is starting; else raises
    OperatorError. Payloads (jsonb) go in and out as the bytes of their JSON."""
    async with _explained(database_url):
        return await _patiently(
            lambda: asyncpg.create_pool(
                database_url,
                min_size=1,
                max_size=connections,
                timeout=10,
                command_timeout=60,
                init=_set_codecs,
                # No statement of ours leaves anything behind in its session: a round trip less for each use.
                reset=_leave_as_it_is,
                server_settings={
                    "application_name": "hookline",
                    "timezone": "UTC",
                    "search_path": "hookline, public",
                    **server_settings,
                },
            )
        )


async def _set_codecs(connection: Connection) -> None:
    # jsonb's binary form is a version byte and the text: bytes need not be decoded to be encoded again.
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", format="binary", encoder=b"\x01".__add__, decoder=lambda data: bytes(data[1:])
    )


async def _leave_as_it_is(connection: Connection) -> None:
    pass


async def _patiently(attempt: Any) -> Any:
    give_up = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
    while True:
        try:
            return await attempt()
        except _STARTING:
            if asyncio.get_running_loop().time() > give_up:
                raise
            await asyncio.sleep(0.2)


@asynccontextmanager
async def _explained(database_url: str) -> AsyncIterator[None]:
    if not re.match(r"postgres(ql)?://", database_url):
        raise OperatorError("HOOKLINE_DATABASE_URL is not a PostgreSQL URL; it looks like postgresql://user@host/name.")
    try:
        yield
    except asyncpg.InvalidPasswordError:
        raise OperatorError(f"PostgreSQL at {_place(database_url)} refuses the user or the password.") from None
    except asyncpg.InvalidCatalogNameError:
        raise OperatorError(f"PostgreSQL at {_place(database_url)} has no such database.") from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise OperatorError(f"PostgreSQL at {_place(database_url)} can't be used: {error}.") from None
    except (OSError, TimeoutError) as error:
        raise OperatorError(f"PostgreSQL at {_place(database_url)} can't be reached: {error}.") from None


def _place(database_url: str) -> str:
    # Never the whole URL: it may hold a password.
    try:
        parts = urlsplit(database_url)
        return (parts.hostname or re.sub(r".*\bhost=([^&]*).*", r"\1", parts.query) or "localhost") + parts.path
    except ValueError:
        return "the address given"
