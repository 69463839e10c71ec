"""A worker's hold on a run: the lease that it extends, and what it writes while it has it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from services.sync import attempt_store, metrics
from services.sync.attempt_store import Claim, Progress, Stored
from services.sync.run_log import Lines
from shared import db
from shared.errors import DatabaseUnavailable

LOOK_SECONDS = 0.5
"""How often a worker looks whether its run is to be cancelled."""

T = TypeVar("T")


class Fenced(Exception):
    """The run is no longer this worker's: it writes nothing more."""


class Cancelled(Exception):
    """Someone has asked for the run to be cancelled."""


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
        self._pool = pool
        self._lease = lease
        self._held_until = held_until

    def check(self) -> None:
        """Raises Fenced when the lease may be over."""
        if time.monotonic() >= self._held_until:
            raise Fenced

    async def keep(self) -> None:
        """Gives signs of life, and writes what happened since the last one, until the run is lost, or to be
        cancelled: raises Fenced or Cancelled."""
        while True:
            await asyncio.sleep(min(LOOK_SECONDS, self._lease / 3))
            asked, retries, lines = time.monotonic(), self.retries, self.lines.take()
            cancel = await self.while_held(
                lambda connection: attempt_store.extend_lease(
                    connection,
                    self.claim,
                    timedelta(seconds=self._lease),
                    retries,  # noqa: B023  # called at once
                    lines,  # noqa: B023  # called at once
                )
            )
            if cancel is None:
                raise Fenced
            if cancel:
                raise Cancelled
            self._held_until = asked + self._lease

    async def checkpoint(self, page: int, progress: Progress, stored: Stored) -> None:
        """Notes pages that ingest has acknowledged."""
        lines = self.lines.take()
        noted = await self.while_held(
            lambda connection: attempt_store.checkpoint(connection, self.claim, page, progress, stored, lines)
        )
        if not noted:
            raise Fenced
        metrics.PAGES.inc()
        self.stored_a_page = True

    async def leave(self, end: attempt_store.End, failures_alert: int) -> None:
        """Ends the attempt."""
        lines = self.lines.take()
        left = await self.while_held(
            lambda connection: attempt_store.leave_run(
                connection, self.claim, end, self.retries, lines, failures_alert=failures_alert
            )
        )
        if not left:
            raise Fenced
        if end.state.has_ended:
            metrics.RUNS_ENDED.labels(end.state.value).inc()

    async def while_held(self, ask: Callable[[db.Connection], Awaitable[T]]) -> T:
        """Asks the database until it answers. Raises Fenced when the lease is over before that."""
        while True:
            self.check()
            try:
                async with db.acquired(self._pool) as connection:
                    return await ask(connection)
            except DatabaseUnavailable:
                await asyncio.sleep(0.2)
