"""What is due, in PostgreSQL. Across companies, but for what names one."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from uuid_utils.compat import uuid7

from services.sync import run_log
from services.sync.cadence import Cadence, Cron, Every
from services.sync.run_store import State
from services.sync.statements import sql
from shared.db import Connection

RunKey = tuple[str, uuid.UUID]
"""A company and a run of it."""


class Sight(msgspec.Struct, frozen=True):
    """What one look at everything shows."""

    queued: int
    """Runs that wait for a worker."""
    behind: int
    """Runs that wait behind another of their source."""
    running: int
    waiting: int
    any_to_end: bool
    schedule_lag: timedelta | None
    """How long the schedule that is due longest has been due. None: none is."""


class Due(msgspec.Struct, frozen=True):
    """A schedule that is due."""

    company_id: str
    source: str
    next_run_time: datetime
    schedule_interval: timedelta | None
    schedule_cron: str | None
    schedule_time_zone: str
    schedule_jitter: timedelta
    schedule_start_time: datetime
    now: datetime

    @property
    def cadence(self) -> Cadence:
        if self.schedule_cron is not None:
            return Cron(self.schedule_cron, self.schedule_time_zone)
        assert self.schedule_interval is not None
        return Every(self.schedule_interval, self.schedule_start_time)


class Ended(msgspec.Struct, frozen=True):
    """How a run has ended that no worker had."""

    source: str
    state: State
    error: str | None


async def look(connection: Connection) -> Sight:
    """Whether there is anything to do."""
    [row] = await sql.fetch(connection, "look")
    return Sight(**row)


async def claim_due(connection: Connection, most: int) -> list[Due]:
    """Schedules that are due, held until the transaction ends."""
    return [Due(**row) for row in await sql.fetch(connection, "claim_due", max_rows=most)]


async def fire(connection: Connection, due: Sequence[Due], next_times: Sequence[datetime]) -> list[RunKey]:
    """Makes the runs of claimed schedules and moves these on. A source gets none where a run that has not ended reads
    what the schedule is for: that run's log says so."""
    rows = await sql.fetch(
        connection,
        "fire",
        company_ids=[one.company_id for one in due],
        sources=[one.source for one in due],
        next_run_times=next_times,
        run_ids=[uuid7() for _ in due],
    )
    made = {(row["company_id"], row["source"]) for row in rows}
    if merged := [one for one in due if (one.company_id, one.source) not in made]:
        await sql.fetch(
            connection,
            "note_merged",
            company_ids=[one.company_id for one in merged],
            sources=[one.source for one in merged],
            messages=[
                f"The schedule was due at {one.next_run_time:%Y-%m-%dT%H:%M:%SZ}. This run had not ended yet: it "
                "counts for that time too."
                for one in merged
            ],
            # A schedule of every minute and a run of days: the other half of the log is for what the run does.
            most_entries=run_log.MAX_ENTRIES // 2,
        )
    return _keys(rows)


async def postpone(connection: Connection, due: Due, wait: timedelta) -> None:
    """Passes over a schedule for a while."""
    await sql.fetch(connection, "postpone", company_id=due.company_id, source=due.source, wait=wait)


async def let_go(connection: Connection, most: int) -> list[RunKey]:
    """Lets runs go that have waited behind another one, which has ended."""
    return _keys(await sql.fetch(connection, "let_go", max_rows=most))


async def runs_to_end(connection: Connection, most: int) -> list[RunKey]:
    """Runs that no worker has and that should have ended."""
    return _keys(await sql.fetch(connection, "runs_to_end", max_rows=most))


async def end_run(connection: Connection, company_id: str, run_id: uuid.UUID, error: str) -> Ended | None:
    """Ends one of them; None when it is none any more."""
    rows = await sql.fetch(connection, "end_run", company_id=company_id, run_id=run_id, error=error)
    return Ended(rows[0]["source"], State(rows[0]["state"]), rows[0]["error"]) if rows else None


async def take_kicks(connection: Connection, again_after: timedelta, most: int) -> list[RunKey]:
    """Runs that a worker should be told of, noted as told."""
    return _keys(await sql.fetch(connection, "take_kicks", again_after=again_after, max_rows=most))


async def is_before_others(connection: Connection, company_id: str, waited: timedelta) -> bool:
    """Whether a run of the company goes before those that have waited for a worker for so long."""
    [row] = await sql.fetch(connection, "is_before_others", company_id=company_id, waited=waited)
    return bool(row["is_before"])


async def remove_runs(connection: Connection, kept: timedelta, most: int) -> int:
    """Removes runs that ended longer ago than that, but for what tells how their sources are; gives how many."""
    return len(await sql.fetch(connection, "remove_runs", kept=kept, max_rows=most))


async def remove_alerts(connection: Connection, kept: timedelta, most: int) -> int:
    """Removes alerts that were over longer ago than that; gives how many."""
    return len(await sql.fetch(connection, "remove_alerts", kept=kept, max_rows=most))


async def note_kick(connection: Connection, company_id: str, run_id: uuid.UUID) -> None:
    """A worker was told of the run."""
    await sql.fetch(connection, "note_kick", company_id=company_id, run_id=run_id)


async def forget_kicks(connection: Connection, keys: Sequence[RunKey]) -> None:
    """No worker was told of the runs after all."""
    await sql.fetch(connection, "forget_kicks", company_ids=[key[0] for key in keys], run_ids=[key[1] for key in keys])


def _keys(rows: Sequence[Mapping[str, Any]]) -> list[RunKey]:
    return [(row["company_id"], row["run_id"]) for row in rows]
