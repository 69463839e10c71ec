"""`hookline sync`: pulling the platforms' history."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice

import click

from hookline.cli.options import Session, session_options
from hookline.cli.runs import RUN_TITLES, run_fields, run_row, sentence, turn
from hookline.cli.schedules import pause, resume, start, stop
from hookline.cli.sources import source
from hookline.cli.standings import STATUS_TITLES, status_fields, status_row
from hookline.cli.sync_log import differences, log
from hookline.cli.sync_watch import trigger, watch
from hookline.client import SyncRun

_MAX_PAGE = 500


@click.group()
def sync() -> None:
    """Pull the history that platforms keep of their events, and store what was missing.

    \b
    Examples:
      hookline sync source add shop-1 --platform grapfy --base-url https://api.example.com \\
        --credential-file token.txt --parameter webhookSettingId=123 --company acme
      hookline sync trigger shop-1 --days-back 30 --company acme
      hookline sync start shop-1 --every 6h --company acme
      hookline sync start shop-2 --cron "0 3 * * *" --time-zone America/Sao_Paulo --company acme
      hookline sync status --company acme
    """


@sync.command()
@session_options
def status(session: Session) -> None:
    """Show how the syncs of each source stand.

    The lag is the time since what the platform lists was last stored without a gap.

    \b
    Examples:
      hookline sync status --company acme
      hookline sync status --company acme --json | jq 'select(.consecutive_failures > 0)'
    """
    with session.client() as client:
        statuses = client.sync_status(session.company)
    now = datetime.now(UTC)
    if session.output.as_json:
        for each in statuses:
            session.output.record(status_fields(each, now))
        return
    session.output.table(STATUS_TITLES, (status_row(each, now) for each in statuses))
    for each in statuses:
        run = each.active_run if each.HasField("active_run") else each.last_run
        if run.error:
            session.output.note(turn(run))


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


for _command in (source, start, pause, resume, stop, trigger, watch, log, differences):
    sync.add_command(_command)


def _noting(listed: Iterable[SyncRun], errors: list[str]) -> Iterator[SyncRun]:
    """Passes the runs on; keeps why they failed, which no table has room for."""
    for run in listed:
        if run.error:
            errors.append(f"{run.run_id}: {run.error}")
        yield run
