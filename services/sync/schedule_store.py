"""Schedules in PostgreSQL. Every function names its company."""

from datetime import datetime, timedelta

import msgspec

from services.sync.cadence import Cadence, Cron, Every, jitter_offset, next_time
from services.sync.source_store import Source, to_source
from services.sync.statements import sql
from shared.db import Connection


class Plan(msgspec.Struct, frozen=True):
    """How a schedule is to be: by interval or by cron."""

    interval: timedelta | None
    cron: str | None
    time_zone: str
    jitter: timedelta


def to_cadence(plan: Plan, start: datetime) -> Cadence:
    """When it is due, counted from its start."""
    if plan.cron is not None:
        return Cron(plan.cron, plan.time_zone)
    assert plan.interval is not None
    return Every(plan.interval, start)


async def start_schedule(connection: Connection, company_id: str, source: str, plan: Plan) -> Source | None:
    """The source with its schedule, or None when there is no such source. The schedule that it has already goes on."""
    async with connection.transaction():
        found = await _lock(connection, company_id, source)
        if found is None:
            return None
        current, now = found
        if current.schedule_start_time is not None and plan == _plan(current):
            return await _resume(connection, current, now)
        by_cron = plan.cron is not None
        due = next_time(to_cadence(plan, now), jitter_offset(company_id, source, plan.jitter), now) if by_cron else now
        return await _set(connection, current, plan, start=now, paused=None, due=due)


async def pause_schedule(connection: Connection, company_id: str, source: str) -> Source | None:
    """The source with its schedule paused, or as it is when it has none; None when there is no such source."""
    async with connection.transaction():
        found = await _lock(connection, company_id, source)
        if found is None:
            return None
        current, now = found
        if current.schedule_start_time is None or current.schedule_paused_time is not None:
            return current
        start = current.schedule_start_time
        return await _set(connection, current, _plan(current), start=start, paused=now, due=None)


async def resume_schedule(connection: Connection, company_id: str, source: str) -> Source | None:
    """The source with its schedule going on, or as it is when it has none; None when there is no such source."""
    async with connection.transaction():
        found = await _lock(connection, company_id, source)
        if found is None:
            return None
        current, now = found
        if current.schedule_start_time is None:
            return current
        return await _resume(connection, current, now)


async def stop_schedule(connection: Connection, company_id: str, source: str) -> Source | None:
    """The source without a schedule, or None when there is none."""
    rows = await sql.fetch(connection, "stop_schedule", company_id=company_id, source=source)
    return to_source(rows[0]) if rows else None


async def _lock(connection: Connection, company_id: str, source: str) -> tuple[Source, datetime] | None:
    """The source, which nobody else changes until the transaction ends, and the database's time."""
    rows = await sql.fetch(connection, "lock_schedule", company_id=company_id, source=source)
    if not rows:
        return None
    row = dict(rows[0])
    now = row.pop("now")
    return to_source(row), now


def _plan(source: Source) -> Plan:
    return Plan(source.schedule_interval, source.schedule_cron, source.schedule_time_zone, source.schedule_jitter)


async def _resume(connection: Connection, current: Source, now: datetime) -> Source:
    """What was missed in a pause is not caught up: it goes on at the next time."""
    start = current.schedule_start_time
    if start is None or current.schedule_paused_time is None:
        return current
    plan = _plan(current)
    due = next_time(to_cadence(plan, start), jitter_offset(current.company_id, current.source, plan.jitter), now)
    return await _set(connection, current, plan, start=start, paused=None, due=due)


async def _set(
    connection: Connection,
    current: Source,
    plan: Plan,
    *,
    start: datetime,
    paused: datetime | None,
    due: datetime | None,
) -> Source:
    [row] = await sql.fetch(
        connection,
        "set_schedule",
        company_id=current.company_id,
        source=current.source,
        every=plan.interval,
        cron=plan.cron,
        time_zone=plan.time_zone,
        jitter=plan.jitter,
        start=start,
        paused=paused,
        due=due,
    )
    return to_source(row)
