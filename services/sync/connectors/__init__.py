"""What reads a platform's history: the words that runs and connectors share. `paging` holds the rules, which do no
I/O; the modules beside it speak HTTP and gRPC."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import msgspec


class Item(msgspec.Struct, frozen=True):
    """One event of the history."""

    id: str
    """What identifies it in the history, which need not be what identifies the event."""
    moment: datetime | None
    """Its time as the history has it. None: the platform gives none."""
    payload: bytes
    """For ingest, byte for byte as the platform wrote it."""
    platform: str = ""
    """Whose it is, where the items of one history differ in that. Empty: the source's."""


class Window(msgspec.Struct, frozen=True):
    """A stretch of time that is read page after page: [start, until). No `until`: without an end."""

    start: datetime
    until: datetime | None


class Page(msgspec.Struct, frozen=True):
    """What one page gave."""

    items: Sequence[Item]
    """Without those that the page before had already, where pages overlap."""
    position: str | None
    """Where the next page begins; None: the window is read."""
    said: int | None
    """How many items the source says that the window has, where it says so."""
    read_until: datetime | None
    """Everything of the window that is dated before this has been read: it may be less than a page before has told.
    None: not known."""
    more: bool
    """Whether the source itself says that there is more. With no `position` the window is incomplete."""
    size: int = 0
    """Bytes of the answer that it came in."""


class Refused(Exception):
    """The platform's answer needs a person: trying again would not help. Its text is for that person."""


class TryLater(Exception):
    """The platform fails, or says "not now". Its text is for a person."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds that the platform asks to wait."""


class Larger(Exception):
    """A page may be larger than it was to be. Asked for again with room for more, it is given."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the page may have {size:,} bytes")
        self.size = size
        """The bytes that it may have at most."""


class Unreadable(TryLater):
    """The platform's answer is not whole, such as JSON that ends too early."""


class Connector(Protocol):
    """Reads one source's history for one attempt of a run. It keeps nothing between pages but connections: window and
    position are all that it needs to go on."""

    times_match: bool
    """Whether an item's moment is also the time at which its event occurred, as ingest will store it."""
    item_headers: Mapping[str, str]
    """Headers under which the items are handed to ingest, as if a webhook had carried them."""
    on_retry: Callable[[str], None]
    """Told why, each time that a request is to be made again."""

    def windows(self, start: datetime, until: datetime | None, now: datetime) -> Sequence[Window]:
        """The span cut into windows, oldest first. Without `until` the last one has no end. `now` only decides where
        they are cut: nothing is left out because of it."""
        ...

    async def page(self, window: Window, position: str | None, most: int | None = None) -> Page:
        """The page at the position; the window's first one without. Of `most` bytes at most, where that is said. Raises
        Larger, Refused, and TryLater when no attempt has helped."""
        ...

    async def close(self) -> None:
        """Lets go of what this source alone has open."""
        ...
