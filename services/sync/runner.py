"""Works on a run: pages of history into ingest, a checkpoint after each, for as long as the lease holds."""

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

import aiohttp
import structlog

from hookline.client import AsyncClient, HooklineError, IngestSummary, Unavailable
from services.sync import attempt_store, source_store
from services.sync.attempt_store import Claim, Counts
from services.sync.connector import Connector, Endpoint, TryLater, backoff
from services.sync.history import Cursor, HistoryPage, Refused
from services.sync.run_store import State
from shared import db, logs
from shared.errors import DatabaseUnavailable, OperatorError
from shared.platforms import platforms
from shared.vault import Vault

FAILURES = 8
"""Attempts that may fail in a row without a page stored; then the run ends as failed. Each reads on from the last
checkpoint."""
PAGES_UNDER_WAY = 4
"""Pages of a run that ingest is storing at the same time: it commits them together."""
FIRST_RUN_WAIT = 60
"""The wait before a run's second attempt, in units of the first wait of a page."""
_HAND_BACK_SECONDS = 4

_log = structlog.get_logger()
T = TypeVar("T")


class _Fenced(Exception):
    """The run is no longer this worker's: it writes nothing more."""


class _Cancelled(Exception):
    """Someone has asked for the run to be cancelled."""


class Runner:
    """Works on runs for one worker process. Ends each attempt in a state that is true."""

    def __init__(
        self,
        pool: db.Pool,
        ingest: AsyncClient,
        session: aiohttp.ClientSession,
        vault: Vault,
        *,
        lease: float,
        first_wait: float,
    ) -> None:
        self._pool = pool
        self._ingest = ingest
        self._session = session
        self._vault = vault
        self._lease = lease
        self._first_wait = first_wait
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
            async with db.acquired(self._pool) as connection:
                claim = await attempt_store.claim_run(connection, company_id, run_id, timedelta(seconds=self._lease))
            if claim is not None:
                await _Attempt(self, claim, asked + self._lease).work()
        except DatabaseUnavailable as error:
            # The lease runs out, and another worker begins where the last checkpoint is.
            _log.warning("run_left", **logs.describe(error))
        except _Fenced:
            _log.warning("run_lost", reason="the lease ran out, and another worker may have the run")


class _Attempt:
    """One worker's hold on a run."""

    def __init__(self, runner: Runner, claim: Claim, held_until: float) -> None:
        self._pool = runner._pool
        self._ingest = runner._ingest
        self._session = runner._session
        self._vault = runner._vault
        self._first_wait = runner._first_wait
        self._lease = runner._lease
        self._claim = claim
        # By this machine's own clock, which goes on while the process is frozen.
        self._held_until = held_until
        self._retries_noted = 0
        self._failures = claim.failures

    async def work(self) -> None:
        """Works until the attempt ends, and writes how. Raises _Fenced when the run was lost."""
        _log.info("run_begun", source=self._claim.source, attempt=self._claim.attempt)
        if self._failures >= FAILURES:
            return await self._leave(State.FAILED, error=f"{FAILURES} workers in a row have died of it.")
        async with db.acquired(self._pool) as connection:
            secret = await source_store.source_secret(connection, self._claim.company_id, self._claim.source)
        if secret is None:
            raise _Fenced
        history = platforms()[secret.platform].history if secret.platform in platforms() else None
        if history is None:
            return await self._leave(State.FAILED, error=f"There is no history of {secret.platform} any more.")
        try:
            credential = self._vault.decrypt(secret.credential)
        except OperatorError as error:
            return await self._leave(State.FAILED, error=str(error))
        endpoint = Endpoint(secret.base_url, credential, secret.parameters, history)
        connector = Connector(self._session, endpoint, self._first_wait)
        pulling = asyncio.create_task(self._pull(connector, secret.platform))
        beating = asyncio.create_task(self._keep_lease())
        try:
            await asyncio.wait([pulling, beating], return_when=asyncio.FIRST_COMPLETED)
            # The lease's loop only ends by an exception; what it says goes first.
            if beating.done():
                beating.result()
            pulling.result()
        except asyncio.CancelledError:
            await _ended(pulling, beating)
            await self._leave(State.QUEUED, retries=self._new_retries(connector))
            raise
        except _Cancelled:
            await _ended(pulling, beating)
            await self._leave(State.CANCELLED, retries=self._new_retries(connector))
        except Refused as error:
            await self._leave(State.FAILED, error=str(error), retries=self._new_retries(connector))
        except (TryLater, Unavailable) as error:
            await self._try_later(str(error), self._new_retries(connector))
        except HooklineError as error:
            message = f"Ingest refuses the events: {error}"
            await self._leave(State.FAILED, error=message, retries=self._new_retries(connector))
        except (_Fenced, DatabaseUnavailable):
            raise
        except Exception as error:
            # Our own mistake. Left to its lease, the run would be begun again for ever.
            _log.error("run_broke", **logs.describe(error))
            await self._try_later("A defect of Hookline; the worker's log says more.", self._new_retries(connector))
        else:
            await self._leave(State.SUCCEEDED, retries=self._new_retries(connector))
        finally:
            await _ended(pulling, beating)

    async def _try_later(self, error: str, retries: int) -> None:
        failures = self._failures + 1
        if failures >= FAILURES:
            return await self._leave(State.FAILED, error=error, retries=retries)
        wait = backoff(self._first_wait * FIRST_RUN_WAIT, failures)
        await self._leave(State.WAITING, error=error, retry_in=timedelta(seconds=wait), retries=retries)
        return None

    async def _pull(self, connector: Connector, platform: str) -> None:
        """Page after page. A few are being stored at the same time while the next is fetched; they are checkpointed in
        their order, each as soon as it and those before it are stored."""
        claim = self._claim
        cursor = Cursor.decode(claim.cursor) if claim.cursor else Cursor.start(claim.start_time)
        fetching: asyncio.Task[HistoryPage] | None = asyncio.create_task(connector.page(cursor))
        storing: deque[tuple[HistoryPage, asyncio.Task[IngestSummary]]] = deque()
        failure: Exception | None = None
        try:
            while fetching or storing:
                awaited: list[asyncio.Task[Any]] = [storing[0][1]] if storing else []
                if fetching and len(storing) < PAGES_UNDER_WAY:
                    awaited.append(fetching)
                await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
                while storing and storing[0][1].done():
                    page, stored = storing.popleft()
                    await self._checkpoint(page, stored.result(), self._new_retries(connector))
                if fetching and fetching.done() and len(storing) < PAGES_UNDER_WAY:
                    try:
                        page = fetching.result()
                    except (Refused, TryLater) as error:
                        # What was fetched before it is stored all the same.
                        failure, fetching = error, None
                        continue
                    fetching = None
                    if page.payloads:
                        fetching = asyncio.create_task(connector.page(page.next_cursor))
                        storing.append((page, asyncio.create_task(self._store(page, platform))))
        finally:
            await _ended(*([fetching] if fetching else []), *(task for _, task in storing))
        if failure:
            raise failure

    async def _store(self, page: HistoryPage, platform: str) -> IngestSummary:
        self._check_held()
        return await self._ingest.ingest_many(
            self._claim.company_id, page.payloads, platform=platform, source=self._claim.source, batch_size=1000
        )

    async def _checkpoint(self, page: HistoryPage, stored: IngestSummary, retries: int) -> None:
        """Notes a page that ingest has acknowledged."""
        counts = Counts(len(page.payloads), stored.accepted, stored.duplicates, stored.quarantined, stored.rejected)
        cursor = page.next_cursor.encode()
        noted = await self._while_held(
            lambda connection: attempt_store.checkpoint(
                connection, self._claim, cursor, page.synced_time, counts, retries
            )
        )
        if not noted:
            raise _Fenced
        self._failures = 0

    async def _keep_lease(self) -> None:
        """Gives signs of life until the run is lost, or to be cancelled."""
        while True:
            await asyncio.sleep(min(1.0, self._lease / 3))
            asked = time.monotonic()
            cancel = await self._while_held(
                lambda connection: attempt_store.extend_lease(connection, self._claim, timedelta(seconds=self._lease))
            )
            if cancel is None:
                raise _Fenced
            if cancel:
                raise _Cancelled
            self._held_until = asked + self._lease

    async def _leave(
        self, state: State, *, error: str | None = None, retry_in: timedelta | None = None, retries: int = 0
    ) -> None:
        left = await self._while_held(
            lambda connection: attempt_store.leave_run(
                connection, self._claim, state, error=error, retry_in=retry_in, retries=retries
            )
        )
        if not left:
            raise _Fenced
        _log.info("run_left", state=state.value, attempt=self._claim.attempt)

    async def _while_held(self, write: Callable[[db.Connection], Awaitable[T]]) -> T:
        """Writes, again and again while the database is away, for as long as the lease holds."""
        while True:
            self._check_held()
            try:
                async with db.acquired(self._pool) as connection:
                    return await write(connection)
            except DatabaseUnavailable:
                await asyncio.sleep(0.2)

    def _check_held(self) -> None:
        if time.monotonic() >= self._held_until:
            raise _Fenced

    def _new_retries(self, connector: Connector) -> int:
        """Retries since they were last noted."""
        new = connector.retries - self._retries_noted
        self._retries_noted = connector.retries
        return new


async def _ended(*tasks: "asyncio.Task[Any]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
