"""Times and durations between the contract's messages and what the store works with."""

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(moment: datetime | None) -> Timestamp | None:
    """None stays None: the field is then not set."""
    if moment is None:
        return None
    message = Timestamp()
    message.FromDatetime(moment.astimezone(UTC))
    return message


def moment(message: Timestamp) -> datetime | None:
    """The moment that a message holds; None for what no datetime can be."""
    try:
        return message.ToDatetime(UTC)
    except (ValueError, OverflowError):
        return None


def duration(time: timedelta | None) -> Duration | None:
    """None stays None: the field is then not set."""
    if time is None:
        return None
    message = Duration()
    message.FromTimedelta(time)
    return message


def period(message: Duration) -> timedelta | None:
    """The time that a message holds; None for what no timedelta can be."""
    try:
        return message.ToTimedelta()
    except (ValueError, OverflowError):
        return None
