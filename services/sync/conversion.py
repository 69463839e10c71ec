"""Between the contract's messages and what the store works with."""

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from hookline.sync.v1 import sync_service_pb2 as pb
from services.sync.connector import check_base_url
from services.sync.run_store import Health, Run
from services.sync.source_store import Source
from shared.errors import InvalidField, Violation
from shared.platforms import Platform, platforms

DEFAULT_INTERVAL = timedelta(hours=6)
_SHORTEST, _LONGEST = timedelta(minutes=1), timedelta(days=30)
_MAX_TEXT = 2_000
MAX_DAYS_BACK = 3_650


def check_new_source(request: pb.CreateSourceRequest, *, allow_loopback: bool) -> Platform:
    """The platform of a source that is to be made. Raises InvalidField with everything that is wrong with it."""
    wrong = []
    platform = platforms().get(request.platform)
    if platform is None or platform.history is None:
        able = ", ".join(name for name, platform in platforms().items() if platform.history)
        wrong.append(Violation("platform", f"must be one with a history: {able}"))
    if problem := check_base_url(request.base_url, allow_loopback=allow_loopback):
        wrong.append(Violation("base_url", problem))
    if not _is_header(request.credential):
        wrong.append(Violation("credential", "is required, in printable ASCII, of at most 2,000 characters"))
    if platform and platform.history:
        wrong += [
            Violation(f"parameters.{name}", f"is required for {platform.title}")
            for name in platform.history.parameters
            if not request.parameters.get(name)
        ]
        wrong += [
            Violation(f"parameters.{name}", f"is none of {platform.title}'s")
            for name, value in request.parameters.items()
            if name not in platform.history.parameters or len(value) > _MAX_TEXT or "\0" in value
        ]
    if wrong or platform is None:
        raise InvalidField(*wrong)
    return platform


def _is_header(text: str) -> bool:
    return 0 < len(text) <= _MAX_TEXT and text.isascii() and text.isprintable()


def to_interval(request: pb.StartScheduleRequest) -> timedelta:
    """How often a schedule runs. Raises InvalidField."""
    if not request.HasField("interval"):
        return DEFAULT_INTERVAL
    try:
        interval = request.interval.ToTimedelta()
    except (ValueError, OverflowError):
        interval = timedelta(0)
    if not _SHORTEST <= interval <= _LONGEST:
        raise InvalidField(Violation("interval", "must be from one minute to 30 days"))
    return interval


def check_trigger(request: pb.TriggerSyncRequest) -> None:
    """Raises InvalidField."""
    if not 0 <= request.days_back <= MAX_DAYS_BACK:
        raise InvalidField(Violation("days_back", f"must be from 1 to {MAX_DAYS_BACK}, or 0"))
    if len(request.request_id) > 64 or "\0" in request.request_id:
        raise InvalidField(Violation("request_id", "at most 64 characters, none of them NUL"))


def from_source(source: Source) -> pb.Source:
    """The source as a message."""
    message = pb.Source(
        company_id=source.company_id,
        source=source.source,
        platform=source.platform,
        base_url=source.base_url,
        parameters=source.parameters,
        create_time=timestamp(source.created_time),
        next_run_time=timestamp(source.next_run_time),
    )
    if source.schedule_interval is not None:
        message.schedule_interval.FromTimedelta(source.schedule_interval)
    return message


def from_run(run: Run) -> pb.SyncRun:
    """The run as a message."""
    return pb.SyncRun(
        company_id=run.company_id,
        run_id=str(run.run_id),
        source=run.source,
        state=pb.SyncRunState.Value(f"SYNC_RUN_STATE_{run.state.name}"),
        trigger=pb.SyncTrigger.Value(f"SYNC_TRIGGER_{run.trigger.name}"),
        start_time=timestamp(run.start_time),
        create_time=timestamp(run.created_time),
        end_time=timestamp(run.ended_time),
        attempt=run.attempt,
        next_attempt_time=timestamp(run.next_attempt_time),
        error=run.error or "",
        counts=pb.SyncCounts(
            pages=run.pages,
            fetched=run.fetched,
            accepted=run.accepted,
            duplicates=run.duplicates,
            quarantined=run.quarantined,
            rejected=run.rejected,
            retries=run.retries,
        ),
        synced_time=timestamp(run.synced_time),
    )


def from_status(source: Source, runs: list[Run], health: Health | None) -> pb.SourceStatus:
    """How a source stands; `runs` are those of any source."""
    own = [run for run in runs if run.source == source.source]
    active = next((run for run in own if not run.state.has_ended), None)
    last = next((run for run in own if run.state.has_ended), None)
    return pb.SourceStatus(
        source=from_source(source),
        active_run=from_run(active) if active else None,
        last_run=from_run(last) if last else None,
        consecutive_failures=health.consecutive_failures if health else 0,
        complete_until_time=timestamp(health.complete_until_time if health else None),
    )


def timestamp(moment: datetime | None) -> Timestamp | None:
    """None stays None: the field is then not set."""
    if moment is None:
        return None
    message = Timestamp()
    message.FromDatetime(moment.astimezone(UTC))
    return message
