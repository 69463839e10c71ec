"""Tells people: delivers what alerts there are, and finds schedules that are overdue. Runs in the sync service and in
the scheduler, as many processes as there are: each row is taken by one."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import prometheus_client
import structlog

from services.sync import alert_store, alerting_store
from services.sync.alert_delivery import ATTEMPT_SECONDS, LIMITS, Deliverer, Undelivered
from services.sync.alert_messages import Message
from services.sync.alerting_store import Delivery
from services.sync.connectors.http import open_http
from services.sync.mail import mailer_of
from shared import db, logs
from shared.settings import Settings
from shared.vault import Vault

ROUND_SECONDS = 1.0
"""Between two looks at what is to be delivered."""
WATCH_SECONDS = 5.0
"""Between two looks at schedules."""
AT_ONCE = 64
"""Deliveries that a process has under way."""
COMPANY_AT_ONCE = 4
"""Of those, one company's."""
BATCH = 100
ATTEMPTS = 10
LEASE = timedelta(seconds=3 * ATTEMPT_SECONDS)
"""A delivery that is not done by then was taken by a process that is dead, or frozen."""
DRAIN_SECONDS = 3.0
_LONGEST_WAIT = timedelta(days=1)

_log = structlog.get_logger()
_deliveries = prometheus_client.Counter(
    "hookline_alert_deliveries", "Tries to tell a channel of an alert.", ["outcome"]
)


def wait_after(attempts: int, first: float, asked: float | None) -> timedelta:
    """How long to wait after so many tries: the first wait, tripled each time, less up to a quarter, so that what
    failed together does not come again together. At least what the channel asks for. Of ten seconds, nine waits are
    about a day."""
    jitter = random.uniform(0.75, 1)  # noqa: S311  # spreads load, guards nothing
    own = first * 3 ** (attempts - 1) * jitter
    return min(timedelta(seconds=max(own, asked or 0)), _LONGEST_WAIT)


class OverdueWatch:
    """Opens alerts for schedules that are overdue, and resolves them. Exact, however many look at the same time."""

    def __init__(self, pool: db.Pool, overdue: timedelta) -> None:
        self._pool = pool
        self._overdue = overdue

    async def run(self) -> None:
        """Round after round, for ever. A round that fails is made up for by the next."""
        while True:
            try:
                await self.round()
            except Exception as error:
                _log.warning("overdue_watch_failed", **logs.describe(error))
            await asyncio.sleep(WATCH_SECONDS)

    async def round(self) -> None:
        """One look at everything. Raises what the database raises."""
        async with self._pool.acquire() as connection:
            while await self._open(connection) == BATCH:
                pass
            while await self._resolve(connection) == BATCH:
                pass

    async def _open(self, connection: db.Connection) -> int:
        async with connection.transaction():
            opened = await alerting_store.open_overdue(connection, self._overdue, BATCH)
            for company_id, alert_id in opened:
                await alert_store.queue_opened(connection, company_id, alert_id)
        return len(opened)

    async def _resolve(self, connection: db.Connection) -> int:
        async with connection.transaction():
            resolved = await alerting_store.resolve_overdue(connection, BATCH)
            for company_id, alert_id in resolved:
                await alert_store.queue_resolved(connection, company_id, alert_id)
        return len(resolved)


class DeliveryLoop:
    """Delivers what is due. `first_wait` is that after the first failure, in seconds."""

    def __init__(self, pool: db.Pool, deliverer: Deliverer, first_wait: float) -> None:
        self._pool = pool
        self._deliverer = deliverer
        self._first_wait = first_wait
        self._under_way: dict[asyncio.Task[None], str] = {}

    async def run(self) -> None:
        """Round after round, for ever. A company's slow receivers hold up its own deliveries, and those of others only
        where so many companies have slow ones that all of AT_ONCE are taken. Ends by being cancelled: then those under
        way get a few seconds, and what is cut off another process takes when its lease is over."""
        try:
            while True:
                try:
                    await self._begin()
                except Exception as error:
                    _log.warning("deliveries_failed", **logs.describe(error))
                await asyncio.sleep(ROUND_SECONDS)
        finally:
            if self._under_way:
                await asyncio.wait(self._under_way, timeout=DRAIN_SECONDS)
            cut_off = list(self._under_way)
            for task in cut_off:
                task.cancel()
            await asyncio.gather(*cut_off, return_exceptions=True)

    async def round(self) -> int:
        """Delivers what is due now, and waits for it; gives how many that were."""
        begun = await self._begin()
        if self._under_way:
            await asyncio.wait(self._under_way)
        return begun

    async def _begin(self) -> int:
        if len(self._under_way) >= AT_ONCE:
            return 0
        async with self._pool.acquire() as connection:
            taken = await alerting_store.take_deliveries(
                connection, LEASE, AT_ONCE - len(self._under_way), COMPANY_AT_ONCE, Counter(self._under_way.values())
            )
        for delivery in taken:
            task = asyncio.create_task(self._deliver(delivery))
            self._under_way[task] = delivery.channel.company_id
            task.add_done_callback(self._under_way.pop)
        return len(taken)

    async def _deliver(self, delivery: Delivery) -> None:
        """Tries once, and notes how that went. What can't be noted, the lease brings back."""
        failure = await self._try(delivery)
        retry_in = None
        if failure and not failure.for_good and delivery.attempts < ATTEMPTS:
            retry_in = wait_after(delivery.attempts, self._first_wait, failure.retry_after)
        try:
            async with self._pool.acquire() as connection:
                await alert_store.end_delivery(
                    connection,
                    delivery.channel.company_id,
                    delivery.delivery_id,
                    delivery.attempts,
                    error=failure.problem if failure else None,
                    retry_in=retry_in,
                )
        except Exception as error:
            _log.warning("delivery_not_noted", **logs.describe(error))
        _deliveries.labels("failed" if retry_in else "given_up" if failure else "delivered").inc()
        if failure:
            _log.warning(
                "alert_not_delivered",
                company_id=delivery.channel.company_id,
                channel=delivery.channel.channel,
                attempts=delivery.attempts,
                problem=failure.problem,
                given_up=retry_in is None,
            )

    async def _try(self, delivery: Delivery) -> Undelivered | None:
        """What went wrong; None: nothing."""
        try:
            await self._deliverer.deliver(
                Message(delivery.delivery_id, delivery.channel, delivery.alert, delivery.news)
            )
        except Undelivered as failure:
            return failure
        except Exception as error:
            _log.error("delivery_failed", **logs.describe(error))
            return Undelivered("A defect of Hookline; the operator finds it in the log.")
        return None


@asynccontextmanager
async def alerting(pool: db.Pool, vault: Vault, settings: Settings) -> AsyncIterator[Deliverer]:
    """Both loops, until the block ends. Raises OperatorError when the settings for mail are wrong."""
    mailer = mailer_of(settings)
    # Connections are not counted: deliveries are, and tests of channels are not to wait for them, nor hold them up.
    async with open_http(allow_loopback=settings.allow_loopback_sources, connections=0, limits=LIMITS) as http:
        deliverer = Deliverer(http, mailer, vault)
        loops = [
            asyncio.create_task(OverdueWatch(pool, timedelta(seconds=settings.sync_overdue_seconds)).run()),
            asyncio.create_task(DeliveryLoop(pool, deliverer, settings.alert_retry_seconds).run()),
        ]
        try:
            yield deliverer
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
