"""What ingest remembers of companies: their own mappings, their signing secrets, and whose an endpoint's token is.

Remembered for seconds only. A change is told by PostgreSQL (NOTIFY) and forgotten at once; should the telling fail, the
seconds bound how long a process goes on by what was.
"""

import asyncio
import base64
import hashlib
import re
import secrets
from contextlib import nullcontext
from functools import lru_cache

import msgspec
import structlog

from services.ingest import control_store
from services.ingest.mapping import Compiled, Rules, Secret, compile_platform
from shared import db
from shared.errors import OperatorError
from shared.names import is_name
from shared.platforms import PlatformMalformed, parse_platform
from shared.remembered import FRESH_SECONDS, Remembered, keep_listening
from shared.vault import Vault

MOST_COMPANIES = 5_000
MOST_TOKENS = 50_000
MOST_STRANGERS = 5_000
# Look-ups of tokens that were not good before: of the connections that commits use they take so many.
STRANGERS_AT_ONCE = 2
_is_random_part = re.compile(r"[A-Za-z0-9_-]{43}").fullmatch

_log = structlog.get_logger()

_Key = tuple[str, bytes]


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


class Registry:
    """Knows companies' rules and endpoints. What is remembered is good for at most `fresh_seconds`."""

    def __init__(self, pool: db.Pool, vault: Vault, *, fresh_seconds: float = FRESH_SECONDS) -> None:
        self._pool = pool
        self._vault = vault
        self._rules: Remembered[str, Rules] = Remembered(MOST_COMPANIES, fresh_seconds)
        self._doors: Remembered[_Key, Door | None] = Remembered(MOST_TOKENS, fresh_seconds)
        # Tokens that have not been good before, apart: whoever scans brings another one each time, and may neither push
        # out those that are in use, nor take the connections that commits need.
        self._strangers: Remembered[_Key, Door | None] = Remembered(MOST_STRANGERS, fresh_seconds)
        self._looking_for_strangers = asyncio.Semaphore(STRANGERS_AT_ONCE)
        self._good: dict[_Key, None] = {}

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
        remembered = self._doors if key in self._good else self._strangers
        entry = remembered.fresh(key)
        return entry[0] if entry is not None else await remembered.load(key, lambda: self._find(*key))

    def forget(self, company_id: str) -> None:
        """Something of the company has changed."""
        self._rules.drop(company_id.__eq__)
        for remembered in (self._doors, self._strangers):
            remembered.drop(lambda key: key[0] == company_id)

    async def keep_listening(self, database_url: str) -> None:
        """Forgets what other processes change, as they tell it, for ever; on a connection of its own."""
        await keep_listening(database_url, control_store.CHANNEL, self.forget, self._forget_all)

    def _forget_all(self) -> None:
        for remembered in (self._rules, self._doors, self._strangers):
            remembered.drop(lambda _: True)

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

        return await db.read_patiently(self._pool, read), FRESH_SECONDS

    async def _find(self, company_id: str, token_sha256: bytes) -> tuple[Door | None, float]:
        key = company_id, token_sha256
        async with nullcontext() if key in self._good else self._looking_for_strangers:
            found = await db.read_patiently(
                self._pool, lambda connection: control_store.find_endpoint(connection, company_id, token_sha256)
            )
        self._good.pop(key, None)
        if found is None:
            return None, FRESH_SECONDS
        self._good[key] = None
        if len(self._good) > MOST_TOKENS:
            del self._good[next(iter(self._good))]
        door = Door(company_id, found.source, found.platform, str(found.endpoint_id), found.revoked)
        return door, FRESH_SECONDS if found.seconds_left is None else found.seconds_left

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
