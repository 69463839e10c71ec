"""Who gets into the queue: a bounded number of bytes, of which every company has its share, whoever floods it."""

import asyncio
from collections import deque

from shared.errors import IngestQueueFull, ServerStopping

# A queue that is full now has moved on by then.
RETRY_SECONDS = 0.5
# A company's streams, which can wait, stop at half of what its other calls may fill: a backfill does not shut out the
# company's own webhooks.
PATIENT_SHARE = 0.5


class Shares:
    """A number of bytes. A company gets more as long as it then holds no more than are left: one that floods holds at
    most half, two hold a third each, and a newcomer always finds room.

    What has no room even though its company holds nothing gets in beside the shares, one at a time: however full they
    are and however large it is, every company gets on, and no one else has less.
    """

    def __init__(self, size: int) -> None:
        self._left = size
        self._held: dict[str, int] = {}
        self._beside = ""
        self._beside_bytes = 0

    def has_room(self, company_id: str, size: int) -> bool:
        """Whether `take` would take that now."""
        held = self._held.get(company_id, 0)
        return held + size <= self._left - size or self._is_beside(held)

    def take(self, company_id: str, size: int, share: float = 1) -> bool:
        """Takes bytes for a company, which then holds at most `share` of those left. False when it would hold more."""
        held = self._held.get(company_id, 0)
        if held + size <= share * (self._left - size):
            self._left -= size
        elif self._is_beside(held):
            self._beside, self._beside_bytes = company_id, size
        else:
            return False
        self._held[company_id] = held + size
        return True

    def give_back(self, company_id: str, size: int) -> None:
        """Gives back what `take` took, or part of it."""
        held = self._held.pop(company_id) - size
        if held:
            self._held[company_id] = held
        if company_id == self._beside:
            # The company held nothing when that came in: it is the first to go.
            beside = min(size, self._beside_bytes)
            self._beside_bytes -= beside
            size -= beside
        self._left += size

    def _is_beside(self, held: int) -> bool:
        return held == 0 and self._beside_bytes == 0


class Admission:
    """Lets requests in while their companies' shares of `max_bytes` last. As many bytes again may wait to get in."""

    def __init__(self, max_bytes: int) -> None:
        self._queued = Shares(max_bytes)
        # Those who wait hold their requests meanwhile: shared in the same way.
        self._lobby = Shares(max_bytes)
        # By company, in the order of their turns.
        self._waiting: dict[str, deque[tuple[int, asyncio.Future[bool]]]] = {}
        self._is_closed = False

    def check(self, company_id: str, size: int) -> None:
        """Raises IngestQueueFull when `enter` would, without `wait`. Keeps no room."""
        if not self._queued.has_room(company_id, size):
            raise IngestQueueFull(RETRY_SECONDS)

    async def enter(self, company_id: str, size: int, *, wait: bool) -> None:
        """Lets a request in; `leave` is to be called for its bytes.

        Without `wait`, raises IngestQueueFull when there is no room. With it, waits behind the company's other requests
        that wait, and raises IngestQueueFull only when too many bytes wait. Raises ServerStopping after `close`.
        """
        if self._is_closed:
            raise ServerStopping
        if not wait:
            if not self._queued.take(company_id, size):
                raise IngestQueueFull(RETRY_SECONDS)
        elif company_id in self._waiting or not self._queued.take(company_id, size, PATIENT_SHARE):
            if not self._lobby.take(company_id, size):
                raise IngestQueueFull(RETRY_SECONDS)
            try:
                await self._turn(company_id, size)
            finally:
                self._lobby.give_back(company_id, size)

    def leave(self, company_id: str, size: int) -> None:
        """Gives bytes back. Those who wait get in by `admit`: once for many that leave together."""
        self._queued.give_back(company_id, size)

    def admit(self) -> None:
        """Lets in those who wait, of one company after the other, until there is room for none."""
        is_moving = True
        while is_moving:
            is_moving = False
            for company_id, waiting in list(self._waiting.items()):
                # Whoever is gone needs no room.
                while waiting and waiting[0][1].done():
                    waiting.popleft()
                if waiting and not self._queued.take(company_id, waiting[0][0], PATIENT_SHARE):
                    continue
                # The company's next goes behind the other companies.
                del self._waiting[company_id]
                if waiting:
                    waiting.popleft()[1].set_result(True)
                    is_moving = True
                if waiting:
                    self._waiting[company_id] = waiting

    def close(self) -> None:
        """Lets no one in any more, nor those who wait."""
        self._is_closed = True
        for waiting in self._waiting.values():
            for _, admitted in waiting:
                if not admitted.done():
                    admitted.set_result(False)
        self._waiting.clear()

    async def _turn(self, company_id: str, size: int) -> None:
        admitted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(company_id, deque()).append((size, admitted))
        try:
            is_admitted = await admitted
        except asyncio.CancelledError:
            if not admitted.cancelled() and admitted.result():
                self.leave(company_id, size)
            self.admit()
            raise
        if not is_admitted:
            raise ServerStopping
