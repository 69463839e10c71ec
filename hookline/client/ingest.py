"""Ingest of many events, without the transport: cutting batches, keeping what is not acknowledged, counting results."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from hookline.client.errors import ServerDefect
from hookline.client.quarantine import reason_name
from hookline.client.requests import MAX_MESSAGE_BYTES
from hookline.ingest.v1.ingest_service_pb2 import (
    IncomingEvent,
    IngestEventStreamRequest,
    IngestEventStreamResponse,
    IngestResult,
    Outcome,
    OutcomeReason,
)

MAX_BATCH_EVENTS = 10_000
MAX_BATCH_BYTES = 4 * 1024 * 1024
MAX_PAYLOAD_BYTES = 16 * 1024 * 1024
"""A larger payload fits into no message; it is counted as rejected without being sent."""
WINDOW = 8
"""Batches on their way at once: enough to keep a server busy, and what is held in memory at most."""
MAX_PROBLEMS = 100


class Problem(NamedTuple):
    """An event that was quarantined or rejected. `position` counts the events from 0; `reason` is a name of
    OutcomeReason without its prefix, such as "JSON_MALFORMED"."""

    position: int
    reason: str
    message: str


@dataclass
class IngestSummary:
    """What became of the events so far. `conflicts` are those of the duplicates whose payload differs from the first
    one's. `problems` are the first 100 of the quarantined and rejected."""

    accepted: int = 0
    duplicates: int = 0
    conflicts: int = 0
    quarantined: int = 0
    rejected: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def total(self) -> int:
        """All events whose outcome is known."""
        return self.accepted + self.duplicates + self.quarantined + self.rejected

    def count(self, position: int, result: IngestResult) -> None:
        """Adds one event's result. Raises ServerDefect for an outcome that this client does not know."""
        match result.outcome:
            case Outcome.OUTCOME_ACCEPTED:
                self.accepted += 1
            case Outcome.OUTCOME_DUPLICATE:
                self.duplicates += 1
                self.conflicts += result.payload_differs
            case Outcome.OUTCOME_QUARANTINED:
                self.quarantined += 1
                self._note(position, result)
            case Outcome.OUTCOME_REJECTED:
                self.rejected += 1
                self._note(position, result)
            case unknown:
                raise ServerDefect(f"The server answered with an outcome that this client does not know: {unknown}.")

    def _note(self, position: int, result: IngestResult) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(position, reason_name(result.reason), result.message))


@dataclass(frozen=True)
class Batch:
    """Consecutive events; the first one's position is `first`."""

    first: int
    request: IngestEventStreamRequest


class Batcher:
    """Cuts events into batches, in order: at most `size` of them, and at most 4 MiB unless one event alone is larger.
    `common` is what a bare payload becomes an event with. Raises ValueError for a size that the server would refuse."""

    def __init__(self, company: str, common: IncomingEvent, size: int) -> None:
        if not 1 <= size <= MAX_BATCH_EVENTS:
            raise ValueError(f"a batch has 1 to {MAX_BATCH_EVENTS:,} events, not {size:,}")
        self._company, self._common, self._size = company, common, size
        self._number = self._first = self._bytes = 0
        self._events: list[IncomingEvent] = []

    def add(self, item: bytes | IncomingEvent) -> Batch | None:
        """Takes an event or its payload; gives the batch that it no longer fits into, if that is so."""
        event = item if isinstance(item, IncomingEvent) else self._event(item)
        size = event.ByteSize()
        full = len(self._events) == self._size or self._bytes + size > MAX_BATCH_BYTES
        cut = self.rest() if full else None
        self._events.append(event)
        self._bytes += size
        return cut

    def rest(self) -> Batch | None:
        """Gives what is left over as the last batch; None when nothing is."""
        if not self._events:
            return None
        self._number += 1
        request = IngestEventStreamRequest(company_id=self._company, batch_number=self._number, events=self._events)
        batch = Batch(self._first, request)
        self._first += len(self._events)
        self._events, self._bytes = [], 0
        return batch

    def _event(self, payload: bytes) -> IncomingEvent:
        event = IncomingEvent()
        event.CopyFrom(self._common)
        event.payload = payload
        return event


class IngestJob:
    """The state of one ingest over however many streams it takes: what is on its way, and what has come of the rest.

    The first batch of each stream goes alone. A server that refuses all of it is then heard at once, and one that has
    just come back is not flooded. `on_result` is told each event's position and result, once.
    """

    def __init__(self, on_result: Callable[[int, IngestResult], object] | None = None) -> None:
        self.summary = IngestSummary()
        self._on_result = on_result
        self._unacknowledged: deque[Batch] = deque()
        self._again: deque[Batch] = deque()
        self._window = 1

    @property
    def has_room(self) -> bool:
        """Whether another batch may be sent before an acknowledgement comes."""
        return len(self._unacknowledged) < self._window

    @property
    def is_waiting(self) -> bool:
        """Whether an acknowledgement is still to come."""
        return bool(self._unacknowledged)

    def stream_broke(self) -> None:
        """Notes that nothing more will be acknowledged on this stream: it is all to be sent again on another."""
        self._again.extendleft(reversed(self._unacknowledged))
        self._unacknowledged.clear()
        self._window = 1

    def again(self) -> Batch | None:
        """Takes the next batch that is to be sent again, before any new one."""
        return self._again.popleft() if self._again else None

    def send(self, batch: Batch) -> bool:
        """Notes a batch as sent; False when it must not be, because no message can hold it (it is counted then)."""
        # Only a batch of one event can be this large.
        if len(batch.request.events[0].payload) > MAX_PAYLOAD_BYTES or batch.request.ByteSize() > MAX_MESSAGE_BYTES:
            self._count(batch.first, _TOO_LARGE)
            return False
        self._unacknowledged.append(batch)
        return True

    def acknowledge(self, response: IngestEventStreamResponse) -> None:
        """Counts the results of the oldest batch on its way. Raises ServerDefect when they are not that batch's."""
        expected = self._unacknowledged[0]
        number, size = expected.request.batch_number, len(expected.request.events)
        if response.batch_number != number or len(response.results) != size:
            raise ServerDefect(
                f"The server acknowledged batch {response.batch_number} with {len(response.results)} results; "
                f"batch {number} with {size} was next."
            )
        for position, result in enumerate(response.results, expected.first):
            self._count(position, result)
        self._unacknowledged.popleft()
        self._window = WINDOW

    def _count(self, position: int, result: IngestResult) -> None:
        self.summary.count(position, result)
        if self._on_result:
            self._on_result(position, result)


_TOO_LARGE = IngestResult(
    outcome=Outcome.OUTCOME_REJECTED,
    reason=OutcomeReason.OUTCOME_REASON_PAYLOAD_TOO_LARGE,
    message="the event is larger than a message can be (16 MiB); it was not sent",
)
