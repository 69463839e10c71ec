"""Runs as commands show them: as JSON, as cells of a table, as a sentence."""

from typing import Any

from google.protobuf.message import Message

from hookline.cli.errors import RUN_CANCELLED, RUN_FAILED, RUN_INCOMPLETE
from hookline.cli.messages import cell, enum_name, time_of
from hookline.cli.output import counted, events
from hookline.client import (
    DifferenceKind,
    LogLevel,
    Reconciliation,
    SyncDifference,
    SyncProgress,
    SyncRun,
    SyncRunLogEntry,
    SyncRunState,
    SyncTrigger,
)

RUN_TITLES = (
    "CREATED",
    "SOURCE",
    "TRIGGER",
    "STATE",
    "FETCHED",
    "NEW",
    "LATE",
    "DUPLICATES",
    "QUARANTINED",
    "MISSING",
    "RETRIES",
    "RUN ID",
)
LOG_TITLES = ("TIME", "LEVEL", "ATTEMPT", "CODE", "MESSAGE")
DIFFERENCE_TITLES = ("KIND", "ITEM ID", "EVENT ID", "REASON", "MESSAGE")
_EXIT_STATUSES = {
    SyncRunState.SYNC_RUN_STATE_SUCCEEDED: 0,
    SyncRunState.SYNC_RUN_STATE_FAILED: RUN_FAILED,
    SyncRunState.SYNC_RUN_STATE_CANCELLED: RUN_CANCELLED,
    SyncRunState.SYNC_RUN_STATE_INCOMPLETE: RUN_INCOMPLETE,
}


def state(run: SyncRun) -> str:
    """The name of the run's state."""
    return enum_name(SyncRunState, run.state, "SYNC_RUN_STATE_")


def exit_status(run: SyncRun) -> int:
    """The exit status that tells how the run has ended."""
    return _EXIT_STATUSES.get(run.state, RUN_FAILED)


def run_fields(run: SyncRun) -> dict[str, Any]:
    """The run as JSON."""
    counts = run.counts
    return {
        "run_id": run.run_id,
        "source": run.source,
        "state": state(run),
        "trigger": enum_name(SyncTrigger, run.trigger, "SYNC_TRIGGER_"),
        "start_time": time_of(run, "start_time"),
        "until_time": time_of(run, "until_time"),
        "behind": run.behind,
        "create_time": time_of(run, "create_time"),
        "end_time": time_of(run, "end_time"),
        "deadline_time": time_of(run, "deadline_time"),
        "attempt": run.attempt,
        "next_attempt_time": time_of(run, "next_attempt_time"),
        "error": run.error or None,
        "counts": {
            "pages": counts.pages,
            "fetched": counts.fetched,
            "accepted": counts.accepted,
            "late": counts.late,
            "duplicates": counts.duplicates,
            "quarantined": counts.quarantined,
            "rejected": counts.rejected,
            "retries": counts.retries,
        },
        "progress": _progress_fields(run.progress) if run.HasField("progress") else None,
        "synced_time": time_of(run, "synced_time"),
        "reconciliation": _reconciliation_fields(run.reconciliation) if run.HasField("reconciliation") else None,
    }


def run_row(run: SyncRun) -> tuple[str, ...]:
    """The run as cells under RUN_TITLES: what there is room for."""
    counts = run.counts
    return (
        cell(run, "create_time"),
        run.source,
        enum_name(SyncTrigger, run.trigger, "SYNC_TRIGGER_"),
        state(run),
        str(counts.fetched),
        str(counts.accepted),
        str(counts.late),
        str(counts.duplicates),
        str(counts.quarantined),
        str(run.reconciliation.missing) if run.HasField("reconciliation") else "",
        str(counts.retries),
        run.run_id,
    )


def sentence(run: SyncRun) -> str:
    """The run in a few sentences: how it has ended, or where it is."""
    counts = run.counts
    late = f" ({counts.late:,} late)" if counts.late else ""
    told = [
        f"Run {run.run_id} of {run.source}: {where(run)}.",
        f"{events(counts.fetched)} on {counted(counts.pages, 'page', 'pages')}: {counts.accepted:,} new{late}, "
        f"{counts.duplicates:,} duplicate, {counts.quarantined:,} quarantined, {counts.rejected:,} rejected; "
        f"{counted(counts.retries, 'retry', 'retries')}.",
    ]
    if run.HasField("reconciliation"):
        told.append(reconciled(run.reconciliation))
        if run.reconciliation.missing or run.reconciliation.unlisted:
            told.append(f"`hookline sync differences {run.run_id}` lists them.")
    if run.error:
        told.append(run.error)
    return " ".join(told)


def where(run: SyncRun) -> str:
    """The run's state in words."""
    return f"{state(run)} behind another run" if run.behind else state(run)


def reconciled(reconciliation: Reconciliation) -> str:
    """What a source lists against what is stored, in a sentence."""
    parts = [f"The source listed {events(reconciliation.listed)}"]
    if reconciliation.HasField("said") and reconciliation.said != reconciliation.listed:
        parts[0] += f" of {reconciliation.said:,}"
    missing, unlisted = reconciliation.missing, reconciliation.unlisted
    parts.append(f"{f'{missing:,}' if missing else 'none'} of them {_are(missing)} missing here")
    if unlisted:
        parts.append(f"{unlisted:,} {_are(unlisted)} here that it did not list")
    return "; ".join(parts) + "."


def turn(run: SyncRun) -> str:
    """What the run has come to, in a few words, for where no line can be alive."""
    told = f"{run.source}: {where(run)}"
    if run.state == SyncRunState.SYNC_RUN_STATE_WAITING and run.HasField("next_attempt_time"):
        told += f" until {cell(run, 'next_attempt_time')}"
    return f"{told}: {run.error}" if run.error else told


def entry_fields(entry: SyncRunLogEntry) -> dict[str, Any]:
    """An entry of a run's log as JSON."""
    return {
        "log_time": time_of(entry, "log_time"),
        "level": enum_name(LogLevel, entry.level, "LOG_LEVEL_"),
        "attempt": entry.attempt,
        "code": entry.code,
        "message": entry.message,
    }


def entry_row(entry: SyncRunLogEntry) -> tuple[str, ...]:
    """An entry of a run's log as cells under LOG_TITLES."""
    level = enum_name(LogLevel, entry.level, "LOG_LEVEL_")
    return (cell(entry, "log_time"), level, str(entry.attempt), entry.code, entry.message)


def difference_fields(difference: SyncDifference) -> dict[str, Any]:
    """A difference as JSON."""
    return {
        "kind": enum_name(DifferenceKind, difference.kind, "DIFFERENCE_KIND_"),
        "item_id": difference.item_id or None,
        "event_id": difference.event_id or None,
        "reason": difference.reason,
        "message": difference.message,
    }


def difference_row(difference: SyncDifference) -> tuple[str, ...]:
    """A difference as cells under DIFFERENCE_TITLES."""
    kind = enum_name(DifferenceKind, difference.kind, "DIFFERENCE_KIND_")
    return (kind, difference.item_id, difference.event_id, difference.reason, difference.message)


def _progress_fields(progress: SyncProgress) -> dict[str, Any]:
    return {
        "windows": progress.windows,
        "windows_done": progress.windows_done,
        "window_start_time": time_of(progress, "window_start_time"),
        "window_until_time": time_of(progress, "window_until_time"),
        "said": _known(progress, "said"),
    }


def _reconciliation_fields(reconciliation: Reconciliation) -> dict[str, Any]:
    return {
        "create_time": time_of(reconciliation, "create_time"),
        "said": _known(reconciliation, "said"),
        "listed": reconciliation.listed,
        "stored": reconciliation.stored,
        "missing": reconciliation.missing,
        "unlisted": _known(reconciliation, "unlisted"),
    }


def _known(message: Message, field: str) -> Any:
    return getattr(message, field) if message.HasField(field) else None


def _are(count: int) -> str:
    return "is" if count < 2 else "are"
