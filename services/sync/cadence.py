"""When a schedule is due: every so often, or by cron in a time zone; each source late by a part of a jitter of its own.

Pure: moments come in and go out, all of them aware. Days on which clocks change are as cronsim has them, which does as
Debian's cron. A cron with a fixed hour and minute that falls into the hour that is left out is due right after it, and
in the hour that comes twice it is due the first time only. One that is due every so many minutes, or every hour, is due
by the time that really passes.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim, CronSimError

SHORTEST, LONGEST = timedelta(minutes=1), timedelta(days=30)
"""What an interval may be."""
MAX_CRON = 500
_MOST_JITTER = timedelta(minutes=10)
# What the time between two runs by cron is judged by: so many ticks from here on, or those of two years.
_LOOKED_AT, _LOOKED_FROM, _LOOKED_LONG = 100, datetime(2025, 1, 1, tzinfo=UTC), timedelta(days=731)


class Every(msgspec.Struct, frozen=True):
    """Every so often, counted from a moment that is no tick itself."""

    interval: timedelta
    start: datetime


class Cron(msgspec.Struct, frozen=True):
    """By a cron expression in a time zone, both such that `cron_problem` and `zone_problem` find nothing wrong."""

    expression: str
    zone: str


Cadence = Every | Cron


class NeverDue(Exception):
    """The cadence has no next time: it is none that the checks below would take."""


def next_time(cadence: Cadence, offset: timedelta, after: datetime) -> datetime:
    """The first tick and its offset that are later than `after`. Raises NeverDue."""
    before_offset = after - offset
    if isinstance(cadence, Every):
        passed = (before_offset - cadence.start) // cadence.interval
        return cadence.start + max(1, passed + 1) * cadence.interval + offset
    for tick in _ticks(cadence, before_offset):
        # In the hour that comes twice cronsim counts from the first one on.
        if tick > before_offset:
            return tick + offset
    raise NeverDue


def shortest_period(cadence: Cadence) -> timedelta:
    """The shortest time between two ticks, as far as a look at a hundred of them shows. Raises NeverDue."""
    if isinstance(cadence, Every):
        return cadence.interval
    shortest: timedelta | None = None
    # Not in its own zone: a day on which clocks change would count.
    ticks = _ticks(Cron(cadence.expression, "UTC"), _LOOKED_FROM)
    for first, second in pairwise(islice(ticks, _LOOKED_AT)):
        shortest = min(shortest or second - first, second - first)
        if second - _LOOKED_FROM > _LOOKED_LONG:
            break
    if shortest is None:
        raise NeverDue
    return shortest


def default_jitter(period: timedelta) -> timedelta:
    """What schedules are spread over unless told: a tenth of the time between two runs, at most 10 minutes."""
    return min(period / 10, _MOST_JITTER)


def jitter_offset(company_id: str, source: str, jitter: timedelta) -> timedelta:
    """How late a source is: from nothing to the jitter, which itself is not reached, and always the same."""
    # No name holds a NUL: two different pairs never read the same.
    digest = hashlib.blake2b(f"{company_id}\0{source}".encode(), digest_size=8).digest()
    microseconds = jitter // timedelta(microseconds=1)
    return timedelta(microseconds=int.from_bytes(digest) * microseconds >> 64)


def cron_problem(expression: str) -> str | None:
    """What is wrong with a cron expression, to be put after its name; None when nothing is."""
    fields = expression.split()
    if len(expression) > MAX_CRON:
        return f"must be at most {MAX_CRON} characters long"
    if len(fields) != 5:
        return (
            'must have five fields, such as "0 3 * * *": minute, hour, day of the month, month, day of the week; '
            f"it has {len(fields)}"
        )
    try:
        next_time(Cron(expression, "UTC"), timedelta(0), _LOOKED_FROM)
    except CronSimError as error:
        # Days that none of the months has are told of in the same words as a day that there is none of.
        if _is_cron(" ".join((*fields[:3], "*", fields[4]))) and _is_cron(f"0 0 1 {fields[3]} *"):
            return "never fires: none of its months has such a day"
        return f"is none: its {str(error).removeprefix('Bad ').replace('-', ' ')} is wrong"
    except NeverDue:
        return "never fires: no day in 50 years is as it asks for"
    return None


def _is_cron(expression: str) -> bool:
    try:
        CronSim(expression, _LOOKED_FROM)
    except CronSimError:
        return False
    return True


def zone_problem(name: str) -> str | None:
    """What is wrong with the name of a time zone, to be put after its name; None when nothing is."""
    try:
        _zone(name)
    except (KeyError, ValueError, OSError):
        return 'must be an IANA time zone, such as "America/Sao_Paulo"'
    return None


def _ticks(cron: Cron, after: datetime) -> Iterator[datetime]:
    for tick in CronSim(cron.expression, after.astimezone(_zone(cron.zone))):
        yield tick.astimezone(UTC)


def _zone(name: str) -> tzinfo:
    # cronsim is at its fastest with this very object.
    if name == "UTC":
        return UTC
    # Beside the zones lie copies of them, some of which count leap seconds, and the machine's own.
    if not name or name == "localtime" or name.startswith(("posix/", "right/")):
        raise ValueError(name)
    return ZoneInfo(name)
