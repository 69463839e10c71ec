"""`hookline sync trigger` and `watch`: a run, shown until it has ended."""

from collections.abc import Iterable
from datetime import datetime
from itertools import chain, groupby
from typing import Any

import click

from hookline.cli.live import Live
from hookline.cli.options import Session, moment, session_options
from hookline.cli.runs import exit_status, run_fields, sentence, turn, where
from hookline.client import HooklineError, SyncRun

_MAX_DAYS_BACK = 3650


@click.command()
@click.argument("source", metavar="[SOURCE]", default="")
@click.option(
    "--days-back",
    type=click.IntRange(1, _MAX_DAYS_BACK),
    metavar="N",
    help="Start this many days ago. Default: where the history was read up to, less the look-back; or 30 days ago.",
)
@click.option("--from", "start", type=moment, metavar="TIME", help="Instead: from then on; RFC 3339, or a date (UTC).")
@click.option(
    "--until", type=moment, metavar="TIME", help="Only what is dated before then; with --days-back or --from."
)
@click.option("--queue", is_flag=True, help="Behind the active run, if there is one, rather than joining it.")
@click.option(
    "--request-id", default="", metavar="ID", help="The same again gives the same run. Default: a random one."
)
@click.option("--no-wait", is_flag=True, help="Only ask for the run; don't wait for its end.")
@session_options
def trigger(
    session: Session,
    source: str,
    days_back: int | None,
    start: datetime | None,
    until: datetime | None,
    queue: bool,
    request_id: str,
    no_wait: bool,
) -> int:
    """Sync a source now: ask for a run, or join the active one, and watch it until it has ended.

    SOURCE may be left out when the company has one only. The run goes on when this command is interrupted.

    Exit status: 0 the run succeeded, 10 it failed, 11 it was cancelled, 13 it is incomplete. With --json, one object
    for each change; in each, "created" says whether this call made the run.

    \b
    Examples:
      hookline sync trigger --company acme
      hookline sync trigger shop-1 --days-back 30 --company acme
      hookline sync trigger shop-1 --from 2026-01-01 --until 2026-02-01 --queue --company acme
      hookline sync trigger shop-1 --no-wait --company acme --json | jq -r .run_id
    """
    if days_back is not None and start is not None:
        raise click.UsageError("From when? Give --days-back or --from.")
    if until is not None and days_back is None and start is None:
        raise click.UsageError("--until goes with --days-back or --from.")
    with session.client() as client:
        answer = client.trigger_sync(
            session.company, source, days_back or 0, request_id, start=start, until=until, queue=queue
        )
        run, more = answer.run, {"created": answer.created}
        asked = f"Run {run.run_id} of {run.source}: {where(run)}."
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


@click.command()
@click.argument("run_id")
@session_options
def watch(session: Session, run_id: str) -> int:
    """Watch a run until it has ended.

    On a terminal, a bar shows how far it has got, and when it will have ended if it goes on like this; else a line
    tells of it now and then.

    Exit status: 0 the run succeeded, 10 it failed, 11 it was cancelled, 13 it is incomplete. With --json, one object
    for each change.

    \b
    Examples:
      hookline sync watch 0198c1c4-7d9e-7cc0-8000-5c1f0e6d7a10 --company acme
      hookline sync watch 0198c1c4-7d9e-7cc0-8000-5c1f0e6d7a10 --company acme --json | jq .counts.fetched
    """
    with session.client() as client:
        return _follow(session, run_id, client.watch_run(session.company, run_id), Live(), {})


def _follow(session: Session, run_id: str, seen: Iterable[SyncRun], live: Live, more: dict[str, Any]) -> int:
    """Shows a run until it has ended; gives the exit status that says how."""
    output, run = session.output, SyncRun()
    try:
        with output.live(live.view) as is_shown:
            # The first of a watch may be just what the trigger gave.
            for run, _ in groupby(seen):
                turned = live.take(run)
                if output.as_json:
                    output.record(run_fields(run) | more)
                elif not (is_shown or run.HasField("end_time")):
                    if turned:
                        output.note(turn(run))
                    elif live.is_due():
                        output.note(live.line())
    except (HooklineError, KeyboardInterrupt):
        if run.run_id:
            output.note(f"The run goes on; `hookline sync watch {run_id}` shows it.")
        raise
    if not output.as_json:
        output.summary(run_fields(run) | more, sentence(run))
    return exit_status(run)
