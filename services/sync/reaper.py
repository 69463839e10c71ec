"""Finds what is due, and tells workers. Any number of reapers may run: each row is taken by one."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import NoReturn

import asyncpg
import structlog

from services.sync import alert_store, ending, metrics, reaper_store
from services.sync.cadence import jitter_offset, next_time
from services.sync.doorbell import Doorbell
from services.sync.reaper_store import Due, RunKey, Sight
from services.sync.run_store import State
from shared import db, logs

ROUND_SECONDS = 1.0
BATCH = 200
AT_A_LOSS = timedelta(hours=6)
"""When a schedule is due again whose next time can't be worked out, such as in a time zone that is no more."""
PASSED_OVER = timedelta(minutes=1)
"""How long a schedule is left alone that no run can be made of."""
_OVERDUE = "It has not ended by its deadline, and no worker was at it then."

_log = structlog.get_logger()


class Reaper:
    """Makes runs of due schedules; ends runs that nobody else would; lets those go that have waited behind others; and
    tells workers of runs that wait, and of those whose workers died."""

    def __init__(
        self, pool: db.Pool, doorbell: Doorbell, lease: float, *, failures_alert: int = alert_store.FAILURES_ALERT
    ) -> None:
        self._pool = pool
        self._doorbell = doorbell
        # A message that brought nothing for so long is taken to be lost.
        self._again_after = timedelta(seconds=lease)
        self._failures_alert = failures_alert

    async def run(self) -> None:
        """Round after round, for ever. A round that fails is made up for by the next. Telling goes on beside the rest:
        while Redis hangs, schedules are due all the same."""
        await asyncio.gather(self._for_ever(self.mend), self._for_ever(self.tell))

    async def _for_ever(self, one_round: Callable[[], Awaitable[bool]]) -> NoReturn:
        while True:
            more = False
            try:
                more = await one_round()
            except Exception as error:
                _log.warning("round_failed", **logs.describe(error))
            # Rounds are short. Where one has not got to the end, the next begins at once.
            await asyncio.sleep(0 if more else ROUND_SECONDS)

    async def round(self) -> None:
        """One look at everything. Raises what the database raises."""
        await self.mend()
        await self.tell()

    async def mend(self) -> bool:
        """Does what is to be done in PostgreSQL, a batch of each kind; gives whether there may be more. What fails of
        one kind holds up no other. Raises what the look at it raises."""
        async with self._pool.acquire() as connection:
            sight = await reaper_store.look(connection)
        _show(sight)
        more = False
        for needed, step in (
            (sight.any_to_end, self._end_runs),
            (sight.behind, self._let_go),
            (sight.schedule_lag is not None, self._fire),
        ):
            if needed:
                try:
                    more |= await step() == BATCH
                except Exception as error:
                    _log.warning("reaping_failed", step=step.__name__.strip("_"), **logs.describe(error))
        return more

    async def tell(self) -> bool:
        """Tells workers of a batch of runs; gives whether there may be more. Raises what the database raises."""
        async with self._pool.acquire() as connection:
            kicks = await reaper_store.take_kicks(connection, self._again_after, BATCH)
        for number, (company_id, run_id) in enumerate(kicks):
            if not await self._doorbell.ring(company_id, run_id):
                # Redis is away. They are told of when it is back.
                async with self._pool.acquire() as connection:
                    await reaper_store.forget_kicks(connection, kicks[number:])
                return False
        return len(kicks) == BATCH

    async def _end_runs(self) -> int:
        async with self._pool.acquire() as connection:
            found = await reaper_store.runs_to_end(connection, BATCH)
            ended = 0
            for company_id, run_id in found:
                try:
                    ended += await self._end_run(connection, company_id, run_id)
                except asyncpg.PostgresError as error:
                    _log.error("run_not_ended", company_id=company_id, run_id=str(run_id), **logs.describe(error))
        # Those that could not be ended now are looked at again a second later.
        return ended

    async def _end_run(self, connection: db.Connection, company_id: str, run_id: uuid.UUID) -> bool:
        async with connection.transaction():
            await ending.lock_source(connection, company_id, run_id)
            ended = await reaper_store.end_run(connection, company_id, run_id, _OVERDUE)
            if ended is None:
                return False
            key = (company_id, ended.source, run_id)
            error = ended.error if ended.state is State.FAILED else None
            await ending.finish(connection, *key, ended.state, error=error, failures_alert=self._failures_alert)
        metrics.RUNS_ENDED.labels(ended.state.value).inc()
        _log.info("run_ended", company_id=company_id, run_id=str(run_id), state=ended.state.value)
        return True

    async def _let_go(self) -> int:
        try:
            async with self._pool.acquire() as connection:
                gone = await reaper_store.let_go(connection, BATCH)
        except asyncpg.UniqueViolationError:
            # Another run of such a source was made at this very moment. The others wait a second more.
            return 0
        for company_id, run_id in gone:
            _log.info("run_let_go", company_id=company_id, run_id=str(run_id))
        return len(gone)

    async def _fire(self) -> int:
        """Runs and the schedules' next times are one transaction: a reaper that dies in it has done nothing."""
        async with self._pool.acquire() as connection, connection.transaction():
            due = await reaper_store.claim_due(connection, BATCH)
            runs, passed_over = await _fire_all(connection, due) if due else ([], 0)
        metrics.SCHEDULES_FIRED.labels("run").inc(len(runs))
        metrics.SCHEDULES_FIRED.labels("passed_over").inc(passed_over)
        metrics.SCHEDULES_FIRED.labels("merged").inc(len(due) - len(runs) - passed_over)
        if due:
            _log.info("schedules_due", schedules=len(due), runs=len(runs))
        return len(due)


async def _fire_all(connection: db.Connection, due: Sequence[Due]) -> tuple[list[RunKey], int]:
    """The runs made, and how many schedules were passed over."""
    next_times = [_next_time(one) for one in due]
    try:
        async with connection.transaction():
            return await reaper_store.fire(connection, due, next_times), 0
    except asyncpg.PostgresError as error:
        if len(due) > 1:
            _log.warning("batch_failed", schedules=len(due), **logs.describe(error))
    # One of them is in the way. They are held already, so each can be tried by itself.
    runs, passed_over = [], 0
    for one, time in zip(due, next_times, strict=True):
        try:
            async with connection.transaction():
                runs += await reaper_store.fire(connection, [one], [time])
        except asyncpg.PostgresError as error:
            _log.error("schedule_not_fired", company_id=one.company_id, source=one.source, **logs.describe(error))
            await reaper_store.postpone(connection, one, PASSED_OVER)
            passed_over += 1
    return runs, passed_over


def _next_time(due: Due) -> datetime:
    try:
        return next_time(due.cadence, jitter_offset(due.company_id, due.source, due.schedule_jitter), due.now)
    except Exception as error:
        # It was one when it was started: another cronsim, or other time zones. It goes on firing all the same.
        _log.error("cadence_lost", company_id=due.company_id, source=due.source, **logs.describe(error))
        return due.now + AT_A_LOSS


def _show(sight: Sight) -> None:
    metrics.SCHEDULE_LAG.set(sight.schedule_lag.total_seconds() if sight.schedule_lag else 0)
    for state in ("queued", "behind", "running", "waiting"):
        metrics.RUNS.labels(state).set(getattr(sight, state))
