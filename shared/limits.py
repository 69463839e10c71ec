"""What a company may take of the service: requests, events and bytes a second, exports at once.

Each process has its share and counts for itself: nothing is asked of anybody for a call. What differs from the settings
for single companies is read from the database every few seconds.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import msgspec
import structlog
from prometheus_client import Counter

from shared import db, logs
from shared.errors import LimitReached
from shared.settings import Settings
from shared.statements import Statements

READ_SECONDS = 5.0
BURST_SECONDS = 1.0
"""What was not used adds up for so long."""
EXPORT_RETRY_SECONDS = 5.0
_READ_TIMEOUT = 10.0
_ROUNDING = 1e-6
# Where so many are counted, those that have all of theirs again are forgotten.
MANY_BUCKETS = 10_000

REACHED = Counter(
    "hookline_limit_reached", "Calls refused, or held back, because a company's limit was reached.", ["limit"]
)

_log = structlog.get_logger()
_sql = Statements("shared")


class Limits(msgspec.Struct, frozen=True):
    """A company's limits. None: there is none."""

    requests_per_second: float | None = None
    events_per_second: float | None = None
    bytes_per_second: float | None = None
    concurrent_exports: int | None = None


NO_LIMITS = Limits()


class _Bucket:
    """So many units a second, a second's worth at once. Whoever comes while any is left gets all that it asks for;
    what is owed then holds up the next: no request is too large to get in, and on average the rate holds."""

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._most = max(rate * BURST_SECONDS, 1.0)
        self._left = self._most
        self._time = now

    def wait(self, now: float) -> float:
        """0 where something is left, else the seconds after which to ask again."""
        self._left, self._time = min(self._most, self._left + (now - self._time) * self.rate), now
        # Less than a whole one is none: of a limit of 5, 5 get in at once and no 6th.
        return (1 - self._left) / self.rate if self._left < 1 - _ROUNDING else 0.0

    def take(self, units: float) -> None:
        """Takes units, as there is no wait."""
        self._left -= units

    def is_full(self, now: float) -> bool:
        return self._left + (now - self._time) * self.rate >= self._most


class Limiter:
    """Holds companies to their limits. `limits` are those of every company, `share` is this process's part of them."""

    def __init__(
        self, limits: Limits = NO_LIMITS, share: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._share = share
        self._clock = clock
        self._usual = limits
        self._special: Mapping[str, Limits] = {}
        self.is_idle = limits == NO_LIMITS
        """Whether nobody has any limits."""
        self._buckets: dict[tuple[str, str], _Bucket] = {}
        self._many = MANY_BUCKETS
        self._exports: dict[str, int] = {}

    def use(self, special: Mapping[str, Limits]) -> None:
        """From now on these companies have limits of their own."""
        self._special = special
        self.is_idle = self._usual == NO_LIMITS and not special

    def filled(self, limits: Limits) -> Limits:
        """The limits, what they leave open as for every company."""
        return Limits(
            *(
                getattr(self._usual, name) if getattr(limits, name) is None else getattr(limits, name)
                for name in Limits.__struct_fields__
            )
        )

    def request(self, company_id: str, request: Any) -> None:
        """Counts a request, which tells its size by `ByteSize`. Raises LimitReached."""
        if self.is_idle:
            return
        limits = self._special.get(company_id, self._usual)
        size = 0 if limits.bytes_per_second is None else request.ByteSize()
        self._take(company_id, ("requests", limits.requests_per_second, 1), ("bytes", limits.bytes_per_second, size))

    def hook(self, company_id: str) -> None:
        """Counts a request to the door, whose size is not known yet. Raises LimitReached."""
        if not self.is_idle:
            limits = self._special.get(company_id, self._usual)
            self._take(company_id, ("requests", limits.requests_per_second, 1))

    def body(self, company_id: str, size: int) -> None:
        """Counts the body of a request to the door, and its event. Raises LimitReached."""
        if not self.is_idle:
            limits = self._special.get(company_id, self._usual)
            self._take(company_id, ("bytes", limits.bytes_per_second, size), ("events", limits.events_per_second, 1))

    def events(self, company_id: str, count: int) -> None:
        """Counts events that are brought in. Raises LimitReached."""
        if count and not self.is_idle:
            limits = self._special.get(company_id, self._usual)
            self._take(company_id, ("events", limits.events_per_second, count))

    @contextmanager
    def exporting(self, company_id: str) -> Iterator[None]:
        """Counts an export for as long as the block runs. Raises LimitReached."""
        running = self._exports.get(company_id, 0)
        most = self._special.get(company_id, self._usual).concurrent_exports
        # At least one, whatever the share.
        if most is not None and running >= max(1, int(most * self._share)):
            raise _reached("exports", EXPORT_RETRY_SECONDS)
        self._exports[company_id] = running + 1
        try:
            yield
        finally:
            self._exports[company_id] -= 1
            if not self._exports[company_id]:
                del self._exports[company_id]

    def _take(self, company_id: str, *wanted: tuple[str, float | None, float]) -> None:
        """Takes units of each limit, or of none: who is told to wait by one has not paid the other."""
        now = self._clock()
        buckets = [
            (self._bucket((company_id, limit), per_second * self._share, now), limit, units)
            for limit, per_second, units in wanted
            if per_second is not None
        ]
        for bucket, limit, _ in buckets:
            if seconds := bucket.wait(now):
                raise _reached(limit, seconds)
        for bucket, _, units in buckets:
            bucket.take(units)

    def _bucket(self, key: tuple[str, str], rate: float, now: float) -> _Bucket:
        bucket = self._buckets.get(key)
        if bucket is None or bucket.rate != rate:
            if len(self._buckets) >= self._many:
                self._buckets = {key: one for key, one in self._buckets.items() if not one.is_full(now)}
                self._many = max(MANY_BUCKETS, 2 * len(self._buckets))
            bucket = self._buckets[key] = _Bucket(rate, now)
        return bucket


async def patiently(count: Callable[[], None]) -> None:
    """Counts as soon as the limit lets it: for streams, which are held back where others are refused."""
    while True:
        try:
            return count()
        except LimitReached as error:
            await asyncio.sleep(error.retry_seconds)


@asynccontextmanager
async def opened(settings: Settings, pool: db.Pool) -> AsyncIterator[Limiter]:
    """A process's limiter, kept up to date over the pool until the block ends."""
    usual = Limits(
        settings.limit_requests_per_second,
        settings.limit_events_per_second,
        settings.limit_bytes_per_second,
        settings.limit_concurrent_exports,
    )
    limiter = Limiter(usual, 1 / (settings.processes * settings.replicas))
    await _read(pool, limiter)
    reading = asyncio.create_task(_keep_reading(pool, limiter))
    try:
        yield limiter
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def load(connection: db.Connection) -> dict[str, Limits]:
    """The limits of companies that have some of their own; what they leave open is None."""
    rows = await _sql.fetch(connection, "load_limits")
    return {row["company_id"]: Limits(**{name: row[name] for name in Limits.__struct_fields__}) for row in rows}


async def own(connection: db.Connection, company_id: str) -> Limits:
    """What the company has of its own; nobody changes it until the transaction ends."""
    rows = await _sql.fetch(connection, "find_limits", company_id=company_id)
    return Limits(**rows[0]) if rows else NO_LIMITS


async def put(connection: db.Connection, company_id: str, limits: Limits) -> None:
    """Gives a company limits of its own; with NO_LIMITS it has none of its own any more."""
    if limits == NO_LIMITS:
        await _sql.fetch(connection, "delete_limits", company_id=company_id)
    else:
        await _sql.fetch(connection, "put_limits", company_id=company_id, **msgspec.structs.asdict(limits))


async def _keep_reading(pool: db.Pool, limiter: Limiter) -> None:
    while True:
        await asyncio.sleep(READ_SECONDS)
        try:
            async with asyncio.timeout(_READ_TIMEOUT):
                await _read(pool, limiter)
        except Exception as error:
            # Those of before stay, whatever it is: this goes on for as long as the process.
            _log.warning("limits_not_read", **logs.describe(error))


async def _read(pool: db.Pool, limiter: Limiter) -> None:
    async with db.acquired(pool) as connection:
        special = await load(connection)
    limiter.use({company_id: limiter.filled(limits) for company_id, limits in special.items()})


def _reached(limit: str, seconds: float) -> LimitReached:
    REACHED.labels(limit).inc()
    return LimitReached(limit, seconds)
