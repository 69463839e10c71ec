"""The times that platforms write. Pure."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment_of(value: Any, zone: ZoneInfo) -> datetime:
    """The time, in UTC, that a text or a number is; `zone` counts where it names none. Raises ValueError, with a
    sentence, when it is none."""
    try:
        moment = _moment(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone)
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        moment = None
    if moment is None or moment < _EPOCH:
        raise ValueError("the time is no time between the years 1970 and 9999")
    return moment


def _moment(value: Any) -> datetime:
    if isinstance(value, str):
        return datetime.fromisoformat(value.strip())
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        # Seconds or milliseconds since 1970: as seconds, 10^11 would be the year 5138.
        number = Decimal(value)
        seconds = number / 1000 if abs(number) >= 10**11 else number
        return _EPOCH + timedelta(microseconds=int(seconds * 1_000_000))
    raise ValueError
