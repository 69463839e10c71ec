"""What happens to a run, in order, for a person to read. docs/sync-runs.md lists the codes."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from services.sync.statements import sql
from shared.db import Connection

MAX_ENTRIES = 10_000
"""Of a run. What is told of each page or window stops a little short of it, so that there is room for the rest."""
_ROOM = 200
_FREQUENT = frozenset({"PAGE_RETRIED", "RATE_LIMITED", "WINDOW_DONE"})


class Line(NamedTuple):
    """What a worker has to tell. `level`: info, warning or error."""

    level: str
    code: str
    message: str


class Entry(msgspec.Struct, frozen=True):
    """What was told, as its row is."""

    entry: int
    logged_time: datetime
    attempt: int
    level: str
    code: str
    message: str


class Lines:
    """What a worker has to tell of a run and has not written yet. `logged`: entries that the run has already."""

    def __init__(self, logged: int) -> None:
        self._logged = logged
        self._pending: list[Line] = []

    def add(self, level: str, code: str, message: str) -> None:
        """Notes what has happened, unless too much of the kind has happened."""
        if self._logged < MAX_ENTRIES - (_ROOM if code in _FREQUENT else 0):
            self._logged += 1
            self._pending.append(Line(level, code, message))

    def take(self) -> Sequence[Line]:
        """Gives what is pending; it is pending no more."""
        pending, self._pending = self._pending, []
        return pending


def columns(lines: Sequence[Line]) -> dict[str, Any]:
    """The lines as the parameters of a statement with `log_entries`."""
    return {
        "log_levels": [line.level for line in lines],
        "log_codes": [line.code for line in lines],
        "log_messages": [line.message for line in lines],
    }


async def list_entries(
    connection: Connection, company_id: str, run_id: uuid.UUID, after: int, max_rows: int
) -> list[Entry]:
    """In order, after the entry of that number."""
    rows = await sql.fetch(
        connection, "list_run_log", company_id=company_id, run_id=run_id, after=after, max_rows=max_rows
    )
    return [Entry(**row) for row in rows]
