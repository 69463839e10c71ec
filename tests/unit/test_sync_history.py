"""Pages of a platform's history: what is read of them, and where the next one begins."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sync.history import Cursor, HistoryPage, Refused, Unreadable, read_page
from shared.platforms import History, platforms

START = Cursor("2026-10-01T00:00:00.000Z")
EPOCH = datetime(2026, 10, 1, tzinfo=UTC)


def grapfy(page_size: int = 3) -> History:
    history = platforms()["grapfy"].history
    assert history is not None
    return msgspec.structs.replace(history, page_size=page_size)


def item(id_: str | int, second: int = 1, payload: bytes = b"{}", **members: Any) -> bytes:
    rest = {"id": id_, "createdAt": f"2026-10-01T00:00:{second:02}.000Z", "eventType": "lead_created", **members}
    return b'{"payload":%b,%b' % (payload, json.dumps(rest).encode()[1:])


def body(*items: bytes) -> bytes:
    return b'{"events":[%b]}' % b",".join(items)


def numbered(*names: str) -> list[bytes]:
    return [b'"%b"' % name.encode() for name in names]


def test_the_next_page_begins_at_the_last_time_and_knows_what_was_read_of_it() -> None:
    page = read_page(grapfy(), body(item("a", 1, b'"a"'), item("b", 2, b'"b"'), item("c", 2, b'"c"')), START)
    assert page.payloads == numbered("a", "b", "c")
    assert page.next_cursor == Cursor("2026-10-01T00:00:02.000Z", ("b", "c"))
    assert page.synced_time == EPOCH + timedelta(seconds=2)


def test_what_was_read_is_passed_over_and_the_rest_of_its_time_is_not() -> None:
    cursor = Cursor("2026-10-01T00:00:02.000Z", ("b", "c"))
    page = read_page(grapfy(), body(item("b", 2, b'"b"'), item("c", 2, b'"c"'), item("d", 2, b'"d"')), cursor)
    assert page.payloads == numbered("d")
    assert page.next_cursor == Cursor("2026-10-01T00:00:02.000Z", ("b", "c", "d"))


def test_an_id_read_at_one_time_is_not_passed_over_at_another() -> None:
    cursor = Cursor("2026-10-01T00:00:02.000Z", ("b",))
    page = read_page(grapfy(), body(item("b", 2, b'"b"'), item("b", 3, b'"b again"')), cursor)
    assert page.payloads == [b'"b again"']
    assert page.next_cursor == Cursor("2026-10-01T00:00:03.000Z", ("b",))


@pytest.mark.parametrize("answer", [body(), body(item("b", 2)), b'{"events":[],"total":0}'])
def test_a_page_with_nothing_new_is_the_end(answer: bytes) -> None:
    cursor = Cursor("2026-10-01T00:00:02.000Z", ("b",))
    assert read_page(grapfy(), answer, cursor) == HistoryPage((), cursor, None)


def test_more_events_at_one_time_than_a_page_holds_need_a_person() -> None:
    cursor = Cursor("2026-10-01T00:00:02.000Z", ("a", "b", "c"))
    with pytest.raises(Refused, match=r"more events at 2026-10-01T00:00:02.000Z than a page of 3 holds"):
        read_page(grapfy(), body(*(item(name, 2) for name in "abc")), cursor)


def test_a_platform_that_pays_no_heed_to_the_time_asked_for_needs_a_person() -> None:
    answer = body(*(item(name, second) for second, name in enumerate("abc")))
    page = read_page(grapfy(), answer, START)
    with pytest.raises(Refused, match="does not begin at the time asked for"):
        read_page(grapfy(), answer, page.next_cursor)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"total":197.90000000000000001,"n":12345678901234567890123}',
        b'{ "b" : 1,\t"a" : 2, "b" : 3 }',
        b'{"text":"\\u0041\\u0000 \\ud83d\\ude00 \xc3\xa7"}',
        b"[1e5,1E+5,-0.0]",
        b'"}],{\\"payload\\":["',
        b'{"what is wrong with it is for ingest to say":"\xff"}',
        b"null",
        b"{}",
    ],
)
def test_payloads_come_out_byte_for_byte(payload: bytes) -> None:
    assert read_page(grapfy(), body(item("a", payload=payload)), START).payloads == [payload]


def test_order_within_the_item_and_other_members_do_not_matter() -> None:
    answer = b'{"next":null,"events":[{"createdAt":"2026-10-01T00:00:01Z","x":[{}],"id":7,"payload":{"n":1}}]}'
    page = read_page(grapfy(), answer, START)
    assert page.payloads == [b'{"n":1}']
    assert page.next_cursor == Cursor("2026-10-01T00:00:01Z", ("7",))


@pytest.mark.parametrize(
    ("times", "last"),
    [
        (["2026-10-01T00:00:01Z", "2026-10-01T00:00:01.500Z"], "2026-10-01T00:00:01.500Z"),
        (["2026-10-01T00:00:01-02:00", "2026-10-01T00:00:00-03:00"], "2026-10-01T00:00:00-03:00"),
        (["2026-10-01T00:00:01", "2026-10-01T00:00:01.000001Z"], "2026-10-01T00:00:01.000001Z"),
        (["2026-10-01T00:00:09Z", "2026-10-01T00:00:03Z"], "2026-10-01T00:00:09Z"),
    ],
)
def test_the_last_time_is_the_latest_moment_however_it_is_written(times: Sequence[str], last: str) -> None:
    items = [item(str(number), createdAt=time) for number, time in enumerate(times)]
    page = read_page(grapfy(), body(*items), START)
    assert page.next_cursor.since == last
    assert page.synced_time == datetime.fromisoformat(last)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"{",
        b'{"events":[{"id":"a"',
        b"<html>Bad gateway</html>",
        b'{"events":[]}{',
        b'{"events":' + b"[" * 100_000,
    ],
)
def test_an_answer_that_is_not_whole_may_get_better(answer: bytes) -> None:
    with pytest.raises(Unreadable, match="not whole JSON"):
        read_page(grapfy(), answer, START)


def test_every_beginning_of_an_answer_is_not_whole() -> None:
    answer = body(item("a", payload=b'{"name":"\xc3\xa7"}'), item("b"))
    for length in range(len(answer)):
        with pytest.raises(Unreadable):
            read_page(grapfy(), answer[:length], START)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"[]", "not an object"),
        (b'"events"', "not an object"),
        (b"null", "not an object"),
        (b'{"error":"something went wrong"}', "has no 'events'; it has: error"),
        (b"{}", "has no 'events'"),
        (b'{"events":null}', "lacks its id, time or payload"),
        (b'{"events":{"a":1}}', "lacks its id, time or payload"),
        (b'{"events":[1]}', "lacks its id, time or payload"),
        (body(b'{"id":"a","payload":{}}'), "lacks its id, time or payload"),
        (body(b'{"id":"a","createdAt":"2026-10-01T00:00:00Z"}'), "lacks its id, time or payload"),
        (body(item("a", createdAt="yesterday")), "lacks its id, time or payload"),
        (body(item("a", createdAt=1)), "lacks its id, time or payload"),
        (body(b'{"id":null,"createdAt":"2026-10-01T00:00:00Z","payload":{}}'), "lacks its id, time or payload"),
    ],
)
def test_an_answer_that_is_no_page_needs_a_person(answer: bytes, says: str) -> None:
    with pytest.raises(Refused, match=says):
        read_page(grapfy(), answer, START)


def test_what_is_said_of_a_bad_answer_holds_nothing_of_its_values() -> None:
    with pytest.raises(Refused) as caught:
        read_page(grapfy(), b'{"message":"Ana Concei\xc3\xa7\xc3\xa3o 123.456.789-00"}', START)
    assert "Ana" not in str(caught.value)
    assert "456" not in str(caught.value)


def test_a_cursor_survives_being_stored() -> None:
    for cursor in (START, Cursor("2026-10-01T00:00:02+00:00", ("a", 'b"\\', "ç"))):
        assert Cursor.decode(cursor.encode()) == cursor


def test_a_run_begins_no_later_than_its_start_time() -> None:
    moment = datetime(2026, 10, 1, 9, 0, 0, 123_999, tzinfo=timezone(timedelta(hours=-3)))
    assert Cursor.start(moment) == Cursor("2026-10-01T12:00:00.123Z")


Listed = list[tuple[int, str]]


@st.composite
def listed(draw: st.DrawFn) -> tuple[int, Listed]:
    """A page size, and items in the order of their time, no more of one time than a page has room for."""
    page_size = draw(st.integers(2, 6))
    # With one more of one time than was read of it a page still leads on: hence fewer than a page.
    ties = draw(st.lists(st.integers(1, page_size - 1), max_size=12))
    gaps = draw(st.lists(st.integers(1, 3), min_size=len(ties), max_size=len(ties)))
    items: Listed = []
    time = 0
    for count, gap in zip(ties, gaps, strict=True):
        time += gap
        items += [(time, f"{time}-{number}") for number in range(count)]
    return page_size, items


def pages(history: History, items: Listed, written: Sequence[str]) -> Iterator[HistoryPage]:
    """Pages from the start to the one with nothing new, of a platform that keeps the rules."""
    cursor = Cursor.start(EPOCH)
    while True:
        since = datetime.fromisoformat(cursor.since)
        from_there = [
            item(id_, payload=json.dumps(id_).encode(), createdAt=written[time % len(written)].format(time=time))
            for time, id_ in items
            if EPOCH + timedelta(seconds=time) >= since
        ]
        page = read_page(history, body(*from_there[: history.page_size]), cursor)
        yield page
        if not page.payloads:
            return
        cursor = Cursor.decode(page.next_cursor.encode())


@given(listed(), st.permutations(["2026-10-01T00:00:{time:02}Z", "2026-10-01T00:00:{time:02}.000+00:00"]))
def test_pages_from_the_start_hold_every_item_exactly_once(made: tuple[int, Listed], written: Sequence[str]) -> None:
    page_size, items = made
    read = [json.loads(payload) for page in pages(grapfy(page_size), items, written) for payload in page.payloads]
    assert read == [id_ for _, id_ in items]
