"""What ingest remembers of companies: their own mappings, their signing secrets, and whose an endpoint's token is.

Remembered for seconds only. A change is told by PostgreSQL (NOTIFY) and forgotten at once; should the telling fail, the
seconds bound how long a process goes on by what was.
"""

import asyncio
import base64
import hashlib
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Hashable
from functools import lru_cache
from typing import Generic, TypeVar

import msgspec
import structlog

from services.ingest import control_store
from services.ingest.mapping import Compiled, Rules, Secret, compile_platform
from shared import db, logs
from shared.errors import DatabaseUnavailable, OperatorError
from shared.names import is_name
from shared.platforms import PlatformMalformed, parse_platform
from shared.vault import Vault

FRESH_SECONDS = 5.0
MOST_COMPANIES = 5_000
MOST_TOKENS = 50_000
RECONNECT_SECONDS = 1.0
_RETRY_SECONDS = (0.05, 0.2, 0.5, 1.0)
_is_random_part = re.compile(r"[A-Za-z0-9_-]{43}").fullmatch

_log = structlog.get_logger()

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
T = TypeVar("T")


class Door(msgspec.Struct, frozen=True):
    """What an endpoint's token opens."""

    company_id: str
    source: str
    platform: str
    """Empty: recognised by each payload's shape."""
    endpoint_id: str
    revoked: bool


def new_token(company_id: str) -> str:
    """A token for an endpoint. It names its company, so that looking it up does so too."""
    return f"{company_id}.{secrets.token_urlsafe(32)}"


def token_digest(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).digest()


class _Cache(Generic[K, V]):
    """Values by key, each for so many seconds as its load says and at most `seconds`; at most `most` of them, of which
    the one loaded first goes first. Whoever asks for a key while it is loaded waits for the same load."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._entries: dict[K, tuple[V, float]] = {}
        self._loading: dict[K, asyncio.Task[V]] = {}

    def fresh(self, key: K) -> tuple[V, float] | None:
        """The value and until when it is good, if it is there and good."""
        entry = self._entries.get(key)
        return entry if entry is not None and entry[1] > time.monotonic() else None

    async def load(self, key: K, load: Callable[[], Awaitable[tuple[V, float]]]) -> V:
        """Loads a value, or joins those who wait for it."""
        task = self._loading.get(key)
        if task is None:
            task = self._loading[key] = asyncio.create_task(self._load(key, load))
            # Should all who wait go away, nobody is left to hear why it failed.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        # Shared: one caller that goes away must not end it for the others.
        return await asyncio.shield(task)

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


class Registry:
    """Knows companies' rules and endpoints. What is remembered is good for at most `fresh_seconds`."""

    def __init__(self, pool: db.Pool, vault: Vault, *, fresh_seconds: float = FRESH_SECONDS) -> None:
        self._pool = pool
        self._vault = vault
        self._rules: _Cache[str, Rules] = _Cache(MOST_COMPANIES, fresh_seconds)
        # Unknown tokens too, as None: a scan must not hammer PostgreSQL.
        self._doors: _Cache[tuple[str, bytes], Door | None] = _Cache(MOST_TOKENS, fresh_seconds)

    def cached(self, company_id: str) -> Rules | None:
        """The company's rules, if they are remembered: the way of nearly every event."""
        entry = self._rules.fresh(company_id)
        return None if entry is None else entry[0]

    async def rules(self, company_id: str) -> Rules:
        """The company's rules. Raises DatabaseUnavailable when they are not remembered and the database stays away."""
        entry = self._rules.fresh(company_id)
        return entry[0] if entry is not None else await self._rules.load(company_id, lambda: self._load(company_id))

    async def fresh_rules(self, company_id: str) -> Rules:
        """The same, read from the database now."""
        self._rules.drop(company_id.__eq__)
        return await self.rules(company_id)

    async def endpoint(self, token: str) -> Door | None:
        """What a token opens; None when it is nobody's, or no longer good. Raises DatabaseUnavailable."""
        company_id, _, random_part = token.rpartition(".")
        if not (is_name(company_id) and _is_random_part(random_part)):
            return None
        key = (company_id, token_digest(token))
        entry = self._doors.fresh(key)
        return entry[0] if entry is not None else await self._doors.load(key, lambda: self._find(*key))

    def forget(self, company_id: str) -> None:
        """Something of the company has changed."""
        self._rules.drop(company_id.__eq__)
        self._doors.drop(lambda key: key[0] == company_id)

    async def keep_listening(self, database_url: str) -> None:
        """Forgets what other processes change, as they tell it, for ever; on a connection of its own."""
        while True:
            try:
                await self._listen(database_url)
            except Exception as error:
                # Until it is back, the seconds do what the telling does.
                _log.warning("not_listening", **logs.describe(error))
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen(self, database_url: str) -> None:
        connection = await db.connect(database_url, application_name="hookline")
        lost = asyncio.Event()

        def told(_connection: object, _pid: int, _channel: str, company_id: object) -> None:
            self.forget(str(company_id))

        try:
            connection.add_termination_listener(lambda _connection: lost.set())
            await connection.add_listener(control_store.CHANNEL, told)
            # What was told while nobody listened.
            self._forget_all()
            await lost.wait()
            _log.warning("listener_lost")
        finally:
            self._forget_all()
            # Nothing to wait for, least of all where it is lost without a word.
            connection.terminate()

    def _forget_all(self) -> None:
        self._rules.drop(lambda _: True)
        self._doors.drop(lambda _: True)

    async def _load(self, company_id: str) -> tuple[Rules, float]:
        async def read(connection: db.Connection) -> Rules:
            mappings = await control_store.list_mappings(connection, company_id)
            encrypted = await control_store.load_signing_secrets(connection, company_id)
            compiled = [(one.name, _compiled(one.mapping)) for one in mappings]
            for name, mapping in compiled:
                if mapping is None:
                    # Taken by an older Hookline, and none by this one: as if it were not there.
                    _log.error("platform_mapping_malformed", company_id=company_id, platform=name)
            return Rules(
                platforms={name: mapping for name, mapping in compiled if mapping is not None},
                secrets={one.source: self._secrets_of(company_id, one) for one in encrypted},
            )

        return await self._patiently(read), FRESH_SECONDS

    async def _find(self, company_id: str, token_sha256: bytes) -> tuple[Door | None, float]:
        found = await self._patiently(
            lambda connection: control_store.find_endpoint(connection, company_id, token_sha256)
        )
        if found is None:
            return None, FRESH_SECONDS
        door = Door(company_id, found.source, found.platform, str(found.endpoint_id), found.revoked)
        return door, FRESH_SECONDS if found.seconds_left is None else found.seconds_left

    async def _patiently(self, read: Callable[[db.Connection], Awaitable[T]]) -> T:
        # As patient as the committer: an event that meets a lost connection is not refused for that.
        for delay in _RETRY_SECONDS:
            try:
                async with db.acquired(self._pool) as connection:
                    return await read(connection)
            except DatabaseUnavailable:
                await asyncio.sleep(delay)
        async with db.acquired(self._pool) as connection:
            return await read(connection)

    def _secrets_of(self, company_id: str, one: control_store.Encrypted) -> tuple[Secret, ...]:
        current = Secret(self._decrypted(company_id, one.source, one.secret))
        if one.old_secret is None:
            return (current,)
        old = Secret(self._decrypted(company_id, one.source, one.old_secret), one.old_secret_expire_time)
        return current, old

    def _decrypted(self, company_id: str, source: str, encrypted: bytes) -> str:
        try:
            return self._vault.decrypt(encrypted)
        except OperatorError as error:
            # As if it were one that nobody knows: what should be signed does not get in unverified.
            _log.error("signing_secret_unreadable", company_id=company_id, source=source, problem=str(error))
            return base64.b64encode(secrets.token_bytes(32)).decode()


@lru_cache(maxsize=MOST_COMPANIES)
def _compiled(toml: str) -> Compiled | None:
    """Companies' rules are read every few seconds and change every few months."""
    try:
        return compile_platform(parse_platform(toml.encode(), "mapping", own=True))
    except PlatformMalformed:
        return None
