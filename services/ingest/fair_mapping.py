"""Mapping many events without keeping the event loop, or one company's events, from the others."""

import asyncio
from collections.abc import Iterable
from weakref import WeakValueDictionary

from services.ingest.mapping import Incoming, Mapped, Mapper, Rejected, Rules, SetAside

SLICE_BYTES = 32 * 1024
"""After so many bytes, a millisecond's work, others get their turn."""


class FairMapper:
    """Maps a slice at a time, of one company after the other: however many batches there are, and however many of them
    are one company's, whatever else the event loop has to do waits for one slice."""

    def __init__(self, mapper: Mapper) -> None:
        self._mapper = mapper
        self._turn = asyncio.Lock()
        # Locks are first come, first served. With one for each company, of each only one batch stands in line.
        self._of_company: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def map(
        self, company_id: str, events: Iterable[Incoming], rules: Rules
    ) -> list[Mapped | SetAside | Rejected]:
        """What the mapper makes of each, in order."""
        mapped: list[Mapped | SetAside | Rejected] = []
        left = iter(events)
        of_company = self._of_company.setdefault(company_id, asyncio.Lock())
        is_more = True
        while is_more:
            async with of_company, self._turn:
                is_more = self._map_slice(left, rules, mapped)
                # Taken with the turn: what else is ready runs before the next slice, whoever's that is.
                await asyncio.sleep(0)
        return mapped

    def _map_slice(self, left: Iterable[Incoming], rules: Rules, mapped: list[Mapped | SetAside | Rejected]) -> bool:
        """Maps the next events; whether there may be more."""
        size = 0
        for incoming in left:
            mapped.append(self._mapper.map(incoming, rules))
            size += len(incoming.payload)
            if size > SLICE_BYTES:
                return True
        return False
