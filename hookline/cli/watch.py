"""`hookline watch`."""

import click

from hookline.cli import exact_json
from hookline.cli.events import event_fields, event_row
from hookline.cli.options import Session, lasting_filter_options, session_options
from hookline.cli.output import printable
from hookline.client import Event, Filter

_FROM_NOW, _FROM_THE_FIRST = -1, 0


@click.command()
@click.option(
    "--after",
    type=click.IntRange(min=_FROM_THE_FIRST),
    metavar="N",
    help="The events after number N; 0: from the first.",
)
@click.option("--from-now", is_flag=True, help="Only what is stored from now on: the default.")
@click.option("--payload", is_flag=True, help="With the payloads; only with --json.")
@session_options
@lasting_filter_options
def watch(session: Session, after: int | None, from_now: bool, payload: bool, where: Filter | None) -> None:
    """Show events as they are stored, one a line, until Ctrl-C.

    A connection that breaks is opened again for as long as --patience says: no event is left out or shown twice. To go
    on later, give the number of the last event as --after.

    \b
    Examples:
      hookline watch --company acme --type order_approved
      hookline watch --company acme --after 1200 --json --payload | jq .payload
    """
    if after is not None and from_now:
        raise click.UsageError("From where? Give --after or --from-now.")
    if payload and not session.output.as_json:
        raise click.UsageError("--payload goes with --json: a line has no room for payloads.")
    with session.client() as client:
        start = _FROM_NOW if after is None else after
        try:
            for event in client.watch(session.company, where, after=start, full=payload):
                _show(session, event, payload)
        except KeyboardInterrupt:
            # How this is meant to end.
            return


def _show(session: Session, event: Event, payload: bool) -> None:
    if session.output.as_json:
        session.output.record(event_fields(event, exact_json.verbatim(event.payload) if payload else None))
    else:
        session.output.text("\t".join(printable(cell) for cell in event_row(event)))
