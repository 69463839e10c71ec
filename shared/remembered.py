"""What a process remembers of the database for seconds, so that hot paths need not ask; and hearing of changes.

Remembered for seconds only. A change is told by PostgreSQL (NOTIFY) and forgotten at once; should the telling fail, the
seconds bound how long a process goes on by what was.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, NoReturn, TypeVar

import structlog

from shared import db, logs

FRESH_SECONDS = 5.0
RECONNECT_SECONDS = 1.0

_log = structlog.get_logger()

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """Values by key, each for so many seconds as its load says and at most `seconds`; at most `most` of them, of which
    the one loaded first goes first. Whoever asks for a key while it is loaded waits for the same load."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._entries: dict[K, tuple[V, float]] = {}
        self._loading: dict[K, asyncio.Task[V]] = {}
        self._waiting: Counter[asyncio.Task[V]] = Counter()

    def fresh(self, key: K) -> tuple[V, float] | None:
        """The value and until when it is good, if it is there and good."""
        entry = self._entries.get(key)
        return entry if entry is not None and entry[1] > time.monotonic() else None

    async def load(self, key: K, load: Callable[[], Awaitable[tuple[V, float]]]) -> V:
        """Loads a value, or joins those who wait for it. When all of them have gone away, it is given up."""
        task = self._loading.get(key)
        if task is None:
            task = self._loading[key] = asyncio.create_task(self._load(key, load))
            # Should all who wait go away, nobody is left to hear why it failed.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._waiting[task] += 1
        try:
            # Shared: one caller that goes away must not end it for the others.
            return await asyncio.shield(task)
        finally:
            self._waiting[task] -= 1
            if not self._waiting[task]:
                # What nobody waits for any more must not hold up what comes after it.
                del self._waiting[task]
                if not task.done():
                    task.cancel()
                    # Whoever asks next begins anew.
                    if self._loading.get(key) is task:
                        del self._loading[key]

    async def _load(self, key: K, load: Callable[[], Awaitable[tuple[V, float]]]) -> V:
        started = time.monotonic()
        try:
            value, seconds = await load()
            # Dropped meanwhile: what was read may be from before the change.
            if self._loading.get(key) is asyncio.current_task():
                self._entries.pop(key, None)
                self._entries[key] = (value, started + min(seconds, self._seconds))
                while len(self._entries) > self._most:
                    del self._entries[next(iter(self._entries))]
            return value
        finally:
            if self._loading.get(key) is asyncio.current_task():
                del self._loading[key]

    def drop(self, which: Callable[[K], bool]) -> None:
        """Forgets what is there, and what loads under way will bring."""
        for there in (self._entries, self._loading):
            for key in [key for key in there if which(key)]:
                del there[key]


async def keep_listening(
    database_url: str, channel: str, told: Callable[[str], None], forget_all: Callable[[], None]
) -> NoReturn:
    """Hears what is told on a channel, for ever, on a connection of its own: `told` gets each payload. `forget_all` is
    called whenever something may have gone unheard."""
    while True:
        try:
            await _listen(database_url, channel, told, forget_all)
        except Exception as error:
            # Until it is back, the seconds do what the telling does.
            _log.warning("not_listening", channel=channel, **logs.describe(error))
        await asyncio.sleep(RECONNECT_SECONDS)


async def _listen(database_url: str, channel: str, told: Callable[[str], None], forget_all: Callable[[], None]) -> None:
    connection = await db.connect(database_url, application_name="hookline")
    lost = asyncio.Event()
    try:
        connection.add_termination_listener(lambda _connection: lost.set())
        await connection.add_listener(channel, lambda _connection, _pid, _channel, payload: told(str(payload)))
        # What was told while nobody listened.
        forget_all()
        await lost.wait()
        _log.warning("listener_lost", channel=channel)
    finally:
        forget_all()
        # Nothing to wait for, least of all where it is lost without a word.
        connection.terminate()
