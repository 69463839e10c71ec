"""How a span is cut into windows, and how their ends are written for a platform."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sync.connectors import Refused, Window
from services.sync.connectors.links import next_link
from services.sync.connectors.spans import MAX_WINDOWS, cut, floor, written, written_until
from shared.platforms.history import Filter, History, TimeFormat
from tests.history_model import platform_of

START = datetime(2026, 10, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
ZONE = ZoneInfo("America/Sao_Paulo")
FORMATS: list[TimeFormat] = ["rfc3339", "date", "epoch_seconds", "epoch_milliseconds"]


def history(form: str = "rfc3339", hours: int = 24) -> History:
    lines = f'from = "since"\nuntil = "until"\nformat = "{form}"'
    found = platform_of("cursor", settings=f"window_hours = {hours}\n", filter_lines=lines).history
    assert found
    return found


def test_a_days_windows_oldest_first_and_the_last_one_open() -> None:
    windows = cut(history(), START, None, START + 60 * HOUR, ZONE)
    assert windows == [
        Window(START, START + 24 * HOUR),
        Window(START + 24 * HOUR, START + 48 * HOUR),
        Window(START + 48 * HOUR, None),
    ]


def test_the_last_window_of_a_closed_span_ends_with_it() -> None:
    until = START + 30 * HOUR
    assert cut(history(), START, until, START + 999 * HOUR, ZONE)[-1] == Window(START + 24 * HOUR, until)
    # What is still to come is one window.
    assert cut(history(), START, START + 9_000 * HOUR, START + HOUR, ZONE) == [Window(START, START + 9_000 * HOUR)]
    for late in (START - HOUR, START):
        assert cut(history(), START, None, late, ZONE) == [Window(START, None)]


moments = st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))


@given(
    moments,
    st.one_of(st.none(), st.timedeltas(timedelta(microseconds=1), timedelta(days=20_000))),
    st.timedeltas(timedelta(days=-5), timedelta(days=20_000)),
    st.sampled_from(FORMATS),
    st.one_of(st.integers(1, 30), st.integers(1, 8_784)),
)
def test_windows_are_the_span_without_a_hole(
    start: datetime, length: timedelta | None, to_now: timedelta, form: TimeFormat, hours: int
) -> None:
    until = None if length is None else start + length
    windows = cut(history(form, hours), start, until, start + to_now, ZONE)
    assert 1 <= len(windows) <= MAX_WINDOWS + 1
    assert (windows[0].start, windows[-1].until) == (start, until)
    for one, other in pairwise(windows):
        assert one.until == other.start
        assert one.start < other.start
        # Such an end can be asked for as it is.
        assert floor(other.start, form, ZONE) == other.start
    assert windows[-1].until is None or windows[-1].start < windows[-1].until


@given(moments, st.sampled_from(FORMATS), st.booleans())
def test_what_is_asked_for_is_never_less_than_the_window(moment: datetime, form: TimeFormat, included: bool) -> None:
    its_filter = Filter("since", "until", included, form)
    asked_from, asked_until = written(moment, form, ZONE), written_until(moment, its_filter, ZONE)
    assert read(asked_from, form) <= moment
    microsecond = timedelta(microseconds=1)
    last = moment - microsecond
    end = read(asked_until, form)
    if form == "date" and included:
        end = read((date.fromisoformat(asked_until) + timedelta(days=1)).isoformat(), form)
    assert end > last
    assert end - moment <= timedelta(days=1)
    assert (asked_until == written(moment, form, ZONE)) == (floor(moment, form, ZONE) == moment) or form == "date"


def read(text: str, form: TimeFormat) -> datetime:
    match form:
        case "date":
            return datetime.fromisoformat(text).replace(tzinfo=ZONE).astimezone(UTC)
        case "epoch_seconds":
            return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(text))
        case "epoch_milliseconds":
            return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(text))
        case "rfc3339":
            return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("values", "url"),
    [
        (['<https://a/?x=1,2;3>; rel="next"'], "https://a/?x=1,2;3"),
        (['</p>; rel=prev, </n>; title="a, <b>; rel=\\"x"; REL="last Next"'], "/n"),
        (["</n>;rel=next"], "/n"),
        (["</p>; rel=prev", "</n>; rel=next"], "/n"),
        (['</n>; rel="nextish", </m>; rev=next'], None),
        (['</n>; rel=prev; rel="next"'], None),
        ([""], None),
        ([], None),
        (["</n>"], None),
    ],
)
def test_the_link_header(values: list[str], url: str | None) -> None:
    class Several(dict[str, str]):
        def items(self) -> list[tuple[str, str]]:  # type: ignore[override]
            return [("Date", "</x>; rel=next"), *(("LINK", value) for value in values)]

    assert next_link(Several()) == url


@pytest.mark.parametrize(
    "value",
    [
        *("n; rel=next", "<n; rel=next", "</n>; rel=prev </m>; rel=next", "<" * 40_000),
        # Such as would take a careless pattern for ever.
        *("</n>" + part * 2_000 + '"' for part in ("; a  ", "; a=  ", ";a =", ' ;a="b"', ";a=b   ")),
    ],
)
def test_a_link_header_that_cannot_be_read_is_not_the_end(value: str) -> None:
    with pytest.raises(Refused, match="Link header"):
        next_link({"link": value})
