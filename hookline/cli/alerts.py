"""`hookline alerts`: what needs a person, and who is told of it."""

from typing import Any

import click

from hookline.cli.errors import NOT_DELIVERED
from hookline.cli.messages import cell, enum_name, time_of
from hookline.cli.options import Session, session_options
from hookline.client import Alert, AlertChannel, AlertDelivery, AlertKind, AlertNews, Unavailable, Unreachable

_TITLES = ("SINCE", "KIND", "SOURCE", "TIMES", "STATE", "TOLD", "MESSAGE", "RUN ID")
_CHANNEL_TITLES = ("CHANNEL", "KIND", "TARGET", "SINCE")
_CREATED = (
    "Whether the channel was made is unknown; `hookline alerts channel list` tells. If it was, its secret is lost: "
    "remove it, and add it again."
)


@click.group()
def alerts() -> None:
    """See what needs a person, and have people told of it by webhook and e-mail.

    \b
    Examples:
      hookline alerts list --open --company acme
      hookline alerts channel add ops --webhook https://example.com/hooks --company acme
      hookline alerts test ops --company acme
    """


@alerts.command("list")
@click.option("--source", default="", metavar="NAME", help="Only those of this source.")
@click.option("--open", "open_only", is_flag=True, help="Only open alerts.")
@session_options
def list_alerts(session: Session, source: str, open_only: bool) -> None:
    """List the alerts, newest first, and how far the channels have been told of each.

    \b
    Examples:
      hookline alerts list --open --company acme
      hookline alerts list --source shop-1 --company acme --json | jq -r .message
    """
    with session.client() as client:
        found = client.list_alerts(session.company, source, open_only=open_only)
        if session.output.as_json:
            for each in found:
                session.output.record(_fields(each))
        else:
            session.output.table(_TITLES, (_row(each) for each in found))


@alerts.command()
@click.argument("channel")
@session_options
def test(session: Session, channel: str) -> int:
    """Deliver a test to a channel now, and say whether it accepted it.

    \b
    Examples:
      hookline alerts test ops --company acme
    """
    with session.client() as client:
        tested = client.test_alert(session.company, channel)
    fields = {"channel": channel, "delivered": tested.delivered, "problem": tested.problem or None}
    if tested.delivered:
        session.output.summary(fields, f"{channel} accepted the test.")
        return 0
    session.output.summary(fields, f"{channel} did not accept the test: {tested.problem}", to_stderr=True)
    return NOT_DELIVERED


@alerts.group()
def channel() -> None:
    """Manage the channels that alerts go to.

    \b
    Examples:
      hookline alerts channel add ops --webhook https://example.com/hooks --company acme
      hookline alerts channel add me --email me@example.com --company acme
      hookline alerts channel list --company acme
    """


@channel.command()
@click.argument("name")
@click.option("--webhook", "webhook_url", default="", metavar="URL", help="Send a signed webhook to this URL.")
@click.option("--email", default="", metavar="ADDRESS", help="Send an e-mail to this address.")
@session_options
def add(session: Session, name: str, webhook_url: str, email: str) -> None:
    """Add a channel. It is told of alerts that open from now on, and when those are over.

    The secret that a webhook is signed with is shown only now. The signature is that of Standard Webhooks.

    \b
    Examples:
      hookline alerts channel add ops --webhook https://example.com/hooks --company acme
      SECRET=$(hookline alerts channel add ops --webhook https://example.com/hooks --company acme)
      hookline alerts channel add me --email me@example.com --company acme
    """
    if bool(webhook_url) == bool(email):
        raise click.UsageError("Where to? Give --webhook or --email.")
    with session.client() as client:
        try:
            made = client.create_alert_channel(session.company, name, webhook_url=webhook_url, email=email)
        except Unreachable:
            raise
        except Unavailable:
            session.output.note(_CREATED)
            raise
    if session.output.as_json:
        session.output.record(_channel_fields(made.channel) | {"secret": made.secret or None})
    elif made.secret:
        session.output.text(made.secret)
        session.output.note(f"This secret is shown only now. What {name} gets is signed with it.")
    else:
        session.output.summary({}, f"{name} is told of alerts by e-mail from now on.")


@channel.command("list")
@session_options
def list_channels(session: Session) -> None:
    """List the channels, by name.

    \b
    Examples:
      hookline alerts channel list --company acme
    """
    with session.client() as client:
        channels = client.list_alert_channels(session.company)
    if session.output.as_json:
        for each in channels:
            session.output.record(_channel_fields(each))
    else:
        session.output.table(_CHANNEL_TITLES, (_channel_row(each) for each in channels))


@channel.command()
@click.argument("name")
@session_options
def remove(session: Session, name: str) -> None:
    """Remove a channel. What it has not been told yet is not told.

    \b
    Examples:
      hookline alerts channel remove ops --company acme
    """
    with session.client() as client:
        client.delete_alert_channel(session.company, name)
    session.output.summary({"channel": name, "removed": True}, f"{name} gets no more alerts.")


def _fields(each: Alert) -> dict[str, Any]:
    return {
        "alert_id": each.alert_id,
        "kind": _kind(each),
        "source": each.source,
        "run_id": each.run_id or None,
        "message": each.message,
        "open_time": time_of(each, "open_time"),
        "last_time": time_of(each, "last_time"),
        "times": each.times,
        "resolve_time": time_of(each, "resolve_time"),
        "deliveries": [
            {
                "channel": told.channel,
                "news": _news(told),
                "attempts": told.attempts,
                "deliver_time": time_of(told, "deliver_time"),
                "next_attempt_time": time_of(told, "next_attempt_time"),
                "error": told.error or None,
            }
            for told in each.deliveries
        ],
    }


def _row(each: Alert) -> tuple[str, ...]:
    over = cell(each, "resolve_time")
    told = " ".join(f"{told.channel}:{_state(told)}" for told in each.deliveries)
    return (
        cell(each, "open_time"),
        _kind(each),
        each.source,
        str(each.times),
        f"over {over}" if over else "open",
        told,
        each.message,
        each.run_id,
    )


def _state(told: AlertDelivery) -> str:
    if told.HasField("deliver_time"):
        return _news(told)
    return f"{_news(told)} ({'waiting' if told.HasField('next_attempt_time') else 'given up'})"


def _kind(each: Alert) -> str:
    return enum_name(AlertKind, each.kind, "ALERT_KIND_")


def _news(told: AlertDelivery) -> str:
    return enum_name(AlertNews, told.news, "ALERT_NEWS_")


def _channel_fields(each: AlertChannel) -> dict[str, Any]:
    return {
        "channel": each.channel,
        "webhook_url": each.webhook_url or None,
        "email": each.email or None,
        "create_time": time_of(each, "create_time"),
    }


def _channel_row(each: AlertChannel) -> tuple[str, ...]:
    kind = each.WhichOneof("target") or ""
    return (each.channel, kind.removesuffix("_url"), each.webhook_url or each.email, cell(each, "create_time"))
