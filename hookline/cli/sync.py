"""`hookline sync`: pulling the platforms' history."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import chain, groupby, islice
from typing import Any

import click

from hookline.cli.options import Session, duration, session_options
from hookline.cli.runs import (
    RUN_TITLES,
    STATUS_TITLES,
    Live,
    every,
    exit_status,
    run_fields,
    run_row,
    sentence,
    source_fields,
    state,
    status_fields,
    status_row,
    turn,
)
from hookline.cli.sources import source
from hookline.client import HooklineError, SyncRun

_MAX_PAGE = 500
_MAX_DAYS_BACK = 3650
_SHORTEST, _LONGEST = timedelta(minutes=1), timedelta(days=30)


def _interval(value: str) -> timedelta:
    interval = duration(value)
    if not _SHORTEST <= interval <= _LONGEST:
        raise click.BadParameter(f"{value!r} is not from one minute to 30 days.")
    return interval


@click.group()
def sync() -> None:
    """Pull the history that platforms keep of their events, and store what was missing.

    \b
    Examples:
      hookline sync source add shop-1 --platform grapfy --base-url https://api.example.com \\
        --credential-file token.txt --parameter webhookSettingId=123 --company acme
      hookline sync trigger shop-1 --days-back 30 --company acme
      hookline sync start shop-1 --every 6h --company acme
      hookline sync status --company acme
    """


@sync.command()
@click.argument("source", metavar="SOURCE")
@click.option("--every", "interval", type=_interval, metavar="TIME", help="Such as 90m, 6h or 1d. Default: 6h.")
@session_options
def start(session: Session, source: str, interval: timedelta | None) -> None:
    """Start, or change, the schedule of a source. The first run is due at once.

    \b
    Examples:
      hookline sync start shop-1 --company acme
      hookline sync start shop-1 --every 1h30m --company acme
    """
    with session.client() as client:
        made = client.start_schedule(session.company, source, interval)
    session.output.summary(source_fields(made), f"{source} is synced every {every(made)}, and once now.")


@sync.command()
@click.argument("source", metavar="SOURCE")
@session_options
def stop(session: Session, source: str) -> None:
    """Stop the schedule of a source. A run under way goes on.

    \b
    Examples:
      hookline sync stop shop-1 --company acme
    """
    with session.client() as client:
        left = client.stop_schedule(session.company, source)
    session.output.summary(source_fields(left), f"{source} has no schedule.")


@sync.command()
@click.argument("source", metavar="[SOURCE]", default="")
@click.option(
    "--days-back",
    type=click.IntRange(1, _MAX_DAYS_BACK),
    metavar="N",
    help="From how long ago on. Default: from where the last run that succeeded began, or 30 days.",
)
@click.option(
    "--request-id", default="", metavar="ID", help="The same again gives the same run. Default: a random one."
)
@click.option("--no-wait", is_flag=True, help="Only ask for the run; don't wait for its end.")
@session_options
def trigger(session: Session, source: str, days_back: int | None, request_id: str, no_wait: bool) -> int:
    """Sync a source now: ask for a run, or join the active one, and watch it until it has ended.

    SOURCE may be left out when the company has one only. The run goes on when this command is interrupted.

    Exit status: 0 the run succeeded, 10 it failed, 11 it was cancelled. With --json, one object for each change; in
    each, "created" says whether this call made the run.

    \b
    Examples:
      hookline sync trigger --company acme
      hookline sync trigger shop-1 --days-back 30 --company acme
      hookline sync trigger shop-1 --no-wait --company acme --json | jq -r .run_id
    """
    with session.client() as client:
        answer = client.trigger_sync(session.company, source, days_back or 0, request_id)
        run, more = answer.run, {"created": answer.created}
        asked = f"Run {run.run_id} of {run.source}: {state(run)}."
        if not answer.created:
            asked = f"No new run; this one is there: {asked}"
        if no_wait:
            session.output.summary(run_fields(run) | more, asked)
            return 0
        session.output.note(asked)
        live = Live()
        live.take(run)
        seen = chain([run], client.watch_run(session.company, run.run_id))
        return _follow(session, run.run_id, seen, live, more)


@sync.command()
@session_options
def status(session: Session) -> None:
    """Show how the syncs of each source stand.

    \b
    Examples:
      hookline sync status --company acme
      hookline sync status --company acme --json | jq 'select(.consecutive_failures > 0)'
    """
    with session.client() as client:
        statuses = client.sync_status(session.company)
    if session.output.as_json:
        for each in statuses:
            session.output.record(status_fields(each))
        return
    session.output.table(STATUS_TITLES, (status_row(each) for each in statuses))
    for each in statuses:
        run = each.active_run if each.HasField("active_run") else each.last_run
        if run.error:
            session.output.note(turn(run))


@sync.command()
@click.argument("run_id")
@session_options
def watch(session: Session, run_id: str) -> int:
    """Watch a run until it has ended.

    Exit status: 0 the run succeeded, 10 it failed, 11 it was cancelled. With --json, one object for each change.

    \b
    Examples:
      hookline sync watch 0198c1c4-7d9e-7cc0-8000-5c1f0e6d7a10 --company acme
      hookline sync watch 0198c1c4-7d9e-7cc0-8000-5c1f0e6d7a10 --company acme --json | jq .counts.fetched
    """
    with session.client() as client:
        return _follow(session, run_id, client.watch_run(session.company, run_id), Live(), {})


@sync.command()
@click.argument("source", metavar="[SOURCE]", default="")
@click.option("--limit", type=click.IntRange(min=0), default=50, show_default=True, metavar="N", help="0: no limit.")
@session_options
def runs(session: Session, source: str, limit: int) -> None:
    """List runs, newest first; of one source, or of all. With --json, all that is known of each.

    \b
    Examples:
      hookline sync runs --company acme
      hookline sync runs shop-1 --limit 0 --company acme --json | jq 'select(.state == "failed")'
    """
    page_size = min(limit or _MAX_PAGE, _MAX_PAGE)
    with session.client() as client:
        listed = islice(client.list_runs(session.company, source, page_size=page_size), limit or None)
        if session.output.as_json:
            for run in listed:
                session.output.record(run_fields(run))
            return
        errors: list[str] = []
        session.output.table(RUN_TITLES, (run_row(run) for run in _noting(listed, errors)))
    for error in errors:
        session.output.note(error)


@sync.command()
@click.argument("run_id")
@session_options
def cancel(session: Session, run_id: str) -> None:
    """Cancel a run. What it has stored stays. A run that has ended stays as it is.

    \b
    Examples:
      hookline sync cancel 0198c1c4-7d9e-7cc0-8000-5c1f0e6d7a10 --company acme
    """
    with session.client() as client:
        run = client.cancel_run(session.company, run_id)
    told = sentence(run)
    if not run.HasField("end_time"):
        told = f"Run {run.run_id} of {run.source} is asked to end."
    session.output.summary(run_fields(run), told)


sync.add_command(source)


def _noting(listed: Iterable[SyncRun], errors: list[str]) -> Iterator[SyncRun]:
    """Passes the runs on; keeps why they failed, which no table has room for."""
    for run in listed:
        if run.error:
            errors.append(f"{run.run_id}: {run.error}")
        yield run


def _follow(session: Session, run_id: str, seen: Iterable[SyncRun], live: Live, more: dict[str, Any]) -> int:
    """Shows a run until it has ended; gives the exit status that says how."""
    output, run = session.output, SyncRun()
    try:
        with output.live(live.line) as is_shown:
            # The first of a watch may be just what the trigger gave.
            for run, _ in groupby(seen):
                turned = live.take(run)
                if output.as_json:
                    output.record(run_fields(run) | more)
                elif turned and not (is_shown or run.HasField("end_time")):
                    output.note(turn(run))
    except (HooklineError, KeyboardInterrupt):
        if run.run_id:
            output.note(f"The run goes on; `hookline sync watch {run_id}` shows it.")
        raise
    if not output.as_json:
        output.summary(run_fields(run) | more, sentence(run))
    return exit_status(run)
