"""Waiting for what a test needs to be true, instead of sleeping for as long as it usually takes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")


@overload
async def eventually(condition: Callable[[], Awaitable[T]], timeout: float = 30, what: str = "") -> T: ...
@overload
async def eventually(condition: Callable[[], T], timeout: float = 30, what: str = "") -> T: ...
async def eventually(condition: Callable[[], Any], timeout: float = 30, what: str = "") -> Any:
    """Asks until the answer is true, and returns it. Fails after `timeout` seconds; an exception of the condition's
    passes at once."""
    give_up = time.monotonic() + timeout
    while True:
        answer = condition()
        value = await answer if isinstance(answer, Awaitable) else answer
        if value:
            return value
        assert time.monotonic() < give_up, f"still not after {timeout} s: {what or condition}"
        await asyncio.sleep(0.02)
