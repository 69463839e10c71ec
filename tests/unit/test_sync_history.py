"""The built-in histories: what is asked of each platform, what is read of its answers, and what is no answer."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from services.ingest.mapping import Incoming, Mapped, Mapper
from services.sync.connectors import Page, Refused, TryLater, Unreadable, Window
from services.sync.connectors.paging import Pager
from shared.platforms import platforms
from tests.history_model import platform_of

START = datetime(2026, 10, 1, tzinfo=UTC)
DAY = Window(START, START + timedelta(days=1))
OPEN = Window(START, None)


def pager(name: str, **parameters: str) -> Pager:
    return Pager(platforms()[name], "https://shop.example/", parameters)


def grapfy() -> Pager:
    return pager("grapfy", webhookSettingId="a b+c&d")


def asked(made: Pager, window: Window, position: str | None = None) -> tuple[str, list[tuple[str, str]]]:
    """The path and the query."""
    parts = urlsplit(made.request(window, position).url)
    assert (parts.scheme, parts.netloc, parts.fragment) == ("https", "shop.example", "")
    return parts.path, parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)


def read(body: bytes, position: str | None = None, window: Window = OPEN) -> Page:
    return grapfy().read(window, position, body, {})


def item(id_: str | int, second: int = 1, payload: bytes = b"{}", **members: Any) -> bytes:
    rest = {"id": id_, "createdAt": f"2026-10-01T00:00:{second:02}.000Z", "eventType": "lead_created", **members}
    return b'{"payload":%b,%b' % (payload, json.dumps(rest).encode()[1:])


def body(*items: bytes) -> bytes:
    return b'{"events":[%b]}' % b",".join(items)


def test_grapfy() -> None:
    made = grapfy()
    common = [("webhookSettingId", "a b+c&d")]
    assert asked(made, DAY) == ("/webhook-events", [*common, ("since", "2026-10-01T00:00:00.000Z"), ("limit", "100")])
    page = read(body(item("a", 1, b'"a"'), item("b", 2, b'"b"'), item("c", 2, b'"c"')))
    assert [(one.id, one.payload, one.platform) for one in page.items] == [
        ("a", b'"a"', ""),
        ("b", b'"b"', ""),
        ("c", b'"c"', ""),
    ]
    assert [one.moment for one in page.items] == [START + timedelta(seconds=second) for second in (1, 2, 2)]
    assert (page.read_until, page.said, page.more) == (START + timedelta(seconds=2), None, False)
    # The next page begins at the last time, as it was written, and knows what was read of it.
    assert asked(made, DAY, page.position)[1][1] == ("since", "2026-10-01T00:00:02.000Z")
    following = read(body(item("b", 2), item("c", 2), item("d", 2), item("b", 3)), page.position)
    assert [one.id for one in following.items] == ["d", "b"], "an id of one time is another one at another"
    for end in (body(), body(item("b", 3))):
        last = read(end, following.position)
        assert (last.items, last.position, last.more) == ([], None, False)
    assert made.windows(START, None, START + timedelta(days=99)) == [OPEN], "it can't be asked for an upper time"


def test_a_platform_that_pays_no_heed_to_the_time_asked_for() -> None:
    names = [item(f"i{place}", 1 + place // 2) for place in range(100)]
    # The page has what was seen of its last time, too, and then as many that lie before it.
    page = read(body(*(item(f"i{place}", 59) for place in range(2))))
    with pytest.raises(Refused, match="does not begin at the time asked for"):
        read(body(*names), page.position)
    # One that lists less than a page has just come to its end.
    assert read(body(*names[:3]), read(body(*names[:3])).position).position is None


def test_stripe() -> None:
    made = pager("stripe")
    window = Window(START, START + timedelta(days=1))
    assert asked(made, window) == (
        "/v1/events",
        [("created[gte]", "1790812800"), ("created[lt]", "1790899200"), ("limit", "100")],
    )
    assert "created%5Bgte%5D=" in made.request(window, None).url
    events = [
        b'{"id":"evt_2","object":"event","created":1790812802,"type":"payout.paid","data":{"object":{"amount":5}}}',
        b'{"id":"evt_1", "object":"event","created":1790812801,"type":"payout.paid","data":{"object":{"amount":4}}}',
    ]
    answer = b'{"object":"list","data":[%b],"has_more":true,"url":"/v1/events"}' % b",".join(events)
    page = made.read(window, None, answer, {})
    assert [one.payload for one in page.items] == events, "byte for byte"
    assert [one.moment for one in page.items] == [START + timedelta(seconds=2), START + timedelta(seconds=1)]
    assert (page.read_until, page.more, page.said) == (None, True, None)
    assert asked(made, window, page.position)[1][-1] == ("starting_after", "evt_1")
    assert made.read(window, page.position, answer.replace(b"true", b"false"), {}).position is None
    # As ingest will date them.
    [event] = [Mapper(platforms(), 1 << 20).map(Incoming("stripe", "", events[0]))]
    assert isinstance(event, Mapped)
    assert made.times_match
    assert event.occurred_time == page.items[0].moment


def test_shopify() -> None:
    made = pager("shopify")
    filtered = [
        ("status", "any"),
        ("updated_at_min", "2026-10-01T00:00:00.000Z"),
        ("updated_at_max", "2026-10-02T00:00:00.000Z"),
    ]
    assert asked(made, DAY) == ("/admin/api/2025-07/orders.json", [*filtered, ("limit", "250")])
    count = made.count_request(DAY)
    assert count
    assert urlsplit(count.url).path == "/admin/api/2025-07/orders/count.json"
    assert parse_qsl(urlsplit(count.url).query) == filtered
    assert made.read_count(b'{"count":17}') == 17
    with pytest.raises(Refused, match=r"answers with an error: Not found"):
        made.read_count(b'{"errors":"Not found"}')
    with pytest.raises(Refused, match=r"has no number at 'count'"):
        made.read_count(b'{"count":"many"}')
    order = b'{"id":5901234567892,"updated_at":"2026-10-01T09:15:00-03:00","total_price":"80.00"}'
    link = "https://shop.example/admin/api/2025-07/orders.json?limit=250&page_info=abc%3D"
    page = made.read(DAY, None, b'{"orders":[%b]}' % order, {"Link": f'<{link}>; rel="next"'})
    assert [(one.id, one.payload) for one in page.items] == [("5901234567892", order)]
    assert page.items[0].moment == datetime(2026, 10, 1, 12, 15, tzinfo=UTC)
    assert made.request(DAY, page.position).url == link, "nothing else may be asked beside it"
    assert made.read(DAY, page.position, b'{"orders":[]}', {}).position is None
    other = pager("shopify", api_version="2026-01")
    assert asked(other, DAY)[0] == "/admin/api/2026-01/orders.json"
    assert not made.times_match, "a webhook's order is dated by its header"


def test_hotmart() -> None:
    made = pager("hotmart_sales")
    path, query = asked(made, DAY)
    assert path == "/payments/api/v1/sales/history"
    statuses = [value for name, value in query if name == "transaction_status"]
    assert len(statuses) == 17
    assert set(platforms()["hotmart_sales"].types) & set(statuses) >= {"APPROVED", "REFUNDED", "CHARGEBACK"}
    assert query[17:] == [("start_date", "1790812800000"), ("end_date", "1790899200000"), ("max_results", "100")]
    sale = b'{"purchase":{"transaction":"HP1","order_date":1790812800123,"status":"APPROVED"},"buyer":{"name":"Ana"}}'
    answer = b'{"items":[%b],"page_info":{"total_results":3,"next_page_token":"abc=="}}' % sale
    page = made.read(DAY, None, answer, {})
    assert [(one.id, one.moment, one.payload) for one in page.items] == [
        ("HP1", START + timedelta(milliseconds=123), sale)
    ]
    assert page.said == 3
    assert asked(made, DAY, page.position)[1][-1] == ("page_token", "abc==")
    page = made.read(DAY, page.position, b'{"items":[],"page_info":{"results_per_page":100}}', {})
    assert (page.position, page.said) == (None, None)
    with pytest.raises(Refused, match="answers with an error: invalid_token"):
        made.read(DAY, None, b'{"error":"invalid_token","error_description":"Ana, 123.456.789-00"}', {})


def test_another_hookline_is_not_read_over_http() -> None:
    with pytest.raises(ValueError, match="no history of hookline to read over HTTP"):
        pager("hookline", company_id="acme")
    with pytest.raises(ValueError, match="no history of generic"):
        pager("generic")


def test_the_base_urls_own_path_stays() -> None:
    made = Pager(platforms()["stripe"], "https://proxy.example/stripe/eu", {})
    assert made.request(OPEN, None).url.startswith("https://proxy.example/stripe/eu/v1/events?created")
    with_link = Pager(platforms()["shopify"], "https://proxy.example/shop", {})
    link = {"Link": '<https://proxy.example/elsewhere?page_info=1>; rel="next"'}
    position = with_link.read(OPEN, None, b'{"orders":[]}', link).position
    assert with_link.request(OPEN, position).url == "https://proxy.example/elsewhere?page_info=1"


def test_a_parameter_can_lead_nowhere_else() -> None:
    made = pager("shopify", api_version="../../x?y#z/é")
    assert asked(made, OPEN)[0] == "/admin/api/..%2F..%2Fx%3Fy%23z%2F%C3%A9/orders.json"


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
    [one] = read(body(item("a", payload=payload))).items
    assert one.payload == payload
    # And where the item itself is the payload.
    whole = item("a", payload=payload).replace(b'"createdAt"', b'"time"')
    made = Pager(platform_of("cursor"), "https://shop.example", {})
    [one] = made.read(OPEN, None, b'{"data":{"list":[ %b\n]}}' % whole, {}).items
    assert one.payload == whole


def test_where_the_body_is_the_list_and_there_are_no_times() -> None:
    platform = platform_of("page", order="none", fields='id = "event.id"\npayload = "event.body"\n', filter_lines="")
    made = Pager(platform, "https://shop.example", {})
    page = made.read(OPEN, None, b'[{"event":{"id":7,"body":[1]}}]', {})
    assert [(one.id, one.moment, one.payload) for one in page.items] == [("7", None, b"[1]")]
    assert page.position
    assert made.read(OPEN, page.position, b"[]", {}).position is None
    with pytest.raises(Refused, match="is no list"):
        made.read(OPEN, None, b"{}", {})
    with pytest.raises(Refused, match="answers with an error: denied"):
        made.read(OPEN, None, b'{"error":"denied"}', {})


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ('"2026-10-01T00:00:01"', START + timedelta(hours=3, seconds=1)),
        ('"2026-10-01T00:00:01.000001-02:00"', START + timedelta(hours=2, seconds=1, microseconds=1)),
        ("1790812801", START + timedelta(seconds=1)),
        ("1790812801123", START + timedelta(seconds=1, milliseconds=123)),
        ("1790812801.5", START + timedelta(seconds=1, milliseconds=500)),
    ],
)
def test_times_are_read_as_ingest_reads_them(written: str, moment: datetime) -> None:
    given = b'{"id":1,"createdAt":%b,"payload":{}}' % written.encode()
    assert [one.moment for one in read(body(given)).items] == [moment]


@pytest.mark.parametrize(
    "answer",
    [
        *(b"", b"{", b'{"events":[{"id":"a"', b"<html>Bad gateway</html>", b'{"events":[]}{', b"[1,", b"nul"),
        *(b'{"events":' + b"[" * 100_000, b"[" * 100_000),
    ],
)
def test_an_answer_that_is_not_whole_may_get_better(answer: bytes) -> None:
    with pytest.raises(Unreadable, match="not whole JSON"):
        read(answer)
    assert issubclass(Unreadable, TryLater)


def test_every_beginning_of_an_answer_is_not_whole() -> None:
    answer = body(item("a", payload=b'{"name":"\xc3\xa7"}'), item("b"))
    for length in range(len(answer)):
        with pytest.raises(Unreadable):
            read(answer[:length])


LACKING = "lacks its id, time or payload"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"[]", "has no 'events'; it is no object"),
        (b'"events"', "it is no object"),
        (b"null", "it is no object"),
        (b"{}", "has no 'events'; it has nothing else"),
        (b'{"status":1,"data":[]}', "has no 'events'; it has: data, status"),
        (b'{"events":null}', "has no 'events'; it has: events"),
        (b'{"events":{"a":1}}', "has no list at 'events'"),
        (b'{"events":[1]}', LACKING),
        (body(b'{"id":"a","payload":{}}'), LACKING),
        (body(b'{"id":"a","createdAt":"2026-10-01T00:00:00Z"}'), LACKING),
        (body(item("a", createdAt="yesterday")), LACKING),
        (body(item("a", createdAt=[])), LACKING),
        (body(item("a", createdAt=10**30)), LACKING),
        (body(item("")), LACKING),
        (body(item("a" * 501)), LACKING),
        (body(item("a\0")), LACKING),
        (body(b'{"id":null,"createdAt":"2026-10-01T00:00:00Z","payload":{}}'), LACKING),
        (body(b'{"id":"a","createdAt":null,"payload":{}}'), LACKING),
    ],
)
def test_an_answer_that_is_no_page_needs_a_person(answer: bytes, says: str) -> None:
    with pytest.raises(Refused, match=says):
        read(answer)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ("something went wrong", "error: something went wrong."),
        ("rate_limit.exceeded-1", "error: rate_limit.exceeded-1."),
        (["first", "second"], "error: first."),
        ({"type": "api_error", "message": "Ana Souza, ana@example.com"}, "error: api_error."),
        ({"mensagem": "A conta de Ana Souza"}, "an error that has: mensagem."),
        ({"code": 403, "message": "No"}, "error: 403."),
        ([{"code": "bad"}], "error: bad."),
        (True, "with an error."),
        ("Ana Souza", "with an error."),
        ("ana@example.com", "with an error."),
        ("cpf 123.456.789-00", "with an error."),
        ("12345678900", "with an error."),
        ({"12345678900": 1, "Ana Souza": 2}, "with an error."),
        ("x" * 61, "with an error."),
        ("a " * 40 + "b", "with an error."),
        ("<b>no</b>", "with an error."),
        ("line\nbreak", "with an error."),
    ],
)
def test_what_a_platform_says_is_wrong_is_shown_as_far_as_it_can_be_nobodys(error: Any, says: str) -> None:
    with pytest.raises(Refused) as caught:
        read(json.dumps({"error": error, "events": []}).encode())
    assert str(caught.value).startswith("The platform answers with an error")
    assert str(caught.value).endswith(says)


@pytest.mark.parametrize("nothing", [b"null", b"false", b'""', b"[]", b"{}"])
def test_an_error_that_is_none(nothing: bytes) -> None:
    assert read(b'{"error":%b,"events":[]}' % nothing).items == []


def test_what_is_said_of_a_bad_answer_holds_nothing_of_its_values() -> None:
    with pytest.raises(Refused) as caught:
        read('{"message":"Ana Conceição 123.456.789-00","Ana Souza":1,"123.456.789-00":2}'.encode())
    assert str(caught.value) == "The platform's answer has no 'events'; it has: message."


def test_a_run_begins_no_later_than_its_start_time() -> None:
    moment = datetime(2026, 10, 1, 9, 0, 0, 123_999, tzinfo=timezone(timedelta(hours=-3)))
    assert ("since", "2026-10-01T12:00:00.123Z") in asked(grapfy(), Window(moment, None))[1]
