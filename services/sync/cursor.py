"""Where a run is in its source's history."""

import hashlib
from datetime import datetime

import msgspec

from services.sync.source_store import Secret
from shared.platforms import Platform


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
    history: str | None = None
    """Which history it is in, as `history_digest` has it: in another one it means nothing. None: not known."""

    def is_of(self, history: str) -> bool:
        """Whether it means something in that history. One from before this was noted is taken to."""
        return self.history in (None, history)

    def encode(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def decode(cls, text: str) -> "Cursor | None":
        """None for what another version has written: the run begins anew."""
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.MsgspecError:
            return None


def history_digest(source: Secret, platform: Platform) -> str:
    """What tells a source's history from another: where it is, what is asked for, and how it is read."""
    what = (source.history, platform.name, source.base_url, source.parameters, platform.history)
    return hashlib.blake2b(msgspec.json.encode(what, order="deterministic"), digest_size=8).hexdigest()
