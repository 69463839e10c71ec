"""`hookline sync log` and `differences`: what happened in a run, and what it has found to be amiss."""

import click

from hookline.cli.options import Session, session_options
from hookline.cli.output import printable
from hookline.cli.runs import (
    DIFFERENCE_TITLES,
    LOG_TITLES,
    difference_fields,
    difference_row,
    entry_fields,
    entry_row,
    reconciled,
)

_PAGE = 1000


@click.command()
@click.argument("run_id")
@click.option("--follow", is_flag=True, help="What happens further, too, line by line, until the run has ended.")
@session_options
def log(session: Session, run_id: str, follow: bool) -> None:
    """Show what happened in a run, in order.

    \b
    Examples:
      hookline sync log 0198c1c4-7d9e-7cc0-8000-5c1f0e6d7a10 --company acme
      hookline sync log 0198c1c4-7d9e-7cc0-8000-5c1f0e6d7a10 --follow --company acme
      hookline sync log 0198c1c4-7d9e-7cc0-8000-5c1f0e6d7a10 --company acme --json | jq 'select(.level != "info")'
    """
    with session.client() as client:
        entries = client.run_log(session.company, run_id, page_size=_PAGE, follow=follow)
        if not (session.output.as_json or follow):
            session.output.table(LOG_TITLES, map(entry_row, entries))
            return
        for entry in entries:
            if session.output.as_json:
                session.output.record(entry_fields(entry))
            else:
                # Not a table: that waits for its last row.
                session.output.text("\t".join(printable(cell) for cell in entry_row(entry)))


@click.command()
@click.argument("run_id")
@session_options
def differences(session: Session, run_id: str) -> None:
    """List what only one side has: what the source lists and is not stored, and what is stored and it does not list.

    At most 10,000 of a run.

    \b
    Examples:
      hookline sync differences 0198c1c4-7d9e-7cc0-8000-5c1f0e6d7a10 --company acme
      hookline sync differences 0198c1c4-7d9e-7cc0-8000-5c1f0e6d7a10 --company acme --json | jq -r .item_id
    """
    with session.client() as client:
        found = client.sync_differences(session.company, run_id, page_size=_PAGE)
        if session.output.as_json:
            for difference in found:
                session.output.record(difference_fields(difference))
            return
        run = client.get_run(session.company, run_id)
        session.output.table(DIFFERENCE_TITLES, map(difference_row, found))
    if run.HasField("reconciliation"):
        session.output.note(reconciled(run.reconciliation))
    else:
        session.output.note("What the source listed has not been compared with what is stored.")
