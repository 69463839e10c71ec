"""The gate that calls come through where tokens are asked for: whose token it is, and what becomes of streams whose
token is good no more."""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any, Protocol, TypeAlias

import structlog

from shared import db, logs, token_store
from shared.auth import Caller, Rule, Scope, token_company, token_digest
from shared.errors import DatabaseUnavailable, HooklineError, ScopeMissing, Unauthenticated
from shared.internal import PREFIX, InternalTokens
from shared.remembered import FRESH_SECONDS, Remembered, keep_listening
from shared.settings import Settings

MOST_TOKENS = 50_000
MOST_STRANGERS = 2_000
"""Tokens not known to be good that wait to be looked up: about as many as can be in a second. Beyond them, callers are
told to try again."""
USED_SECONDS = 60.0
"""How often it is written down that a token is in use."""
WATCH_SECONDS = 1.0
"""How often the tokens of streams under way are looked at."""
_FIND_SECONDS = 10.0

_log = structlog.get_logger()

_Key = tuple[str, bytes]
Metadata: TypeAlias = Iterable[tuple[str, Any]]


class Stream(Protocol):
    """A stream under way."""

    def end(self, error: HooklineError) -> None:
        """Ends it with an error."""


class Gate:
    """Knows whose a call is by its token. Tokens are remembered for at most `fresh_seconds`, unknown ones too."""

    def __init__(self, pool: db.Pool, internal: InternalTokens, *, fresh_seconds: float = FRESH_SECONDS) -> None:
        self._pool = pool
        self._internal = internal
        # Unknown tokens too, as None: who guesses must not hammer PostgreSQL.
        self._callers: Remembered[_Key, Caller | None] = Remembered(MOST_TOKENS, fresh_seconds)
        self._streams: defaultdict[Caller, set[Stream]] = defaultdict(set)
        self._used: set[Caller] = set()
        # Who was let in before need not queue behind those who guess: of the two connections strangers get one.
        self._good: dict[_Key, None] = {}
        self._strangers = asyncio.Semaphore(1)
        self._queued = 0

    async def admit(self, metadata: Metadata | None, rule: Scope | Rule) -> Caller:
        """Who calls with that metadata. Raises Unauthenticated, ScopeMissing, DatabaseUnavailable."""
        token = _bearer(metadata or ())
        if token.startswith(PREFIX):
            caller = self._internal.caller(token)
        else:
            company_id = token_company(token)
            caller = None if company_id is None else await self._find((company_id, token_digest(token)))
            if caller is not None:
                self._used.add(caller)
        if caller is None:
            raise Unauthenticated("the token is unknown, expired or revoked")
        if isinstance(rule, Scope) and rule not in caller.scopes:
            raise ScopeMissing(rule)
        return caller

    @contextmanager
    def streaming(self, caller: Caller, stream: Stream) -> Iterator[None]:
        """While the block runs, the stream is ended when the caller's token is good no more."""
        if not caller.token_id:
            # A service's token is good for each call that it begins.
            yield
            return
        streams = self._streams[caller]
        streams.add(stream)
        try:
            yield
        finally:
            streams.remove(stream)
            if not streams and self._streams.get(caller) is streams:
                del self._streams[caller]

    def forget(self, company_id: str) -> None:
        """Some token of the company was revoked."""
        self._callers.drop(lambda key: key[0] == company_id)

    async def keep_listening(self, database_url: str) -> None:
        """Forgets what is revoked, as it is told, for ever."""
        await keep_listening(
            database_url, token_store.CHANNEL, self.forget, lambda: self._callers.drop(lambda _key: True)
        )

    async def keep_watching(self) -> None:
        """Ends streams whose token is good no more, for ever."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            for caller in list(self._streams):
                try:
                    good = await self._find((caller.company_id, caller.token_sha256)) is not None
                except Exception as error:
                    # Nobody can say; and without the database little of what it guards can be read.
                    _log.warning("token_not_looked_at", **logs.describe(error))
                    continue
                if not good:
                    for stream in list(self._streams.get(caller, ())):
                        stream.end(Unauthenticated("the token has expired or was revoked"))

    async def keep_noting_use(self) -> None:
        """Writes down which tokens are in use, for ever, and when cancelled once more."""
        try:
            while True:
                await asyncio.sleep(USED_SECONDS)
                await self._note_use()
        finally:
            await self._note_use()

    async def _note_use(self) -> None:
        used, self._used = self._used, set()
        by_company: defaultdict[str, list[uuid.UUID]] = defaultdict(list)
        for caller in used:
            by_company[caller.company_id].append(uuid.UUID(caller.token_id))
        try:
            async with asyncio.timeout(_FIND_SECONDS):
                for company_id, token_ids in by_company.items():
                    async with db.acquired(self._pool) as connection:
                        # Somewhat less: what another process wrote a moment ago is enough.
                        await token_store.note_used(
                            connection, company_id, token_ids, timedelta(seconds=USED_SECONDS * 0.8)
                        )
        except Exception as error:
            # A time that people look at; it comes again with the next call.
            _log.warning("token_use_not_noted", **logs.describe(error))

    async def _find(self, key: _Key) -> Caller | None:
        entry = self._callers.fresh(key)
        if entry is not None:
            return entry[0]
        try:
            async with asyncio.timeout(_FIND_SECONDS):
                return await self._callers.load(key, lambda: self._load(*key))
        except TimeoutError as error:
            raise DatabaseUnavailable from error

    @asynccontextmanager
    async def _strangers_turn(self) -> AsyncIterator[None]:
        if self._queued >= MOST_STRANGERS:
            raise DatabaseUnavailable
        self._queued += 1
        try:
            async with self._strangers:
                yield
        finally:
            self._queued -= 1

    async def _load(self, company_id: str, token_sha256: bytes) -> tuple[Caller | None, float]:
        key = company_id, token_sha256
        async with nullcontext() if key in self._good else self._strangers_turn():
            found = await db.read_patiently(
                self._pool, lambda connection: token_store.find_token(connection, company_id, token_sha256)
            )
        self._good.pop(key, None)
        if found is None:
            return None, FRESH_SECONDS
        self._good[key] = None
        while len(self._good) > MOST_TOKENS:
            del self._good[next(iter(self._good))]
        caller = Caller(
            company_id,
            frozenset(map(Scope, found.scopes)),
            f"token …{found.token_hint} ({found.name})",
            str(found.token_id),
            token_sha256,
        )
        return caller, FRESH_SECONDS if found.seconds_left is None else found.seconds_left


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Gate | None]:
    """The gate of a service until the block ends; None where the settings ask for no tokens."""
    if not settings.require_tokens:
        yield None
        return
    internal = InternalTokens(settings.required_secret_key)
    # Connections of its own: no call waits for another's statement to learn whose it is.
    async with await db.open_pool(settings.required_database_url, 2, statement_timeout="10s") as pool:
        gate = Gate(pool, internal)
        work = gate.keep_listening(settings.required_database_url), gate.keep_watching(), gate.keep_noting_use()
        tasks = [asyncio.create_task(one) for one in work]
        try:
            yield gate
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _bearer(metadata: Metadata) -> str:
    """The token in a call's metadata. Raises Unauthenticated where there is none, or several."""
    found = [value for key, value in metadata if key == "authorization"]
    if not found:
        raise Unauthenticated("this server asks for a token")
    scheme, _, token = found[0].partition(" ")
    if len(found) > 1 or scheme.lower() != "bearer" or not token:
        raise Unauthenticated("authorization: must be `Bearer` and one token")
    return str(token)
