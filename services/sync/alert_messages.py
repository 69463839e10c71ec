"""What a channel is told, as a webhook and as an e-mail. Pure: the time is given."""

import uuid
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any

import msgspec
from standardwebhooks import Webhook

from services.sync.alert_store import Alert, Channel, Kind, News

_TITLES = {
    Kind.RUN_FAILED: "a run failed",
    Kind.FAILURES_IN_A_ROW: "runs fail again and again",
    Kind.SCHEDULE_OVERDUE: "the schedule is overdue",
    Kind.GAP_FOUND: "a gap was found",
}
_OVER = {
    Kind.RUN_FAILED: "A run has succeeded since.",
    Kind.FAILURES_IN_A_ROW: "A run has succeeded since.",
    Kind.SCHEDULE_OVERDUE: "A worker has begun the run, or none is due any more.",
    Kind.GAP_FOUND: "A run has read everything again from there on, and found no gap.",
}
_TEST = "This is a test: nothing is wrong."


class Message(msgspec.Struct, frozen=True):
    """What one channel is told. Without an alert it is a test."""

    delivery_id: uuid.UUID
    channel: Channel
    alert: Alert | None = None
    news: News | None = None


def webhook_body(message: Message, now: datetime) -> bytes:
    """The JSON of a webhook."""
    alert, channel = message.alert, message.channel
    data: dict[str, Any] = {"company_id": channel.company_id, "channel": channel.channel}
    if alert is None:
        return _webhook("test", now, data | {"message": _TEST})
    data |= {
        "alert_id": str(alert.alert_id),
        "kind": alert.kind.value,
        "source": alert.source,
        "run_id": str(alert.run_id) if alert.run_id else None,
        "message": alert.message,
        "open_time": _text(alert.open_time),
        "last_time": _text(alert.last_time),
        "times": alert.times,
        "resolve_time": _text(alert.resolve_time) if alert.resolve_time else None,
    }
    is_over = message.news is News.RESOLVED and alert.resolve_time is not None
    moment = alert.resolve_time if is_over and alert.resolve_time else alert.open_time
    return _webhook(str(message.news), moment, data)


def webhook_headers(delivery_id: uuid.UUID, body: bytes, secret: str, now: datetime) -> dict[str, str]:
    """The headers that sign a webhook, as Standard Webhooks says. The id is the same on every try, the time is not."""
    return {
        "content-type": "application/json",
        "webhook-id": str(delivery_id),
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(str(delivery_id), now, body.decode()),
    }


def mail(message: Message, sender: str, now: datetime) -> EmailMessage:
    """The e-mail. A mail server that is given it again, since its answer was lost, can tell by its id."""
    made = EmailMessage(policy=SMTP)
    made["From"] = sender
    made["To"] = message.channel.email
    made["Date"] = format_datetime(now)
    made["Message-ID"] = f"<{message.delivery_id}@{sender.rpartition('@')[2]}>"
    # No out-of-office answers to it.
    made["Auto-Submitted"] = "auto-generated"
    made["Subject"], text = _mail_text(message)
    made.set_content(text, cte="quoted-printable")
    return made


def _mail_text(message: Message) -> tuple[str, str]:
    alert, company = message.alert, message.channel.company_id
    if alert is None:
        return "[Hookline] Test", f"{_TEST}\n\nCompany: {company}\nChannel: {message.channel.channel}\n"
    title = _TITLES[alert.kind]
    is_over = message.news is News.RESOLVED
    lines = [
        f"{alert.source}: {title}.",
        "",
        _lines(alert.message),
        "",
        *([_OVER[alert.kind], ""] if is_over else []),
        f"Company: {company}",
        f"Source: {alert.source}",
        *([f"Run: {alert.run_id}"] if alert.run_id else []),
        f"Seen first: {_text(alert.open_time)}",
        f"Seen last: {_text(alert.last_time)}",
        f"Times: {alert.times}",
        *([f"Over: {_text(alert.resolve_time)}"] if alert.resolve_time else []),
        f"Alert: {alert.alert_id}",
        "",
    ]
    return f"[Hookline] {'Over: ' if is_over else ''}{alert.source}: {title}", "\n".join(lines)


def _webhook(kind: str, moment: datetime, data: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"type": f"hookline.alert.{kind}", "timestamp": _text(moment), "data": data})


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _lines(text: str) -> str:
    """The text without what is no character to be read."""
    return "".join(character if character.isprintable() else " " for character in text)
