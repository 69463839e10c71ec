"""Between the contract's messages about runs and what the store works with."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hookline.sync.v1 import sync_service_pb2 as pb
from services.sync.reconciling import Difference
from services.sync.run_log import Entry
from services.sync.run_store import Health, Run, Wish
from services.sync.source_conversion import from_source
from services.sync.source_store import Source
from shared.errors import InvalidField, Violation
from shared.timestamps import moment, timestamp

MAX_DAYS_BACK = 3_650
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


def to_wish(request: pb.TriggerSyncRequest) -> Wish:
    """What is asked for. Raises InvalidField with everything that is wrong with it."""
    wrong = []
    now = datetime.now(UTC)
    if not 0 <= request.days_back <= MAX_DAYS_BACK:
        wrong.append(Violation("days_back", f"must be from 1 to {MAX_DAYS_BACK}, or 0"))
    if len(request.request_id) > 64 or "\0" in request.request_id:
        wrong.append(Violation("request_id", "at most 64 characters, none of them NUL"))
    start = until = None
    if request.HasField("start_time"):
        start = moment(request.start_time)
        if request.days_back:
            wrong.append(Violation("start_time", "is instead of days_back"))
        elif start is None or not _EARLIEST <= start <= now:
            wrong.append(Violation("start_time", "must be in the past, from 1970 on"))
    elif 0 < request.days_back <= MAX_DAYS_BACK:
        start = now - timedelta(days=request.days_back)
    if request.HasField("until_time"):
        until = moment(request.until_time)
        if not (request.days_back or request.HasField("start_time")):
            wrong.append(Violation("until_time", "only with days_back or start_time"))
        elif until is None or (start is not None and until <= start):
            wrong.append(Violation("until_time", "must be after the start"))
    if request.when_active not in pb.WhenActive.values():
        wrong.append(Violation("when_active", "is none of the values"))
    if wrong:
        raise InvalidField(*wrong)
    return Wish(start, until, queue=request.when_active == pb.WHEN_ACTIVE_QUEUE)


def from_run(run: Run) -> pb.SyncRun:
    """The run as a message."""
    return pb.SyncRun(
        company_id=run.company_id,
        run_id=str(run.run_id),
        source=run.source,
        state=pb.SyncRunState.Value(f"SYNC_RUN_STATE_{run.state.name}"),
        trigger=pb.SyncTrigger.Value(f"SYNC_TRIGGER_{run.trigger.name}"),
        start_time=timestamp(run.start_time),
        until_time=timestamp(run.until_time),
        create_time=timestamp(run.created_time),
        end_time=timestamp(run.ended_time),
        # One that was cancelled while it waited does not wait any more.
        behind=run.behind and not run.state.has_ended,
        attempt=run.attempt,
        next_attempt_time=timestamp(run.next_attempt_time),
        deadline_time=timestamp(run.deadline_time),
        error=run.error or "",
        counts=pb.SyncCounts(
            pages=run.pages,
            fetched=run.fetched,
            accepted=run.accepted,
            duplicates=run.duplicates,
            quarantined=run.quarantined,
            rejected=run.rejected,
            retries=run.retries,
            late=run.late,
        ),
        synced_time=timestamp(run.synced_time),
        progress=_progress(run),
        reconciliation=_reconciliation(run),
    )


def _progress(run: Run) -> pb.SyncProgress | None:
    if not run.attempt:
        return None
    return pb.SyncProgress(
        windows=run.windows,
        windows_done=run.windows_done,
        window_start_time=timestamp(run.window_start_time),
        window_until_time=timestamp(run.window_until_time),
        said=run.said,
    )


def _reconciliation(run: Run) -> pb.Reconciliation | None:
    if run.reconciled_time is None:
        return None
    return pb.Reconciliation(
        create_time=timestamp(run.reconciled_time),
        said=run.said,
        listed=run.listed or 0,
        stored=run.stored or 0,
        missing=run.missing or 0,
        unlisted=run.unlisted,
    )


def from_status(source: Source, runs: Sequence[Run], health: Health | None) -> pb.SourceStatus:
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
        queued_runs=health.queued_runs if health else 0,
        open_alerts=health.open_alerts if health else 0,
    )


def from_entry(entry: Entry) -> pb.SyncRunLogEntry:
    """What happened, as a message."""
    return pb.SyncRunLogEntry(
        log_time=timestamp(entry.logged_time),
        level=pb.LogLevel.Value(f"LOG_LEVEL_{entry.level.upper()}"),
        code=entry.code,
        message=entry.message,
        attempt=entry.attempt,
    )


def from_difference(difference: Difference) -> pb.SyncDifference:
    """What only one side has, as a message."""
    return pb.SyncDifference(
        kind=pb.DifferenceKind.Value(f"DIFFERENCE_KIND_{difference.kind.upper()}"),
        item_id=difference.item_id or "",
        event_id=str(difference.event_id or ""),
        reason=difference.reason,
        message=difference.message,
    )
