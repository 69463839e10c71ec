"""How the shop fails on purpose, and how it is made to wait."""

import asyncio
import random
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import msgspec


class Fault(StrEnum):
    """One way to fail."""

    TOO_MANY_REQUESTS = "429"
    """429 with Retry-After."""
    INTERNAL_ERROR = "500"
    UNAVAILABLE = "503"
    ERROR_BODY = "error_body"
    """200, with an error in place of the events."""
    TRUNCATED = "truncated"
    """200, well-formed HTTP, half of the JSON."""
    DROPPED = "dropped"
    """200, and the connection is closed in the middle of the body."""
    SLOW = "slow"
    """The right answer, late."""
    HUNG = "hung"
    """No answer, until the client gives up or the shop closes."""


# Those that pass when the page is asked for again, and at once. An error in place of the events is for a person.
QUICK = tuple(fault for fault in Fault if fault not in (Fault.ERROR_BODY, Fault.SLOW, Fault.HUNG))


class Lie(StrEnum):
    """A way of giving well-formed pages that lead a reader astray. What a form has no words for does nothing there."""

    CIRCLE = "circle"
    """The second page leads back to the first: for ever."""
    SAME = "same"
    """Every page is the first one again, under a cursor of its own where the shop makes the cursors."""
    SAYS_MORE = "says_more"
    """The number said is too high by UNLISTED."""
    MORE_OF_NOTHING = "more_of_nothing"
    """After the last page there is said to be more, and the page after it is empty."""


UNLISTED = 10


class Faults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which pages fail, and how; and how the shop lies. Without anything set, it does neither."""

    fraction: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0
    """Of all different pages (requests with another query), how many fail. The seed says which."""
    kinds: Annotated[tuple[Fault, ...], msgspec.Meta(min_length=1)] = QUICK
    """The ways, each as likely as the others."""
    times: Annotated[int, msgspec.Meta(ge=1)] = 1
    """How often such a page fails before it is answered."""
    retry_after: Annotated[int, msgspec.Meta(ge=0)] = 1
    """What a 429 asks for, in seconds. Asked for the same page sooner, the shop answers 429 again."""
    slow_seconds: Annotated[float, msgspec.Meta(ge=0)] = 2
    """How late a slow answer is."""
    lie: Lie | None = None


@dataclass(slots=True)
class _Page:
    fault: Fault | None
    left: int
    not_before: float = 0


class FaultPlan:
    """Decides for each request whether it fails. The n-th different page fails in the same way for the same seed."""

    def __init__(self, faults: Faults, seed: int) -> None:
        self.faults = faults
        self.too_early = 0
        """Requests that did not wait as long as Retry-After had asked for."""
        self._seed = seed
        self._pages: dict[str, _Page] = {}

    def next(self, page: str) -> Fault | None:
        """How the request for `page` fails. None: it doesn't."""
        state = self._pages.get(page)
        if state is None:
            rng = random.Random(f"fault/{self._seed}/{len(self._pages)}")  # noqa: S311  # nothing secret
            fault = rng.choice(self.faults.kinds) if rng.random() < self.faults.fraction else None
            state = self._pages[page] = _Page(fault, self.faults.times)
        if time.monotonic() < state.not_before:
            self.too_early += 1
            return Fault.TOO_MANY_REQUESTS
        if state.fault is None or state.left == 0:
            return None
        state.left -= 1
        if state.fault is Fault.TOO_MANY_REQUESTS:
            state.not_before = time.monotonic() + self.faults.retry_after
        return state.fault


class Gate:
    """Holds pages back until told otherwise. Open at first."""

    def __init__(self) -> None:
        self.held = 0
        """Requests that wait at it now."""
        self._left: int | None = None
        self._changed = asyncio.Event()

    def close(self, after: int) -> None:
        """Lets `after` more pages through, those that wait now first, then holds."""
        self._change(after)

    def open(self) -> None:
        """Lets everything through."""
        self._change(None)

    async def passed(self) -> None:
        """Returns when the caller may pass."""
        self.held += 1
        try:
            while self._left == 0:
                await self._changed.wait()
        finally:
            self.held -= 1
        if self._left is not None:
            self._left -= 1

    def _change(self, left: int | None) -> None:
        self._left = left
        self._changed.set()
        self._changed = asyncio.Event()
