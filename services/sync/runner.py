"""Works on runs: claims one, pulls it, reconciles it, and ends each attempt in a state that is true."""

import asyncio
import time
import uuid
from collections.abc import Callable
from datetime import timedelta

import structlog

from hookline.client import AsyncClient, HooklineError, Unavailable
from services.sync import attempt_store, reaper_store, reconciling, source_store
from services.sync.alert_store import FAILURES_ALERT
from services.sync.attempt_store import End
from services.sync.connectors import Connector, Refused, TryLater
from services.sync.connectors.backoff import backoff
from services.sync.cursor import history_digest
from services.sync.holding import WAITED, Cancelled, Fenced, Hold, Replaced
from services.sync.pulling import PAGES_BYTES, Pull, ended
from services.sync.room import Room
from services.sync.run_store import State
from services.sync.source_store import Secret
from shared import db, logs
from shared.errors import DatabaseUnavailable, OperatorError
from shared.platforms import Platform

FAILURES = 8
"""Attempts that may fail in a row without a page stored; then the run ends as failed. Each reads on from the last
checkpoint."""
FIRST_RUN_WAIT = 60
"""The wait before a run's second attempt, in units of the first wait of a page."""
_HAND_BACK_SECONDS = 4
DEFECT = "A defect of Hookline; the worker's log says more."

_log = structlog.get_logger()

Opening = Callable[[Secret, Platform], Connector]
"""Makes the connector of a source. Raises Refused and OperatorError."""


class Runner:
    """Works on runs for one worker process. `opening` makes connectors; `first_wait`: see settings."""

    def __init__(
        self,
        pool: db.Pool,
        ingest: AsyncClient,
        opening: Opening,
        *,
        lease: float,
        first_wait: float,
        failures_alert: int = FAILURES_ALERT,
    ) -> None:
        self.pool = pool
        self.ingest = ingest
        self.opening = opening
        self.lease = lease
        self.first_wait = first_wait
        self.failures_alert = failures_alert
        self.room = Room(PAGES_BYTES)
        self._running: set[asyncio.Task[None]] = set()

    async def run(self, company_id: str, run_id: uuid.UUID) -> None:
        """Works on the run if it is there to be taken, and returns when this attempt has ended. Never raises for what
        happens to the run."""
        task = asyncio.create_task(self._run(company_id, run_id))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        # Whoever told of the run may be cancelled: the run is not, but by `stop`.
        await asyncio.wait([task])

    async def stop(self) -> None:
        """Hands all runs back, to be taken by another worker at once; or when their leases are over, where the database
        has not been there for some seconds."""
        for _ in range(2):
            for task in self._running:
                task.cancel()
            if self._running:
                await asyncio.wait(self._running, timeout=_HAND_BACK_SECONDS)

    async def _run(self, company_id: str, run_id: uuid.UUID) -> None:
        structlog.contextvars.bind_contextvars(company_id=company_id, run_id=str(run_id))
        try:
            asked = time.monotonic()
            async with db.acquired(self.pool) as connection:
                # The reaper tells of it again.
                if not await reaper_store.is_before_others(connection, company_id, WAITED):
                    return
                claim = await attempt_store.claim_run(connection, company_id, run_id, timedelta(seconds=self.lease))
            if claim is not None:
                await _Attempt(self, Hold(self.pool, claim, self.lease, asked + self.lease)).work()
        except DatabaseUnavailable as error:
            # The lease runs out, and another worker begins where the last checkpoint is.
            _log.warning("run_left", **logs.describe(error))
        except Fenced:
            _log.warning("run_lost", reason="the lease ran out, and another worker may have the run")


class _Attempt:
    """One worker's work on a run."""

    def __init__(self, runner: Runner, hold: Hold) -> None:
        self._runner = runner
        self._hold = hold
        self._claim = hold.claim

    async def work(self) -> None:
        """Works until the attempt ends, and writes how. Raises Fenced when the run was lost."""
        _log.info("run_begun", source=self._claim.source, attempt=self._claim.attempt)
        if self._claim.failures >= FAILURES:
            return await self._leave(
                End(State.FAILED, f"{FAILURES} attempts in a row have stored nothing; in the last one the worker died.")
            )
        beating = asyncio.create_task(self._hold.keep())
        pulling = asyncio.create_task(self._pull())
        left = max(self._claim.time_left.total_seconds(), 0)
        try:
            done, _ = await asyncio.wait([pulling, beating], return_when=asyncio.FIRST_COMPLETED, timeout=left)
            # The lease's loop only ends by an exception; what it says goes first.
            if beating.done():
                beating.result()
            end = pulling.result() if done else End(State.FAILED, "It has not ended by its deadline.")
            # What they are about to write comes before the end.
            await ended(pulling, beating)
            await self._leave(end)
        except asyncio.CancelledError:
            await ended(pulling, beating)
            if not self._hold.has_left:
                self._hold.lines.add("info", "HANDED_BACK", "The worker stops; another goes on with it.")
                await self._leave(End(State.QUEUED))
            raise
        except Cancelled:
            await ended(pulling, beating)
            await self._leave(End(State.CANCELLED))
        except Replaced:
            await ended(pulling, beating)
            self._hold.lines.add(
                "info", "HANDED_BACK", "Another company's run goes first; a worker goes on with it then."
            )
            await self._leave(End(State.QUEUED))
        finally:
            await ended(pulling, beating)
        return None

    async def _pull(self) -> End:
        """Reads and reconciles; gives how the attempt ends. Raises Fenced and DatabaseUnavailable."""
        try:
            return await self._read()
        except Refused as error:
            return End(State.FAILED, str(error))
        except OperatorError as error:
            return End(State.FAILED, str(error))
        except TryLater as error:
            return self._try_later(str(error), error.retry_after)
        except Unavailable as error:
            return self._try_later(str(error))
        except HooklineError as error:
            return End(State.FAILED, f"Ingest refuses the events: {error}")
        except (Fenced, DatabaseUnavailable):
            raise
        except Exception as error:
            # Our own mistake. Left to its lease, the run would be begun again for ever.
            _log.error("run_broke", **logs.describe(error))
            return self._try_later(DEFECT)

    async def _read(self) -> End:
        claim = self._claim
        secret = await self._hold.while_held(
            lambda connection: source_store.source_secret(connection, claim.company_id, claim.source)
        )
        if secret is None:
            raise Fenced
        name = secret.platform
        platform = await self._hold.while_held(
            lambda connection: source_store.platform_of(connection, claim.company_id, name)
        )
        if platform is None or platform.history is None:
            raise Refused(f"There is no history of {name} any more.")
        connector = self._runner.opening(secret, platform)
        try:
            pull = Pull(
                self._hold, connector, self._runner.ingest, name, history_digest(secret, platform), self._runner.room
            )
            reading = asyncio.create_task(pull.pull())
            try:
                await asyncio.wait([reading, pull.overspent], return_when=asyncio.FIRST_COMPLETED)
                (reading if reading.done() else pull.overspent).result()
            finally:
                await ended(reading, pull.overspent)
        finally:
            await connector.close()
        return await self._reconcile(pull, compares=connector.times_match)

    async def _reconcile(self, pull: Pull, *, compares: bool) -> End:
        """How a run that has been read to its end ends."""
        claim = self._claim
        until = pull.newest if compares else None
        found = await self._hold.while_held(
            lambda connection: reconciling.reconcile(
                connection, claim.company_id, claim.run_id, claim.source, claim.start_time, until
            )
        )
        if found is None:
            gap = pull.lacking
            message = "What the source has listed was not compared with what is stored: it takes the database too long."
            self._hold.lines.add("warning", "NOT_COMPARED", message)
        else:
            gap = found.gap(pull.lacking)
            self._hold.lines.add("warning" if gap else "info", "RECONCILED", found.text())
        if pull.lacking:
            # What is not stored may be of any of the windows.
            since = None if found and found.missing else pull.lacking_since
            return End(State.INCOMPLETE, pull.lacking, found=found, gap=gap, gap_start=since)
        return End(State.SUCCEEDED, found=found, gap=gap)

    def _try_later(self, error: str, retry_after: float | None = None) -> End:
        failures = (0 if self._hold.stored_a_page else self._claim.failures) + 1
        if failures >= FAILURES:
            return End(State.FAILED, error)
        wait = max(backoff(self._runner.first_wait * FIRST_RUN_WAIT, failures), retry_after or 0)
        self._hold.lines.add("warning", "ATTEMPT_FAILED", f"{error} It is tried again in {wait:,.0f} s.")
        return End(State.WAITING, error, retry_in=timedelta(seconds=wait))

    async def _leave(self, end: End) -> None:
        state = await self._hold.leave(end, self._runner.failures_alert)
        _log.info("run_left", state=state.value, attempt=self._claim.attempt)
