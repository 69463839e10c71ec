"""A worker's hold on a run: the lease that it extends, and what it writes while it has it."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, TypeVar

from services.sync import attempt_store, metrics, reaper_store
from services.sync.attempt_store import Claim, Progress, Stored
from services.sync.run_log import Lines
from services.sync.run_store import State
from shared import db
from shared.errors import DatabaseUnavailable

LOOK_SECONDS = 0.5
"""How often a worker looks whether its run is to be cancelled."""
TURN_SECONDS = 300.0
"""How long an attempt goes on at least while runs of other companies wait for a worker."""
WAITED = timedelta(seconds=5)
"""A run that workers were told of so long ago, and that none has taken, waits for one."""

T = TypeVar("T")


class Fenced(Exception):
    """The run is no longer this worker's: it writes nothing more."""


class Cancelled(Exception):
    """Someone has asked for the run to be cancelled."""


class Replaced(Exception):
    """The run has had its turn: another company's goes first."""


class Hold:
    """Writes for whoever has the run, again and again while the database is away, for as long as the lease holds.

    `held_until` is by this machine's own clock, which goes on while the process is frozen.
    """

    def __init__(self, pool: db.Pool, claim: Claim, lease: float, held_until: float) -> None:
        self.claim = claim
        self.lines = Lines(claim.logged)
        self.retries = claim.retries
        """Of the run so far."""
        self.stored_a_page = False
        """Whether this attempt has brought anything: failures are counted from there."""
        self.has_left = False
        """Whether the attempt's end is written."""
        self._pool = pool
        self._lease = lease
        self._held_until = held_until
        # Not all at the same moment: one that goes may be enough.
        self._turn_until = time.monotonic() + TURN_SECONDS * random.uniform(1, 1.5)  # noqa: S311  # spreads turns, protects nothing

    def check(self) -> None:
        """Raises Fenced when the lease may be over."""
        if time.monotonic() >= self._held_until:
            raise Fenced

    async def keep(self) -> None:
        """Gives signs of life, and writes what happened since the last one, until the run is lost, to be cancelled, or
        to make room: raises Fenced, Cancelled or Replaced."""
        known_until = self.claim.lease_until
        while True:
            await asyncio.sleep(min(LOOK_SECONDS, self._lease / 3))
            asked = time.monotonic()
            held = await _to_its_end(self._extend(known_until))
            if held is None:
                raise Fenced
            if held.cancel_requested:
                raise Cancelled
            known_until, self._held_until = held.lease_until, asked + self._lease
            # Whoever has stored nothing yet would be at the same place in the next turn.
            if self.stored_a_page and time.monotonic() >= self._turn_until and not await self._is_before_others():
                raise Replaced

    async def _extend(self, known_until: datetime) -> attempt_store.Held | None:
        retries, lines = self.retries, self.lines.take()
        return await self.while_held(
            lambda connection: attempt_store.extend_lease(
                connection, self.claim, known_until, timedelta(seconds=self._lease), retries, lines
            )
        )

    async def _is_before_others(self) -> bool:
        return await self.while_held(
            lambda connection: reaper_store.is_before_others(connection, self.claim.company_id, WAITED)
        )

    async def checkpoint(self, page: int, progress: Progress, stored: Stored) -> None:
        """Notes pages that ingest has acknowledged."""
        lines = self.lines.take()
        noted = await _to_its_end(
            self.while_held(
                lambda connection: attempt_store.checkpoint(connection, self.claim, page, progress, stored, lines)
            )
        )
        if not noted:
            raise Fenced
        metrics.PAGES.inc()
        self.stored_a_page = True

    async def leave(self, end: attempt_store.End, failures_alert: int) -> State:
        """Ends the attempt; gives the state that the run is in then."""
        return await _to_its_end(self._leave(end, failures_alert))

    async def _leave(self, end: attempt_store.End, failures_alert: int) -> State:
        lines = self.lines.take()
        left = await self.while_held(
            lambda connection: attempt_store.leave_run(
                connection, self.claim, end, self.retries, lines, failures_alert=failures_alert
            )
        )
        if not left:
            raise Fenced
        self.has_left = True
        if left.has_ended:
            metrics.RUNS_ENDED.labels(left.value).inc()
        return left

    async def while_held(self, ask: Callable[[db.Connection], Awaitable[T]]) -> T:
        """Asks the database until it answers; a statement that it had no time for is asked again, too.
        Raises Fenced when the lease is over before that."""
        while True:
            self.check()
            try:
                async with db.acquired(self._pool) as connection:
                    return await ask(connection)
            except DatabaseUnavailable:
                await asyncio.sleep(0.2)


async def _to_its_end(writing: Coroutine[Any, Any, T]) -> T:
    """Awaits a write to its end even where it is cancelled meanwhile: else nobody knows whether the lines that it takes
    along are written. Cancelled once more, it is cut off."""
    task = asyncio.ensure_future(writing)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise
    return task.result()
