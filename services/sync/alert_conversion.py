"""Alerts and channels between the contract's messages and what the store works with."""

import uuid
from collections.abc import Mapping, Sequence

from hookline.sync.v1 import alert_service_pb2 as pb
from services.sync.alert_store import Alert, Channel, Told
from services.sync.connectors.vetting import check_url
from services.sync.mail import is_address
from shared.errors import InvalidField, Violation
from shared.names import NAME_RULE, is_name
from shared.timestamps import timestamp


def channel_name(name: str) -> str:
    """The name of a channel. Raises InvalidField."""
    if not name:
        raise InvalidField(Violation("channel", "is required"))
    if not is_name(name):
        raise InvalidField(Violation("channel", NAME_RULE))
    return name


def check_target(request: pb.CreateAlertChannelRequest, *, allow_loopback: bool) -> None:
    """Raises InvalidField when a channel can't go where it is to."""
    match request.WhichOneof("target"):
        case "webhook_url":
            if problem := check_url(request.webhook_url, allow_loopback=allow_loopback, allow_query=True):
                raise InvalidField(Violation("webhook_url", problem))
        case "email":
            if not is_address(request.email):
                raise InvalidField(Violation("email", "must be one e-mail address, in ASCII, without a name"))
        case _:
            raise InvalidField(Violation("target", "is required: webhook_url or email"))


def from_alert(alert: Alert, told: Sequence[Told]) -> pb.Alert:
    """The alert as a message, with how far its channels have been told."""
    return pb.Alert(
        company_id=alert.company_id,
        alert_id=str(alert.alert_id),
        kind=pb.AlertKind.Value(f"ALERT_KIND_{alert.kind.name}"),
        source=alert.source,
        run_id=str(alert.run_id) if alert.run_id else "",
        message=alert.message,
        open_time=timestamp(alert.open_time),
        last_time=timestamp(alert.last_time),
        times=alert.times,
        resolve_time=timestamp(alert.resolve_time),
        deliveries=[_from_told(each) for each in told],
    )


def by_alert(told: Sequence[Told]) -> Mapping[uuid.UUID, Sequence[Told]]:
    """Deliveries by their alerts."""
    found: dict[uuid.UUID, list[Told]] = {}
    for each in told:
        found.setdefault(each.alert_id, []).append(each)
    return found


def _from_told(told: Told) -> pb.AlertDelivery:
    return pb.AlertDelivery(
        channel=told.channel,
        news=pb.AlertNews.Value(f"ALERT_NEWS_{told.news.name}"),
        attempts=told.attempts,
        deliver_time=timestamp(told.delivered_time),
        next_attempt_time=timestamp(told.next_attempt_time),
        error=told.error or "",
    )


def from_channel(channel: Channel) -> pb.AlertChannel:
    """The channel as a message, without its secret."""
    message = pb.AlertChannel(
        company_id=channel.company_id,
        channel=channel.channel,
        create_time=timestamp(channel.create_time),
    )
    if channel.webhook_url is not None:
        message.webhook_url = channel.webhook_url
    elif channel.email is not None:
        message.email = channel.email
    return message
