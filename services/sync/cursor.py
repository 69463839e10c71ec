"""Where a run is in its source's history."""

from datetime import datetime

import msgspec


class Cursor(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a run is: between two of its pages."""

    cut_time: datetime
    """What "now" was when the span was cut into windows: they are the same in every attempt."""
    window_start: datetime
    position: str | None = None
    again: bool = False
    """Whether the window is being read for the second time."""
    pages_before: int = 0
    """Pages of the run before this window's first."""
    said: int | None = None
    """How many items the source says this window has."""
    said_before: int | None = None
    """The same of the windows before."""
    newest: datetime | None = None
    """The time of the newest item seen."""
    lacking: str | None = None
    """What was found wanting first: the run is incomplete."""
    lacking_since: datetime | None = None
    """Where the window begins that it was found in."""
    done: bool = False
    """Whether everything is read."""

    def encode(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def decode(cls, text: str) -> "Cursor | None":
        """None for what another version has written: the run begins anew."""
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.MsgspecError:
            return None
