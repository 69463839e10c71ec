"""The command itself: its subcommands, and how whatever happens becomes an exit status."""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from hookline.cli.alerts import alerts
from hookline.cli.audit import audit
from hookline.cli.endpoints import endpoint
from hookline.cli.erase import erase
from hookline.cli.errors import EXIT_STATUSES, PIPE_CLOSED, explain
from hookline.cli.events import get, list_events, mark
from hookline.cli.export import export
from hookline.cli.ingest import ingest
from hookline.cli.output import fail
from hookline.cli.platforms import platform
from hookline.cli.quarantine import quarantine
from hookline.cli.signing_secrets import secret
from hookline.cli.summary import summary
from hookline.cli.sync import sync
from hookline.cli.watch import watch


class _Suite(click.Group):
    """Ends the process itself, with a status of ours: click's own has 1 for nearly everything."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            status = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # As `| head` does. What is still buffered must go somewhere when Python flushes it at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return PIPE_CLOSED
        return status

    def main(self, args: Sequence[str] | None = None, *others: Any, **options: Any) -> NoReturn:
        arguments = sys.argv[1:] if args is None else list(args)
        try:
            status = super().main(args, *others, **(options | {"standalone_mode": False})) or 0
        except Exception as error:
            failure = explain(error)
            as_json = "--json" in arguments
            if isinstance(error, click.ClickException) and not as_json:
                error.show()
            else:
                fail(failure, as_json=as_json)
            status = failure.exit_status
        sys.exit(status)


@click.group(cls=_Suite, epilog=EXIT_STATUSES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hookline")
def cli() -> None:
    """Hookline, the system of record for webhook events: store them, look at them, get them out.

    \b
    Examples:
      hookline ingest events.ndjson --company acme
      hookline list --company acme
      hookline export --company acme -o events.csv
      hookline endpoint create --source shop-1 --company acme
      hookline sync status --company acme
    """


for _command in (
    ingest,
    export,
    list_events,
    get,
    summary,
    watch,
    mark,
    quarantine,
    endpoint,
    secret,
    platform,
    sync,
    alerts,
    audit,
    erase,
):
    cli.add_command(_command)


def main() -> NoReturn:
    """Runs the command with the process's arguments, and ends the process."""
    # As for Ctrl-C: leave in order, so that no half file stays behind.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    cli.main()
    raise AssertionError("main ends the process")
