"""When schedules are due: the next time, over clocks that change, and how sources are spread."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from services.sync.cadence import (
    LONGEST,
    SHORTEST,
    Cadence,
    Cron,
    Every,
    NeverDue,
    cron_problem,
    default_jitter,
    jitter_offset,
    next_time,
    shortest_period,
    zone_problem,
)

NOTHING = timedelta(0)
# Clocks that change by an hour, by half of one, at midnight, in the south, not at all; offsets that are no whole hours.
ZONES = (
    "UTC",
    "America/New_York",
    "America/Sao_Paulo",
    "America/Havana",
    "America/St_Johns",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Africa/Casablanca",
)
# Near the changes of all of them: São Paulo has had none since 2019.
MOMENTS = st.datetimes(datetime(2017, 1, 1), datetime(2019, 12, 31), timezones=st.just(UTC))
MINUTES = st.sampled_from(["0", "30", "*", "*/5", "0,30", "7-59/13", "59"])
HOURS = st.sampled_from(["0", "1", "2", "3", "23", "*", "*/6", "0-3", "1,2"])
DAYS = st.sampled_from(["*", "*", "*", "1", "L", "13-19"])
WEEKDAYS = st.sampled_from(["*", "*", "*", "SUN", "1-5", "0#2"])
CRONS = st.builds("{} {} {} * {}".format, MINUTES, HOURS, DAYS, WEEKDAYS)
CADENCES: st.SearchStrategy[Cadence] = st.one_of(
    st.builds(Cron, CRONS, st.sampled_from(ZONES)),
    st.builds(Every, st.timedeltas(SHORTEST, LONGEST), MOMENTS),
)
OFFSETS = st.timedeltas(NOTHING, timedelta(minutes=10))


def ticks(cadence: Cadence, after: datetime, count: int, offset: timedelta = NOTHING) -> list[datetime]:
    found: list[datetime] = []
    for _ in range(count):
        found.append(next_time(cadence, offset, found[-1] if found else after))
    return found


def local(zone: str, *numbers: int, fold: int = 0) -> datetime:
    return datetime(*numbers, tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)  # type: ignore[arg-type,misc]


@given(CADENCES, OFFSETS, MOMENTS)
def test_the_next_time_is_later_and_nothing_lies_between(cadence: Cadence, offset: timedelta, after: datetime) -> None:
    times = ticks(cadence, after, 5, offset)
    assert all(first < second for first, second in pairwise([after, *times]))
    # Whenever it is asked, up to that very moment, the answer is the same.
    for first, second in pairwise([after, *times]):
        assert next_time(cadence, offset, first + (second - first) / 2) == second
        assert next_time(cadence, offset, second - timedelta(microseconds=1)) == second


@given(CADENCES, OFFSETS, MOMENTS)
def test_an_offset_moves_all_times_by_itself(cadence: Cadence, offset: timedelta, after: datetime) -> None:
    assert next_time(cadence, offset, after + offset) == next_time(cadence, NOTHING, after) + offset


@given(st.timedeltas(SHORTEST, LONGEST), MOMENTS, MOMENTS)
def test_an_interval_is_counted_from_its_start_however_late_it_is_asked(
    interval: timedelta, start: datetime, after: datetime
) -> None:
    found = next_time(Every(interval, start), NOTHING, after)
    assert (found - start) % interval == NOTHING
    # The start itself is no tick: whoever starts a schedule by interval runs it at once.
    assert found == start + interval if after < start + interval else found - interval <= after


@given(st.builds(Cron, CRONS, st.sampled_from(ZONES)), MOMENTS)
def test_a_cron_is_due_when_its_zones_clock_says_so(cron: Cron, after: datetime) -> None:
    due = next_time(cron, NOTHING, after).astimezone(ZoneInfo(cron.zone))
    minute, hour = cron.expression.split()[:2]
    # What would be due in an hour that is left out is due right after it: such days are tested one by one below.
    assume(due.utcoffset() == (due - timedelta(hours=3)).astimezone(UTC).astimezone(due.tzinfo).utcoffset())
    if minute.isdigit():
        assert due.minute == int(minute)
    if hour.isdigit():
        assert due.hour == int(hour)
    assert (due.second, due.microsecond) == (0, 0)


@pytest.mark.parametrize("zone", ZONES)
def test_each_day_has_its_run_once(zone: str) -> None:
    # Over two years, with the hours that clocks change in.
    for hour in (0, 1, 2, 23):
        times = ticks(Cron(f"30 {hour} * * *", zone), datetime(2018, 1, 1, 12, tzinfo=UTC), 2 * 365)
        days = [time.astimezone(ZoneInfo(zone)).date() for time in times]
        assert all(second - first == timedelta(days=1) for first, second in pairwise(days))


def test_days_on_which_clocks_change() -> None:
    zone = "America/New_York"

    def due(expression: str, after: datetime, count: int = 2) -> list[datetime]:
        return ticks(Cron(expression, zone), after, count)

    # 10 March 2024: 2:00 to 3:00 is left out. 3 November 2024: 1:00 to 2:00 comes twice.
    spring, autumn = local(zone, 2024, 3, 10), local(zone, 2024, 11, 3)
    assert due("30 2 * * *", spring) == [local(zone, 2024, 3, 10, 3), local(zone, 2024, 3, 11, 2, 30)]
    assert due("30 1 * * *", autumn) == [local(zone, 2024, 11, 3, 1, 30), local(zone, 2024, 11, 4, 1, 30)]
    # Asked in the second of the two hours, it is not due again.
    second_time = local(zone, 2024, 11, 3, 1, 10, fold=1)
    assert due("30 1 * * *", second_time, 1) == [local(zone, 2024, 11, 4, 1, 30)]
    # By the time that passes: no hour is left out, and none is run twice as often.
    for start in (spring, autumn):
        hourly = due("0 * * * *", start, 24)
        assert {later - earlier for earlier, later in pairwise(hourly)} == {timedelta(hours=1)}


@given(st.text(max_size=40) | st.from_regex(r"([0-9*,/#L-]{1,6} ){4}[0-9A-Z*,/#-]{1,6}", fullmatch=True))
@example("0 0 30 2 *")
@example("²L ²L ²L ²L ²L")
def test_whatever_is_taken_for_a_cron_has_a_next_time(expression: str) -> None:
    if cron_problem(expression) is None:
        cron = Cron(expression, "America/Havana")
        assert next_time(cron, NOTHING, datetime(2026, 7, 1, tzinfo=UTC)) > datetime(2026, 7, 1, tzinfo=UTC)
        assert shortest_period(cron) >= SHORTEST


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("", "must have five fields"),
        ("@daily", "must have five fields"),
        # The seconds of other crons: it would be due more than once a minute.
        ("* * * * * *", "it has 6"),
        ("60 * * * *", "its minute is wrong"),
        ("0 24 * * *", "its hour is wrong"),
        ("0 0 32 * *", "its day of month is wrong"),
        ("0 0 1 13 *", "its month is wrong"),
        ("0 0 * * 8", "its day of week is wrong"),
        ("0 0 30 2 *", "never fires"),
        ("0 0 31 4,6,9,11 *", "never fires"),
        ("0 0 */31 2 MON#5", "never fires"),
        (",".join("0" * 500) + " * * * *", "at most 500"),
    ],
)
def test_a_cron_that_is_none_is_told_why(expression: str, problem: str) -> None:
    found = cron_problem(expression)
    assert found is not None
    assert problem in found


def test_a_cron_that_is_never_due_is_told_of_as_such() -> None:
    cron = Cron("0 0 */31 2 MON#5", "UTC")
    with pytest.raises(NeverDue):
        next_time(cron, NOTHING, datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(NeverDue):
        shortest_period(cron)


@pytest.mark.parametrize(
    "expression", ["0 3 * * *", "*/15 8-18 * * MON-FRI", "0 0 29 2 *", "0 0 L * *", "0 0 30 2 MON"]
)
def test_a_cron_that_is_one_is_taken(expression: str) -> None:
    assert cron_problem(expression) is None


@pytest.mark.parametrize(
    "name", ["", "America", "Mars/Base", "../etc/passwd", "/etc/passwd", "right/UTC", "localtime", "a\0b", "zone.tab"]
)
def test_a_time_zone_that_is_none_is_refused(name: str) -> None:
    assert zone_problem(name) == 'must be an IANA time zone, such as "America/Sao_Paulo"'


@pytest.mark.parametrize("name", ZONES)
def test_a_time_zone_that_is_one_is_taken(name: str) -> None:
    assert zone_problem(name) is None


@pytest.mark.parametrize(
    ("cadence", "period", "jitter"),
    [
        (Every(timedelta(hours=6), datetime(2026, 1, 1, tzinfo=UTC)), timedelta(hours=6), timedelta(minutes=10)),
        (Every(timedelta(minutes=1), datetime(2026, 1, 1, tzinfo=UTC)), timedelta(minutes=1), timedelta(seconds=6)),
        (Cron("* * * * *", "UTC"), timedelta(minutes=1), timedelta(seconds=6)),
        (Cron("0 3 * * *", "Europe/Berlin"), timedelta(days=1), timedelta(minutes=10)),
        (Cron("0,20 8,20 * * *", "UTC"), timedelta(minutes=20), timedelta(minutes=2)),
        (Cron("0 0 29 2 *", "UTC"), timedelta(days=1461), timedelta(minutes=10)),
    ],
)
def test_the_time_between_two_runs_decides_over_the_jitter(
    cadence: Cadence, period: timedelta, jitter: timedelta
) -> None:
    assert shortest_period(cadence) == period
    assert default_jitter(period) == jitter


@given(st.text(max_size=64), st.text(max_size=64), st.timedeltas(NOTHING, LONGEST))
def test_an_offset_is_always_the_same_and_short_of_the_jitter(company: str, source: str, jitter: timedelta) -> None:
    offset = jitter_offset(company, source, jitter)
    assert offset == jitter_offset(company, source, jitter)
    assert NOTHING <= offset <= jitter
    assert offset < jitter or jitter == NOTHING


def test_offsets_are_spread_evenly() -> None:
    jitter = timedelta(minutes=10)
    for company, source in (("company{}", "loja"), ("acme", "shop-{}")):
        offsets = (jitter_offset(company.format(n), source.format(n), jitter) for n in range(10_000))
        minutes = Counter(offset // timedelta(minutes=1) for offset in offsets)
        assert set(minutes) == set(range(10))
        # Five standard deviations either side.
        assert all(850 <= count <= 1150 for count in minutes.values())
