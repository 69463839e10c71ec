"""What a message's fields come to, as JSON and as cells of a table."""

from typing import Any

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
