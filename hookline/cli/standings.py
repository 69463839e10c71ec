"""Sources and how they stand, as commands show them: as JSON and as cells of a table."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hookline.cli.messages import cell, money, seconds_of, time_of, time_words
from hookline.cli.previews import extracted
from hookline.cli.runs import run_fields, state
from hookline.client import CheckSourceResponse, Schedule, Source, SourceSample, SourceStatus

SOURCE_TITLES = ("SOURCE", "PLATFORM", "ADDRESS", "PARAMETERS", "SCHEDULE", "NEXT RUN")
SAMPLE_TITLES = ("TIME", "TYPE", "CUSTOMER", "PRODUCT", "TOTAL", "PROBLEM", "ITEM ID")
STATUS_TITLES = (
    "SOURCE",
    "SCHEDULE",
    "NEXT RUN",
    "NOW",
    "QUEUED",
    "LAST RUN",
    "ENDED",
    "FAILURES",
    "ALERTS",
    "LAG",
    "RUN ID",
)


def source_fields(source: Source) -> dict[str, Any]:
    """The source as JSON."""
    return {
        "source": source.source,
        "platform": source.platform,
        "base_url": source.base_url,
        "parameters": dict(sorted(source.parameters.items())),
        "create_time": time_of(source, "create_time"),
        "schedule": _schedule_fields(source.schedule) if source.HasField("schedule") else None,
        "look_back_seconds": seconds_of(source, "look_back"),
        "run_deadline_seconds": seconds_of(source, "run_deadline"),
        "synced_time": time_of(source, "synced_time"),
    }


def source_row(source: Source) -> tuple[str, ...]:
    """The source as cells under SOURCE_TITLES."""
    parameters = " ".join(f"{name}={value}" for name, value in sorted(source.parameters.items()))
    return (source.source, source.platform, source.base_url, parameters, cadence(source), next_run(source))


def cadence(source: Source) -> str:
    """When it is synced, such as "6h" or "0 3 * * * America/Sao_Paulo"; empty without a schedule."""
    schedule = source.schedule
    if schedule.HasField("interval"):
        return time_words(schedule.interval.ToTimedelta())
    return f"{schedule.cron} {schedule.time_zone}".strip()


def next_run(source: Source) -> str:
    """When its next run is due; empty without a schedule."""
    return "paused" if source.schedule.paused else cell(source.schedule, "next_run_time")


def scheduled(source: Source) -> str:
    """In a sentence, when it is synced."""
    if not source.HasField("schedule"):
        return f"{source.source} has no schedule."
    schedule = source.schedule
    when = f"every {cadence(source)}" if schedule.HasField("interval") else f"by {cadence(source)}"
    if schedule.paused:
        return f"{source.source} is paused; `hookline sync resume {source.source}` lets it go on {when}."
    return f"{source.source} is synced {when}; the next run is due at {next_run(source)}."


def status_fields(status: SourceStatus, now: datetime) -> dict[str, Any]:
    """How a source stands, as JSON: the source's own fields, and more."""
    lag = _lag(status, now)
    return source_fields(status.source) | {
        "active_run": run_fields(status.active_run) if status.HasField("active_run") else None,
        "last_run": run_fields(status.last_run) if status.HasField("last_run") else None,
        "consecutive_failures": status.consecutive_failures,
        "complete_until_time": time_of(status, "complete_until_time"),
        "lag_seconds": None if lag is None else int(lag.total_seconds()),
        "queued_runs": status.queued_runs,
        "open_alerts": status.open_alerts,
    }


def status_row(status: SourceStatus, now: datetime) -> tuple[str, ...]:
    """How a source stands, as cells under STATUS_TITLES. The run's id is that of the active one, else of the last; the
    lag is how long ago everything was complete."""
    active, lag = status.HasField("active_run"), _lag(status, now)
    return (
        status.source.source,
        cadence(status.source),
        next_run(status.source),
        state(status.active_run) if active else "idle",
        str(status.queued_runs),
        state(status.last_run) if status.HasField("last_run") else "",
        cell(status.last_run, "end_time"),
        str(status.consecutive_failures),
        str(status.open_alerts),
        "" if lag is None else time_words(lag, 2),
        status.active_run.run_id if active else status.last_run.run_id,
    )


def check_fields(name: str, found: CheckSourceResponse) -> dict[str, Any]:
    """What trying a source has shown, as JSON."""
    return {
        "source": name,
        "ok": found.ok,
        "problem": found.problem or None,
        "events": found.events,
        "samples": [_sample_fields(sample) for sample in found.samples],
    }


def sample_row(sample: SourceSample) -> tuple[str, ...]:
    """What would be made of an event, as cells under SAMPLE_TITLES. Its time is that of the event, else of the
    platform's history."""
    event = sample.event
    return (
        cell(event, "occurred_time") or cell(sample, "item_time"),
        event.type,
        event.customer_name,
        event.product_name,
        money(event.total),
        sample.problem,
        sample.item_id,
    )


def _schedule_fields(schedule: Schedule) -> dict[str, Any]:
    return {
        "interval_seconds": seconds_of(schedule, "interval"),
        "cron": schedule.cron or None,
        "time_zone": schedule.time_zone or None,
        "jitter_seconds": seconds_of(schedule, "jitter"),
        "paused": schedule.paused,
        "next_run_time": time_of(schedule, "next_run_time"),
    }


def _sample_fields(sample: SourceSample) -> dict[str, Any]:
    return {
        "item_id": sample.item_id,
        "item_time": time_of(sample, "item_time"),
        "problem": sample.problem or None,
        "event": extracted(sample.event, None) if sample.HasField("event") else None,
    }


def _lag(status: SourceStatus, now: datetime) -> timedelta | None:
    if not status.HasField("complete_until_time"):
        return None
    # This machine's clock may be behind the server's.
    return max(now - status.complete_until_time.ToDatetime(UTC), timedelta(0))
