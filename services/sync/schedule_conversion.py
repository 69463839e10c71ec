"""Schedules, between the contract's messages and what the store works with."""

from datetime import timedelta

from hookline.sync.v1 import sync_service_pb2 as pb
from services.sync import cadence
from services.sync.schedule_store import Plan
from services.sync.source_store import Source
from shared.errors import InvalidField, Violation
from shared.timestamps import duration, period, timestamp

DEFAULT_INTERVAL = timedelta(hours=6)


def to_plan(request: pb.StartScheduleRequest) -> Plan:
    """How a schedule is to be. Raises InvalidField with everything that is wrong with it."""
    interval, cron, wrong = DEFAULT_INTERVAL, None, []
    match request.WhichOneof("cadence"):
        case "interval":
            interval = period(request.interval) or timedelta(0)
            if not cadence.SHORTEST <= interval <= cadence.LONGEST:
                wrong.append(Violation("interval", "must be from one minute to 30 days"))
        case "cron":
            cron = " ".join(request.cron.split())
            if problem := cadence.cron_problem(cron):
                wrong.append(Violation("cron", problem))
    if request.time_zone and cron is None:
        wrong.append(Violation("time_zone", "only goes with a cron expression"))
    elif request.time_zone and (problem := cadence.zone_problem(request.time_zone)):
        wrong.append(Violation("time_zone", problem))
    if wrong:
        raise InvalidField(*wrong)
    zone = request.time_zone or "UTC"
    between = cadence.shortest_period(cadence.Cron(cron, zone)) if cron else interval
    jitter = period(request.jitter) if request.HasField("jitter") else cadence.default_jitter(between)
    if jitter is None or not timedelta(0) <= jitter <= between:
        raise InvalidField(
            Violation("jitter", f"must be from 0 to the time between two runs, {between.total_seconds():g} seconds")
        )
    return Plan(None if cron else interval, cron, zone, jitter)


def from_schedule(source: Source) -> pb.Schedule | None:
    """The schedule of a source as a message; None when it has none."""
    if source.schedule_start_time is None:
        return None
    message = pb.Schedule(
        interval=duration(source.schedule_interval),
        time_zone=source.schedule_time_zone,
        jitter=duration(source.schedule_jitter),
        paused=source.schedule_paused_time is not None,
        next_run_time=timestamp(source.next_run_time),
    )
    if source.schedule_cron is not None:
        message.cron = source.schedule_cron
    return message
