"""What a message's fields come to, as JSON and as cells of a table."""

from datetime import timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from hookline.client import Money


def time_of(message: Message, field: str) -> str | None:
    """A time as JSON has it; None when it is not set."""
    return getattr(message, field).ToJsonString() if message.HasField(field) else None


def cell(message: Message, field: str) -> str:
    """A time as a cell, to the second; empty when it is not set."""
    if not message.HasField(field):
        return ""
    return f"{getattr(message, field).ToDatetime().isoformat(timespec='seconds')}Z"


def enum_name(kind: Any, number: int, prefix: str) -> str:
    """The name of an enum's value; the number of one that this command does not know yet."""
    try:
        return str(kind.Name(number)).removeprefix(prefix).lower()
    except ValueError:
        return str(number)


def money(amount: Money) -> str:
    """An amount with its currency; empty when there is none."""
    return f"{amount.amount} {amount.currency}".strip()


def seconds_of(message: Message, field: str) -> int | float | None:
    """A duration in seconds, as JSON has it; None when it is not set."""
    if not message.HasField(field):
        return None
    duration: Duration = getattr(message, field)
    return duration.seconds + duration.nanos / 1e9 if duration.nanos else duration.seconds


def time_words(time: timedelta, parts: int = 4) -> str:
    """A time as one may type it, such as "6h" or "1h30m": of days, hours, minutes and seconds, so many parts at most
    from the largest on, as is enough for what is only estimated."""
    minutes, seconds = divmod(time.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    every = ((time.days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s"))
    first = next((index for index, (number, _) in enumerate(every) if number), len(every) - 1)
    return "".join(f"{number}{unit}" for number, unit in every[first : first + parts] if number) or "0s"
