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

from services.ingest import quarantine_store, store
from services.ingest.admission import Admission
from services.ingest.erased_keys import ErasedKeys
from services.ingest.mapping import Mapped, Reason, Rejected, SetAside
from shared import db
from shared.errors import DatabaseUnavailable
from shared.migrate import PARTITIONS_AHEAD

BATCH_EVENTS = 1000
BATCH_BYTES = 4 * 1024 * 1024
# What an event takes besides its payload: no number of tiny ones is too many for the memory.
EVENT_BYTES = 1024
# With so many queued, a company's next batch is sent while one is under way: its keys go in meanwhile, and only the
# counter makes it wait.
SECOND_BATCH_EVENTS = 500
# Where several callers share batches, a batch waits a moment for more of them: it costs as much as one of them alone.
LINGER_SECONDS = 0.002
LINGER_EVENTS = 50
# Above it, looking for known events first costs less than it saves.
KNOWN_SHARE = 0.2
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


GONE = Result(Outcome.REJECTED, message="it does not lie in quarantine any more")
"""Of an event that was retried, and known by being this very object: it is not stored, and callers don't hear of it."""
Results = asyncio.Future[list[Result]]


class _Request:
    """What one caller brought, and the results as they come in. It counts as queued until all are there."""

    def __init__(self, company_id: str, count: int, size: int) -> None:
        self.company_id = company_id
        self.size = size
        self.results: list[Result | None] = [None] * count
        self.missing = count
        self.done: Results = asyncio.get_running_loop().create_future()


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

    def __init__(self, company_id: str) -> None:
        self.company_id = company_id
        self.items: deque[_Item] = deque()
        self.under_way = 0
        """Batches of it that are being committed."""
        self.linger: asyncio.TimerHandle | None = None
        """While it waits for more callers."""
        self.looks_first = False
        """Whether the last batch held many events that were known: then the next one is likely to."""
        self._is_shared = False
        self._split: set[_Request] = set()

    @property
    def is_ready(self) -> bool:
        """Whether its next batch may begin: not while the first part of the request that is next is under way, since
        the events of a request are numbered in its order."""
        if not self.items or self.items[0].request in self._split:
            return False
        return self.under_way == 0 or (self.under_way == 1 and len(self.items) >= SECOND_BATCH_EVENTS)

    @property
    def is_worth_lingering(self) -> bool:
        """Whether more callers are on their way: as the last batch was of several."""
        return self._is_shared and self.under_way == 0 and 0 < len(self.items) < LINGER_EVENTS

    def take(self) -> list[_Item]:
        """The next batch."""
        batch: list[_Item] = []
        size = 0
        while self.items and len(batch) < BATCH_EVENTS and (not batch or size + self.items[0].size <= BATCH_BYTES):
            size += self.items[0].size
            batch.append(self.items.popleft())
        last = batch[-1].request
        self._is_shared = batch[0].request is not last
        if self.items and self.items[0].request is last:
            self._split.add(last)
        self.under_way += 1
        return batch

    def done(self, batch: list[_Item]) -> None:
        """The batch has been committed, or has failed."""
        self._split.discard(batch[-1].request)
        self.under_way -= 1


class Committer:
    """Commits events through `pool`, of at most `writers` companies at once, holding at most `max_queued_bytes`.

    It commits `writers` batches at once, and one more where a company would else wait for another's second batch: a
    flood never keeps all of them for itself.
    """

    def __init__(self, pool: db.Pool, writers: int, max_queued_bytes: int, erased_keys: ErasedKeys) -> None:
        self._pool = pool
        self._erased_keys = erased_keys
        self._writers = writers
        self._admission = Admission(max_queued_bytes)
        self.stored = 0
        """New events so far."""
        self._queues: dict[str, _Queue] = {}
        # Those with a batch to begin, in the order of their turns.
        self._ring: dict[str, _Queue] = {}
        # Whose batches are under way, each as often as it has some.
        self._busy: list[_Queue] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    def check_room(self, company_id: str, payload_sizes: Sequence[int]) -> None:
        """Raises IngestQueueFull when `submit` would, without `wait`, if it were called now."""
        if payload_sizes:
            self._admission.check(company_id, EVENT_BYTES * len(payload_sizes) + sum(payload_sizes))

    async def submit(self, company_id: str, events: Sequence[Mapped | SetAside | Rejected], *, wait: bool) -> Results:
        """Queues events; the future gives a result for each, in order, once all of them are committed.

        With `wait`, waits while the company's share of the queue is full; else raises IngestQueueFull, with nothing
        queued. Raises ServerStopping after `close`. The future raises DatabaseUnavailable when the database stays away:
        any part of the events may be stored then.
        """
        size = _size(events)
        if size:
            await self._admission.enter(company_id, size, wait=wait)
        request = _Request(company_id, len(events), size)
        items = []
        for position, event in enumerate(events):
            if isinstance(event, Rejected):
                request.results[position] = Result(Outcome.REJECTED, reason=event.reason, message=event.message)
            else:
                queued = store.candidate(event) if isinstance(event, Mapped) else event
                items.append(_Item(queued, len(event.payload), request, position))
        request.missing = len(items)
        if items:
            self._enqueue(company_id, items)
        else:
            _answer(request)
        return request.done

    async def close(self) -> None:
        """Takes no more, and waits until what is queued is committed or has failed."""
        self._admission.close()
        await self._is_idle.wait()

    def _enqueue(self, company_id: str, items: list[_Item]) -> None:
        self._is_idle.clear()
        if (queue := self._queues.get(company_id)) is None:
            queue = self._queues[company_id] = _Queue(company_id)
        queue.items.extend(items)
        if queue.linger is None:
            self._ring.setdefault(company_id, queue)
            if queue.is_ready:
                self._begin()
        elif len(queue.items) >= LINGER_EVENTS:
            self._end_linger(queue)

    def _end_linger(self, queue: _Queue) -> None:
        assert queue.linger is not None
        queue.linger.cancel()
        queue.linger = None
        self._ring[queue.company_id] = queue
        self._begin()

    def _begin(self) -> None:
        """Begins as many batches as may be under way."""
        while queue := self._next():
            # Filled only now: what came while this company waited for its turn goes along.
            batch = queue.take()
            del self._ring[queue.company_id]
            if queue.items:
                self._ring[queue.company_id] = queue
            self._busy.append(queue)
            task = asyncio.create_task(self._write(queue, batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _next(self) -> _Queue | None:
        """Whose turn it is: first come, first served among those with nothing under way; else among the others."""
        if len(self._busy) > self._writers or len(set(self._busy)) == self._writers:
            return None
        second = None
        # Few are passed over: those that are not ready have a batch under way.
        for queue in self._ring.values():
            if queue.is_ready:
                if queue.under_way == 0:
                    return queue
                second = second or queue
        return second if len(self._busy) < self._writers else None

    async def _write(self, queue: _Queue, batch: list[_Item]) -> None:
        try:
            await self._commit_patiently(queue, batch)
        except Exception as error:
            # Whatever it is, it reaches the callers, and the queue goes on.
            self._fail(batch, error)
        queue.done(batch)
        self._busy.remove(queue)
        self._admission.admit()
        # Its next one goes behind those who wait by now.
        self._ring.pop(queue.company_id, None)
        if queue.is_worth_lingering:
            queue.linger = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._end_linger, queue)
        elif queue.items:
            self._ring[queue.company_id] = queue
        elif queue.under_way == 0:
            del self._queues[queue.company_id]
            if not self._queues:
                self._is_idle.set()
        self._begin()

    async def _commit_patiently(self, queue: _Queue, batch: list[_Item]) -> None:
        for delay in (*_RETRY_SECONDS, None):
            try:
                # What was said to be committed is; of the rest it is unknown. Event ids will tell (`Stored.is_new`).
                await self._commit(queue, [item for item in batch if not item.is_settled])
                return
            except DatabaseUnavailable:
                if delay is None:
                    raise
                await asyncio.sleep(delay)

    async def _commit(self, queue: _Queue, batch: list[_Item]) -> None:
        async with db.acquired(self._pool) as connection:
            events = [(item, item.event.event) for item in batch if isinstance(item.event, store.Candidate)]
            await self._store(connection, queue, [item for item, event in events if event.quarantine_id is None])
            await self._store(connection, queue, [item for item, event in events if event.quarantine_id is not None])
            aside = [(item, item.event) for item in batch if isinstance(item.event, SetAside)]
            await self._quarantine(connection, queue.company_id, aside)

    async def _store(
        self, connection: db.Connection, queue: _Queue, items: list[_Item], *, month_is_made: bool = False
    ) -> None:
        if not items:
            return
        candidates = _candidates(items)
        try:
            if candidates[0].event.quarantine_id is None:
                stored = await store.store_events(
                    connection, queue.company_id, candidates, self._erased_keys, look_first=queue.looks_first
                )
            else:
                async with connection.transaction():
                    items = await self._held(connection, queue.company_id, items)
                    candidates = _candidates(items)
                    stored = await store.store_events(connection, queue.company_id, candidates, self._erased_keys)
        except store.ErasedMeanwhile:
            await store.note_erasures(connection, queue.company_id, self._erased_keys)
            await self._store(connection, queue, items)
            return
        except asyncpg.CheckViolationError as error:
            if error.constraint_name is not None or month_is_made:
                raise
            # No partition for this month: the maintenance did not run. Made here, or by another meanwhile.
            await store.create_partitions(connection, PARTITIONS_AHEAD)
            await self._store(connection, queue, items, month_is_made=True)
            return
        except _UNSTORABLE as error:
            if len(items) == 1:
                _log.warning("unstorable_event", company_id=queue.company_id, sqlstate=error.sqlstate)
                event = candidates[0].event
                message = f"{event.aside.message} (SQLSTATE {error.sqlstate})"
                if event.quarantine_id is not None:
                    # It lies there already: who tries it again sees to its reason.
                    reason = event.aside.reason
                    self._settle(items[0], Result(Outcome.QUARANTINED, reason=reason, message=message))
                    return
                aside = msgspec.structs.replace(event.aside, message=message)
                await self._quarantine(connection, queue.company_id, [(items[0], aside)])
                return
            middle = len(items) // 2
            await self._store(connection, queue, items[:middle])
            await self._store(connection, queue, items[middle:])
            return
        known = sum(not lies.is_new for lies in stored)
        queue.looks_first = known > KNOWN_SHARE * len(stored)
        self.stored += len(stored) - known
        for item, lies in zip(items, stored, strict=True):
            outcome = Outcome.ACCEPTED if lies.is_new else Outcome.DUPLICATE
            self._settle(item, Result(outcome, str(lies.event_id), lies.sequence or 0, payload_differs=lies.differs))

    async def _held(self, connection: db.Connection, company_id: str, items: list[_Item]) -> list[_Item]:
        """Those of retried events that still lie in quarantine."""
        ids = [one.event.quarantine_id for one in _candidates(items)]
        there = await quarantine_store.hold(connection, company_id, [one for one in ids if one is not None])
        for item, quarantine_id in zip(items, ids, strict=True):
            if quarantine_id not in there:
                self._settle(item, GONE)
        return [item for item, quarantine_id in zip(items, ids, strict=True) if quarantine_id in there]

    async def _quarantine(
        self, connection: db.Connection, company_id: str, items: list[tuple[_Item, SetAside]]
    ) -> None:
        if not items:
            return
        ids = await quarantine_store.set_aside(connection, company_id, [event for _, event in items])
        for (item, event), quarantine_id in zip(items, ids, strict=True):
            quarantined = str(quarantine_id)
            self._settle(
                item, Result(Outcome.QUARANTINED, quarantine_id=quarantined, reason=event.reason, message=event.message)
            )

    def _settle(self, item: _Item, result: Result) -> None:
        item.request.results[item.position] = result
        self._count_down(item.request)

    def _fail(self, batch: list[_Item], error: Exception) -> None:
        for item in batch:
            if not item.is_settled:
                done = item.request.done
                if not done.done():
                    done.set_exception(error)
                    # A caller that is gone takes no notice: that is no defect.
                    done.exception()
                self._count_down(item.request)

    def _count_down(self, request: _Request) -> None:
        request.missing -= 1
        if request.missing == 0:
            # Before the caller hears of it, and may send the next.
            self._admission.leave(request.company_id, request.size)
            _answer(request)


def _answer(request: _Request) -> None:
    if not request.done.done():
        request.done.set_result([one for one in request.results if one is not None])


def _candidates(items: Sequence[_Item]) -> list[store.Candidate]:
    return [item.event for item in items if isinstance(item.event, store.Candidate)]


def _size(events: Sequence[Mapped | SetAside | Rejected]) -> int:
    """The bytes that events hold until they are settled. 0: none of them is to be committed."""
    size, is_any_queued = EVENT_BYTES * len(events), False
    for event in events:
        if isinstance(event, Rejected):
            continue
        is_any_queued = True
        size += len(event.payload)
        if isinstance(event, SetAside):
            size += sum(len(name) + len(value) for name, value in event.headers.items())
    return size if is_any_queued else 0
