"""Group commit: what many callers bring at the same time is committed together, a batch at a time for each company.

A commit waits for the disk, and a company's batches wait for each other at its counter; so while one batch commits,
everything that comes for that company gathers into the next. A caller alone never waits for a batch to fill.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from enum import Enum, auto

import asyncpg
import msgspec
import structlog

from services.ingest import store
from services.ingest.mapping import Mapped, Reason, Rejected, SetAside
from shared import db
from shared.errors import DatabaseUnavailable, IngestQueueFull, ServerStopping
from shared.migrate import PARTITIONS_AHEAD

BATCH_EVENTS = 1000
BATCH_BYTES = 4 * 1024 * 1024
# With so many queued, a company's next batch is sent while one is under way: its keys go in meanwhile, and only the
# counter makes it wait.
SECOND_WRITER_EVENTS = 500
# Where several callers share batches, a batch waits a moment for more of them: it costs as much as one of them alone.
LINGER_SECONDS = 0.002
LINGER_EVENTS = 50
_RETRY_SECONDS = (0.05, 0.2, 0.5, 1.0)
# PostgreSQL won't take the values of some row: to be found and set aside, so that its neighbours get in.
_UNSTORABLE = (asyncpg.DataError, asyncpg.ProgramLimitExceededError)

_log = structlog.get_logger()


class Outcome(Enum):
    """What became of an event. The names are those of the contract's Outcome."""

    ACCEPTED = auto()
    DUPLICATE = auto()
    QUARANTINED = auto()
    REJECTED = auto()


class Result(msgspec.Struct, frozen=True):
    """What became of one event; the fields are those of the contract's IngestResult."""

    outcome: Outcome
    event_id: str = ""
    sequence: int = 0
    payload_differs: bool = False
    quarantine_id: str = ""
    reason: Reason | None = None
    message: str = ""


Results = asyncio.Future[list[Result]]


class _Request:
    """What one caller brought, and the results as they come in."""

    def __init__(self, count: int) -> None:
        self.results: list[Result | None] = [None] * count
        self.missing = count
        self.done: Results = asyncio.get_running_loop().create_future()

    def settle(self, position: int, result: Result) -> None:
        self.results[position] = result
        self.missing -= 1
        if self.missing == 0 and not self.done.done():
            self.done.set_result([one for one in self.results if one is not None])

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)
            # A caller that is gone takes no notice: that is no defect.
            self.done.exception()


class _Item(msgspec.Struct, frozen=True):
    """One event on its way to a batch."""

    event: store.Candidate | SetAside
    size: int
    request: _Request
    position: int

    @property
    def is_settled(self) -> bool:
        return self.request.results[self.position] is not None


class _Queue:
    """What waits to be committed for one company."""

    def __init__(self) -> None:
        self.items: deque[_Item] = deque()
        self.writers = 0
        self.is_shared = False
        """Whether the last batch was of several callers: then more are on their way."""
        self._split: set[_Request] = set()

    def take(self) -> list[_Item]:
        """The next batch; empty when another writer was faster, or is at the first part of the request that is next:
        the events of a request are numbered in its order."""
        batch: list[_Item] = []
        if self.items and self.items[0].request in self._split:
            return batch
        size = 0
        while self.items and len(batch) < BATCH_EVENTS and (not batch or size + self.items[0].size <= BATCH_BYTES):
            size += self.items[0].size
            batch.append(self.items.popleft())
        if batch:
            last = batch[-1].request
            self.is_shared = batch[0].request is not last
            if self.items and self.items[0].request is last:
                self._split.add(last)
        return batch

    def done(self, batch: list[_Item]) -> None:
        """The batch has been committed, or has failed."""
        self._split.discard(batch[-1].request)


class Committer:
    """Commits events through `pool`, at most `writers` batches at once, holding at most `max_queued_bytes`."""

    def __init__(self, pool: db.Pool, writers: int, max_queued_bytes: int) -> None:
        self._pool = pool
        # First come, first served: companies take turns, batch by batch.
        self._turns = asyncio.Semaphore(writers)
        self._max_queued_bytes = max_queued_bytes
        self._queued_bytes = 0
        self._room = asyncio.Condition()
        self._queues: dict[str, _Queue] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def submit(self, company_id: str, events: Sequence[Mapped | SetAside | Rejected], *, wait: bool) -> Results:
        """Queues events; the future gives a result for each, in order, once all of them are committed.

        With `wait`, waits while the queue is full; else raises IngestQueueFull, with nothing queued. Raises
        ServerStopping after `close`. The future raises DatabaseUnavailable when the database stays away: any part of
        the events may be stored then.
        """
        size = sum(len(event.payload) for event in events if not isinstance(event, Rejected))
        await self._make_room(size, wait)
        request = _Request(len(events))
        if not events:
            request.done.set_result([])
        items = []
        for position, event in enumerate(events):
            if isinstance(event, Rejected):
                request.settle(position, Result(Outcome.REJECTED, reason=event.reason, message=event.message))
            else:
                queued = store.candidate(event) if isinstance(event, Mapped) else event
                items.append(_Item(queued, len(event.payload), request, position))
        if items:
            self._queued_bytes += size
            queue = self._queues.setdefault(company_id, _Queue())
            queue.items.extend(items)
            self._start_writers(company_id, queue)
        return request.done

    async def close(self) -> None:
        """Takes no more, and waits until what is queued is committed or has failed."""
        self._stopping = True
        async with self._room:
            self._room.notify_all()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _make_room(self, size: int, wait: bool) -> None:
        # One request larger than the whole queue must get in some time: alone.
        if self._queued_bytes + size > self._max_queued_bytes and self._queued_bytes > 0 and not self._stopping:
            if not wait:
                raise IngestQueueFull(retry_seconds=0.5)
            async with self._room:
                await self._room.wait_for(
                    lambda: (
                        self._stopping or self._queued_bytes == 0 or self._queued_bytes + size <= self._max_queued_bytes
                    )
                )
        if self._stopping:
            raise ServerStopping

    def _start_writers(self, company_id: str, queue: "_Queue") -> None:
        wanted = 2 if len(queue.items) >= SECOND_WRITER_EVENTS else 1
        while queue.items and queue.writers < wanted:
            queue.writers += 1
            task = asyncio.create_task(self._write(company_id, queue))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _write(self, company_id: str, queue: "_Queue") -> None:
        while queue.items:
            if queue.is_shared and len(queue.items) < LINGER_EVENTS:
                await asyncio.sleep(LINGER_SECONDS)
            async with self._turns:
                # Filled only now: what came while this company waited for its turn goes along.
                batch = queue.take()
                if not batch:
                    # Whoever has what comes before goes on with the rest.
                    break
                self._start_writers(company_id, queue)
                try:
                    await self._commit_patiently(company_id, batch)
                except Exception as error:
                    # Whatever it is, it reaches the callers, and the queue goes on.
                    _fail(batch, error)
                    self._queued_bytes -= sum(item.size for item in batch if not item.is_settled)
                finally:
                    queue.done(batch)
            async with self._room:
                self._room.notify_all()
        # In the same breath as the look at the queue: nothing can slip in between.
        queue.writers -= 1
        if queue.writers == 0:
            del self._queues[company_id]

    async def _commit_patiently(self, company_id: str, batch: list[_Item]) -> None:
        for delay in (*_RETRY_SECONDS, None):
            try:
                async with db.unavailable_if_lost():
                    await self._commit(company_id, batch)
                    return
            except DatabaseUnavailable:
                if delay is None:
                    raise
                # Whether the batch was committed is unknown; its event ids will tell (`Stored.is_new`).
                await asyncio.sleep(delay)

    async def _commit(self, company_id: str, batch: list[_Item]) -> None:
        async with self._pool.acquire() as connection:
            await self._store(
                connection, company_id, [item for item in batch if isinstance(item.event, store.Candidate)]
            )
            aside = [(item, item.event) for item in batch if isinstance(item.event, SetAside)]
            await self._quarantine(connection, company_id, aside)

    async def _store(self, connection: db.Connection, company_id: str, items: list[_Item]) -> None:
        if not items:
            return
        candidates = [item.event for item in items if isinstance(item.event, store.Candidate)]
        try:
            stored = await store.store_events(connection, company_id, candidates)
        except asyncpg.CheckViolationError as error:
            if error.constraint_name is not None:
                raise
            # No partition for this month: the maintenance did not run. Made here, or this raises again.
            if not await store.create_partitions(connection, PARTITIONS_AHEAD):
                raise
            await self._store(connection, company_id, items)
            return
        except _UNSTORABLE as error:
            if len(items) == 1:
                event = candidates[0].event
                _log.warning("unstorable_event", company_id=company_id, sqlstate=error.sqlstate)
                message = f"PostgreSQL can't hold the payload (SQLSTATE {error.sqlstate})"
                aside = SetAside(event.source, event.platform, Reason.JSON_UNSTORABLE, message, event.payload)
                await self._quarantine(connection, company_id, [(items[0], aside)])
                return
            middle = len(items) // 2
            await self._store(connection, company_id, items[:middle])
            await self._store(connection, company_id, items[middle:])
            return
        for item, lies in zip(items, stored, strict=True):
            outcome = Outcome.ACCEPTED if lies.is_new else Outcome.DUPLICATE
            self._settle(item, Result(outcome, str(lies.event_id), lies.sequence or 0, payload_differs=lies.differs))

    async def _quarantine(
        self, connection: db.Connection, company_id: str, items: list[tuple[_Item, SetAside]]
    ) -> None:
        if not items:
            return
        ids = await store.store_quarantined(connection, company_id, [event for _, event in items])
        for (item, event), quarantine_id in zip(items, ids, strict=True):
            quarantined = str(quarantine_id)
            self._settle(
                item, Result(Outcome.QUARANTINED, quarantine_id=quarantined, reason=event.reason, message=event.message)
            )

    def _settle(self, item: _Item, result: Result) -> None:
        if item.is_settled:
            # Settled before the connection was lost; stored again, it says the same.
            return
        # Before the caller hears of it, and may send the next.
        self._queued_bytes -= item.size
        item.request.settle(item.position, result)


def _fail(batch: list[_Item], error: Exception) -> None:
    for request in {id(item.request): item.request for item in batch}.values():
        request.fail(error)
