"""Calls that come at times of their own, however long others take: what callers do who don't know of each other."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


async def at_rate(call: Callable[[T], Awaitable[None]], requests: Sequence[T], per_second: float) -> list[float]:
    """Makes a call for each request, at random moments, so many a second on average. Gives each one's seconds from the
    moment when it was due: a server that stands still makes all wait that are due meanwhile."""
    loop, rng = asyncio.get_running_loop(), random.Random(1)
    seconds: list[float] = []

    async def one(request: T, due: float) -> None:
        await call(request)
        seconds.append(loop.time() - due)

    due = loop.time()
    async with asyncio.TaskGroup() as calls:
        for request in requests:
            due += rng.expovariate(per_second)
            if (early := due - loop.time()) > 0:
                await asyncio.sleep(early)
            calls.create_task(one(request, due))
    return seconds
