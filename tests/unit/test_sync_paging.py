"""Every way of paging, against a platform in memory: everything that is listed all the while is read, and it ends."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from services.sync.connectors import Refused, Window
from services.sync.connectors.positions import IDLE_PAGES, Trail
from tests.history_model import EPOCH, PAGINATIONS, Made, Model, ids, platform_of

OPEN = Window(EPOCH, None)
SETTINGS = {
    "": "",
    "has_more": 'has_more = "paging.more"\n',
    "said": 'said = "paging.total"\n',
}
ORDERS = [
    (name, order)
    for name in PAGINATIONS
    for order in ("ascending", "descending", "none")
    if name != "time" or order == "ascending"
]
every_way = pytest.mark.parametrize(("pagination", "order"), ORDERS)
every_hint = pytest.mark.parametrize("settings", SETTINGS.values(), ids=list(SETTINGS))


def made(*seconds: int) -> list[Made]:
    return [Made(second, rank, f"i{rank}") for rank, second in enumerate(seconds)]


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, list[Made], dict[int, list[Made]]]:
    """A page size, what is listed from the start, and what is listed late: before which request."""
    page_size = draw(st.integers(2, 5))
    # As many of one time as a page holds, and more, too: see `page_size_max`.
    seconds = draw(st.lists(st.integers(1, 6), max_size=18))
    late = draw(st.dictionaries(st.integers(2, 8), st.lists(st.integers(1, 6), max_size=3), max_size=3))
    ranks = draw(st.permutations(range(len(seconds) + 20)))
    listed = [Made(second, ranks[place], f"i{place}") for place, second in enumerate(seconds)]
    numbers = iter(range(len(seconds), len(seconds) + 20))
    added = {
        request: [Made(second, ranks[(number := next(numbers))], f"i{number}") for second in its]
        for request, its in late.items()
    }
    return page_size, listed, added


@every_way
@every_hint
@examples(max_examples=40)
@given(histories())
def test_all_that_is_listed_from_the_start_is_read(
    pagination: str, order: str, settings: str, history: tuple[int, list[Made], dict[int, list[Made]]]
) -> None:
    page_size, listed, late = history
    largest = "page_size_max = 100\n" if pagination == "time" else ""
    platform = platform_of(pagination, order=order, settings=settings + largest, page_size=page_size)
    model = Model(platform, listed, lambda request: model.items.extend(late.get(request, [])))
    pages = model.read(OPEN)
    assert {one.id for one in listed} <= set(ids(pages)) <= {one.id for one in model.items}
    if not any(late.values()):
        assert sorted(ids(pages)) == sorted(one.id for one in listed), "each once"
    assert not pages[-1].more
    if settings == SETTINGS["said"]:
        assert pages[0].said is not None
        assert len(set(ids(pages))) >= pages[0].said
    if order == "ascending":
        for place, page in enumerate(pages):
            # What is claimed to be read is: of what was there from the start nothing is dated before.
            after = set(ids(pages[place + 1 :])) - set(ids(pages[: place + 1]))
            assert not [one for one in listed if one.id in after and page.read_until and one.moment < page.read_until]
    else:
        assert all(page.read_until is None for page in pages)


@every_way
@examples(max_examples=25)
@given(histories())
def test_a_run_that_begins_anew_at_any_page_reads_the_rest(
    pagination: str, order: str, history: tuple[int, list[Made], dict[int, list[Made]]]
) -> None:
    page_size, listed, _ = history
    largest = "page_size_max = 100\n" if pagination == "time" else ""
    platform = platform_of(pagination, order=order, settings=largest, page_size=page_size)
    whole = Model(platform, listed).read(OPEN)
    for place, page in enumerate(whole):
        if page.position is None:
            continue
        model = Model(platform, listed)
        body, headers = model.answer(model.pager.request(OPEN, page.position))
        assert model.pager.read(OPEN, page.position, body, headers) == whole[place + 1]


@every_way
def test_windows_are_read_apart(pagination: str, order: str) -> None:
    model = Model(platform_of(pagination, order=order), made(1, 2, 3, 4, 5, 6, 7, 8))
    window = Window(EPOCH + timedelta(seconds=3), EPOCH + timedelta(seconds=7))
    assert sorted(ids(model.read(window))) == ["i2", "i3", "i4", "i5"]


@pytest.mark.parametrize(("pagination", "order"), [one for one in ORDERS if one[0] != "time"])
def test_without_a_filter_what_lies_outside_is_passed_over(pagination: str, order: str) -> None:
    model = Model(platform_of(pagination, order=order, filter_lines=""), made(*range(1, 21)))
    window = Window(EPOCH + timedelta(seconds=13), EPOCH + timedelta(seconds=15))
    assert model.pager.windows(window.start, window.until, EPOCH + timedelta(days=9)) == [window]
    pages = model.read(window)
    assert sorted(ids(pages)) == ["i12", "i13"]
    assert [page.said for page in pages] == [None] * len(pages)
    # In order nothing is asked for that lies behind the end.
    assert len(model.requests) < 8 or order == "none"


def test_what_the_platform_cannot_leave_out_ends_the_window() -> None:
    model = Model(platform_of("time", filter_lines='from = "since"'), made(*range(1, 21)))
    pages = model.read(Window(EPOCH, EPOCH + timedelta(seconds=5)))
    assert ids(pages) == ["i0", "i1", "i2", "i3"]
    assert pages[-1].read_until == EPOCH + timedelta(seconds=5)
    assert (len(pages), pages[-1].more) == (2, False)


@pytest.mark.parametrize("pagination", ["offset", "page"])
def test_what_is_taken_away_meanwhile(pagination: str) -> None:
    model = Model(platform_of(pagination), made(*range(1, 12)))
    model._before = lambda request: model.items.pop(0) if request == 3 else None
    found = set(ids(model.read(OPEN)))
    missed = {one.id for one in model.items} - found
    # By offset the hole is noticed, and gone back to. Numbered pages can't overlap: the count tells, of a second look.
    assert missed == (set() if pagination == "offset" else {"i6"})


def test_a_list_that_shrinks_to_nothing_ends() -> None:
    model = Model(platform_of("offset"), made(*range(1, 30)))
    model._before = lambda request: model.items.clear() if request == 4 else None
    assert len(model.read(OPEN)) < 20


@pytest.mark.parametrize("pagination", ["cursor", "link", "last_id", "page", "offset"])
def test_the_platforms_word_that_there_is_more_counts(pagination: str) -> None:
    platform = platform_of(pagination, settings='has_more = "paging.more"\n')
    model = Model(platform, made(1, 2, 3, 4))
    position = model.read(OPEN)[0].position
    nothing = b'{"data":{"list":[]},"paging":{"more":true}}'
    for flag, is_more in ((b"true", True), (b"false", False)):
        page = model.pager.read(OPEN, position, nothing.replace(b"true", flag), {})
        if pagination == "offset":
            # First the list is looked at again: it has become shorter.
            page = model.pager.read(OPEN, page.position, nothing.replace(b"true", flag), {})
        assert (page.position, page.more, page.items) == (None, is_more, []), "incomplete, if there is more"


@pytest.mark.parametrize("settings", ["", 'has_more = "paging.more"\n'])
def test_more_of_one_time_than_a_page_holds(settings: str) -> None:
    seconds = [1, 2] + [3] * 20 + [4, 5, 6, 7]
    model = Model(platform_of("time", settings=settings + "page_size_max = 40\n"), made(*seconds))
    pages = model.read(OPEN)
    assert sorted(ids(pages)) == sorted(one.id for one in model.items)
    limits = [int(url.partition("limit=")[2].partition("&")[0]) for url in model.requests]
    assert max(limits) == 24, "twice as large, and again, until there is something new"
    assert limits[-1] == 3 or settings, "no larger than is needed"
    with pytest.raises(Refused, match=r"more events at 2026-10-01T00:00:03Z than a page of 12 holds"):
        Model(platform_of("time", settings="page_size_max = 12\n"), made(*seconds)).read(OPEN)
    with pytest.raises(Refused, match=r"than a page of 3 holds"):
        Model(platform_of("time"), made(*seconds)).read(OPEN)


@pytest.mark.parametrize("form", ["epoch_seconds", "epoch_milliseconds", "rfc3339", "date"])
def test_formats_coarser_than_the_times(form: str) -> None:
    day = 24 * 60 * 60
    seconds = [1, 2, 2, 3, day + 1, day + 2, day + 3, 3 * day]
    lines = f'from = "since"\nuntil = "until"\nformat = "{form}"'
    model = Model(platform_of("time", filter_lines=lines, settings="page_size_max = 100\n"), made(*seconds))
    assert sorted(ids(model.read(OPEN))) == [f"i{place}" for place in range(8)]


# What leads nowhere.


def answered(model: Model, *bodies: bytes, link: str = "") -> None:
    """Reads the bodies in turn, the last for ever, until it ends or is refused."""
    position = None
    for turn in range(10_000):
        body = bodies[min(turn, len(bodies) - 1)].replace(b"TURN", str(turn).encode())
        headers = {"link": link.replace("TURN", str(turn))} if link else {}
        position = model.pager.read(OPEN, position, body, headers).position
        if position is None:
            return
    raise AssertionError("it does not end")


def listing(*names: str, paging: bytes = b"{}") -> bytes:
    items = b",".join(b'{"id":"%b","time":"2026-10-01T00:00:01Z"}' % name.encode() for name in names)
    return b'{"data":{"list":[%b]},"paging":%b}' % (items, paging)


@pytest.mark.parametrize("length", [1, 2, 3, 7, 100])
def test_cursors_that_lead_in_a_circle(length: int) -> None:
    bodies = [
        listing(f"a{turn}", paging=b'{"next":"c%d"}' % (turn if turn < 5 else 5 + (turn - 5) % length))
        for turn in range(5 + 3 * length + 300)
    ]
    with pytest.raises(Refused, match="lead in a circle"):
        answered(Model(platform_of("cursor", order="none"), []), *bodies)


def test_links_that_lead_in_a_circle() -> None:
    with pytest.raises(Refused, match="lead in a circle"):
        answered(Model(platform_of("link"), []), listing("a"), link='</api/events?page=2>; rel="next"')
    with pytest.raises(Refused, match="lead in a circle"):
        answered(Model(platform_of("last_id"), []), listing("a", "b"))


@pytest.mark.parametrize("pagination", ["cursor", "page", "offset", "link_in_body"])
def test_the_same_page_for_ever(pagination: str) -> None:
    body = listing("a", "b", paging=b'{"next":"cTURN","url":"/x?TURN"}')
    with pytest.raises(Refused, match="go on without bringing anything new"):
        answered(Model(platform_of(pagination, order="none"), []), body)


def test_the_same_few_pages_for_ever() -> None:
    bodies = [listing(f"a{turn % 5}", f"b{turn % 5}", paging=b'{"next":"c%d"}' % turn) for turn in range(200)]
    with pytest.raises(Refused, match="go on without bringing anything new"):
        answered(Model(platform_of("cursor", order="none"), []), *bodies)


def test_the_same_items_at_ever_later_times() -> None:
    model = Model(platform_of("time"), [])
    bodies = [
        b'{"data":{"list":[{"id":1,"time":%d},{"id":2,"time":%d}]}}' % (1790812800 + turn, 1790812801 + turn)
        for turn in range(20)
    ]
    with pytest.raises(Refused, match="go on without bringing anything new"):
        answered(model, *bodies)


def test_a_next_page_that_is_promised_and_empty() -> None:
    model = Model(platform_of("cursor", order="none"), [])
    position = model.pager.read(OPEN, None, listing("a", paging=b'{"next":"c"}'), {}).position
    page = model.pager.read(OPEN, position, listing(paging=b'{"next":"c"}'), {})
    assert (page.position, page.more) == (None, True), "incomplete"


def test_empty_pages_for_ever() -> None:
    model = Model(platform_of("cursor", order="none"), [])
    with pytest.raises(Refused, match="go on without bringing anything new"):
        answered(model, listing(paging=b'{"next":"cTURN"}'))
    # A few are nothing bad.
    few = [listing(paging=b'{"next":"cTURN"}')] * (IDLE_PAGES - 1)
    answered(model, *few, listing("a", paging=b'{"next":"d"}'), *few, listing())


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/api/events?page=2",
        "http://shop.example/api/events?page=2",
        "https://shop.example:8443/api/events",
        "//evil.example/",
        "https://user@shop.example/",
        "https://shop.example@evil.example/",
        "https://[::1/",
        "file:///etc/passwd",
    ],
)
def test_a_next_page_somewhere_else(url: str) -> None:
    for pagination, body, link in [
        ("link", listing("a"), f'<{url}>; rel="next"'),
        ("link_in_body", listing("a", paging=b'{"url":"%b"}' % url.encode()), ""),
    ]:
        with pytest.raises(Refused, match="URL of the next page"):
            answered(Model(platform_of(pagination), []), body, link=link)


def test_a_next_page_by_a_relative_url_and_with_the_usual_port() -> None:
    model = Model(platform_of("link"), [])
    for url in ("?page=2", "/api/events?page=2", "https://SHOP.example:443/api/events?page=2#top"):
        page = model.pager.read(OPEN, None, listing("a"), {"LINK": f'<{url}>; rel="next"'})
        assert model.pager.request(OPEN, page.position).url == "https://shop.example/api/events?page=2"


def test_a_cursor_that_is_none() -> None:
    model = Model(platform_of("cursor"), [])
    for paging in (b"{}", b'{"next":null}', b'{"next":""}', b'{"next":false}', b"null"):
        assert model.pager.read(OPEN, None, listing("a", paging=paging), {}).position is None
    page = model.pager.read(OPEN, None, listing("a", paging=b'{"next":17}'), {})
    assert "after=17" in model.pager.request(OPEN, page.position).url
    with pytest.raises(Refused, match=r"at 'paging.next' is no text"):
        model.pager.read(OPEN, None, listing("a", paging=b'{"next":{}}'), {})


def test_a_list_in_another_order_than_its_mapping_says() -> None:
    body = b'{"data":{"list":[{"id":1,"time":"2026-10-01T00:00:02Z"},{"id":2,"time":"2026-10-01T00:00:01Z"}]}}'
    for pagination in ("time", "cursor"):
        with pytest.raises(Refused, match="not in the order of time"):
            Model(platform_of(pagination), []).pager.read(OPEN, None, body, {})


def test_a_position_of_another_way_of_paging_is_none() -> None:
    position = Model(platform_of("page"), made(1, 2, 3, 4, 5)).read(OPEN)[0].position
    for text in (position, '["2026-10-01T00:00:00.000Z",["a"]]', "{", '{"kind":"offset","colour":1}'):
        pager = Model(platform_of("offset"), []).pager
        assert pager.request(OPEN, text) == pager.request(OPEN, None)


@given(st.integers(0, 50), st.integers(1, 50))
def test_every_circle_is_found_and_nothing_else(before: int, length: int) -> None:
    trail: Trail | None = Trail()
    for step in range(before):
        assert trail
        trail = trail.step(f"before {step}")
    for step in range(4 * (before + length) + 8):
        assert trail, "found too early" if step < length else ""
        trail = trail.step(f"circle {step % length}")
        if trail is None:
            assert step >= length
            return
    raise AssertionError("the circle was not found")
