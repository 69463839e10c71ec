"""Mapping many events without keeping the event loop for itself."""

import asyncio
from collections.abc import Iterable

from services.ingest.mapping import Incoming, Mapped, Mapper, Rejected, Rules, SetAside

YIELD_BYTES = 128 * 1024
"""After so many bytes others get their turn."""


async def map_in_turns(mapper: Mapper, events: Iterable[Incoming], rules: Rules) -> list[Mapped | SetAside | Rejected]:
    """What the mapper makes of each, in order."""
    mapped = []
    size = 0
    for incoming in events:
        mapped.append(mapper.map(incoming, rules))
        size += len(incoming.payload)
        if size > YIELD_BYTES:
            size = 0
            await asyncio.sleep(0)
    return mapped
