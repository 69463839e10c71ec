"""Stretches of time: how they are cut into windows, and how their ends are written for a platform. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from services.sync.connectors import Window
from shared.platforms.history import Filter, History, TimeFormat

MAX_WINDOWS = 4_000
"""Of one span: a longer one has wider windows."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STEPS = {"rfc3339": timedelta(milliseconds=1), "epoch_milliseconds": timedelta(milliseconds=1)}
_SECOND = timedelta(seconds=1)


def cut(history: History, start: datetime, until: datetime | None, now: datetime, zone: ZoneInfo) -> Sequence[Window]:
    """The span as windows, oldest first. Only where the platform can be asked for an upper time is there more than one,
    and only as much of the span as is over by `now`: what is to come is the last one's."""
    if history.filter is None or not history.filter.until:
        return [Window(start, until)]
    end = now if until is None else min(now, until)
    length = timedelta(hours=history.window_hours)
    # The first cut stands on a whole second, or day, so that no window has to be asked for in other terms than it has.
    cuts, first = [start], floor(start, history.filter.format, zone, whole_seconds=True)
    if end > first:
        length = max(length, _wide(end - first))
        step = first + length
        while step < end:
            here = floor(step, history.filter.format, zone, whole_seconds=True)
            if here > cuts[-1]:
                cuts.append(here)
            step += length
    return [Window(one, other) for one, other in zip(cuts, [*cuts[1:], until], strict=True)]


def _wide(span: timedelta) -> timedelta:
    """The length of the windows that are as many as may be, in whole hours."""
    hours = -(-span // timedelta(hours=1))
    return timedelta(hours=-(-hours // MAX_WINDOWS))


def floor(moment: datetime, form: TimeFormat, zone: ZoneInfo, *, whole_seconds: bool = False) -> datetime:
    """The latest time at or before the moment that the format can say."""
    if form == "date":
        return datetime.combine(moment.astimezone(zone).date(), time(), zone).astimezone(UTC)
    step = _SECOND if whole_seconds else _STEPS.get(form, _SECOND)
    return moment - (moment - _EPOCH) % step


def written(moment: datetime, form: TimeFormat, zone: ZoneInfo) -> str:
    """The time as the format says it, rounded down."""
    floored = floor(moment, form, zone)
    match form:
        case "date":
            return floored.astimezone(zone).date().isoformat()
        case "epoch_seconds":
            return str((floored - _EPOCH) // _SECOND)
        case "epoch_milliseconds":
            return str((floored - _EPOCH) // timedelta(milliseconds=1))
        case "rfc3339":
            return floored.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def written_until(moment: datetime, its_filter: Filter, zone: ZoneInfo) -> str:
    """The end of a stretch as the format says it: never earlier than it is."""
    form = its_filter.format
    floored = floor(moment, form, zone)
    if form == "date":
        # A day that is included is there to its end.
        last = moment - timedelta(microseconds=1) if its_filter.until_included else moment
        day = last.astimezone(zone).date()
        if not its_filter.until_included and floored < moment:
            day += timedelta(days=1)
        return day.isoformat()
    return written(moment if floored == moment else floored + _STEPS.get(form, _SECOND), form, zone)
