"""`hookline sync start`, `pause`, `resume` and `stop`: when sources are pulled."""

from datetime import timedelta

import click

from hookline.cli.options import Session, duration, session_options, time_zone_option
from hookline.cli.standings import scheduled, source_fields

_SHORTEST, _LONGEST = timedelta(minutes=1), timedelta(days=30)


def _interval(value: str) -> timedelta:
    interval = duration(value)
    if not _SHORTEST <= interval <= _LONGEST:
        raise click.BadParameter(f"{value!r} is not from one minute to 30 days.")
    return interval


@click.command()
@click.argument("source", metavar="SOURCE")
@click.option("--every", "interval", type=_interval, metavar="TIME", help="Such as 90m, 6h or 1d. Default: 6h.")
@click.option(
    "--cron",
    default="",
    metavar="EXPRESSION",
    help='Instead: minute, hour, day of the month, month, day of the week, such as "0 3 * * *".',
)
@time_zone_option("The IANA time zone of --cron.")
@click.option(
    "--jitter",
    type=duration,
    metavar="TIME",
    help="Each source is late by its own part of this. Default: a tenth of the time between two runs, at most 10m.",
)
@session_options
def start(
    session: Session, source: str, interval: timedelta | None, cron: str, time_zone: str, jitter: timedelta | None
) -> None:
    """Start, or change, the schedule of a source; one that was paused goes on.

    With --every the first run is due at once. What is missed while everything is down is caught up by one run.

    \b
    Examples:
      hookline sync start shop-1 --company acme
      hookline sync start shop-1 --every 1h30m --company acme
      hookline sync start shop-1 --cron "0 3 * * *" --time-zone America/Sao_Paulo --jitter 5m --company acme
    """
    if interval is not None and cron:
        raise click.UsageError("When? Give --every or --cron.")
    if time_zone and not cron:
        raise click.UsageError("--time-zone goes with --cron.")
    with session.client() as client:
        made = client.start_schedule(session.company, source, interval, cron=cron, time_zone=time_zone, jitter=jitter)
    session.output.summary(source_fields(made), scheduled(made))


@click.command()
@click.argument("source", metavar="SOURCE")
@session_options
def pause(session: Session, source: str) -> None:
    """Pause the schedule of a source, and keep its settings. A run under way goes on.

    \b
    Examples:
      hookline sync pause shop-1 --company acme
    """
    with session.client() as client:
        paused = client.pause_schedule(session.company, source)
    session.output.summary(source_fields(paused), scheduled(paused))


@click.command()
@click.argument("source", metavar="SOURCE")
@session_options
def resume(session: Session, source: str) -> None:
    """Let a paused schedule go on. What was due meanwhile is not caught up.

    \b
    Examples:
      hookline sync resume shop-1 --company acme
    """
    with session.client() as client:
        resumed = client.resume_schedule(session.company, source)
    session.output.summary(source_fields(resumed), scheduled(resumed))


@click.command()
@click.argument("source", metavar="SOURCE")
@session_options
def stop(session: Session, source: str) -> None:
    """Stop the schedule of a source, and forget its settings. A run under way goes on.

    \b
    Examples:
      hookline sync stop shop-1 --company acme
    """
    with session.client() as client:
        left = client.stop_schedule(session.company, source)
    session.output.summary(source_fields(left), scheduled(left))
