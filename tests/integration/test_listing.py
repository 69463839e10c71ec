"""Lists: filters, orders, pages that show each event once, tokens good for their own request only."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from hookline.events.v1 import events_pb2
from hookline.events.v1.events_pb2 import Event, EventFilter
from hookline.export.v1 import event_query_service_pb2 as pb
from hookline.ingest.v1.ingest_service_pb2 import MarkEventsRequest
from services.export import listing
from shared.db import Connection
from tests.exports import CSV, NDJSON, exact, exported
from tests.in_process import Exporting, Ingesting
from tests.refusals import refused
from tests.samples import grapfy, incoming, send

OLDEST, NEWEST = events_pb2.EVENT_ORDER_OLDEST_FIRST, events_pb2.EVENT_ORDER_NEWEST_FIRST
START = datetime(2026, 10, 1, tzinfo=UTC)


async def listed(export: Exporting, company: str = "acme", **request: Any) -> pb.ListEventsResponse:
    return await export.query.ListEvents(pb.ListEventsRequest(company_id=company, **request))


async def all_pages(export: Exporting, **request: Any) -> list[Event]:
    events: list[Event] = []
    token = ""
    while True:
        page = await listed(export, page_token=token, **request)
        events += page.events
        token = page.next_page_token
        if not token:
            return events


def sequences(events: Iterable[Event]) -> list[int]:
    return [event.sequence for event in events]


@pytest.fixture
async def stored(ingest: Ingesting) -> Sequence[str]:
    """300 events of three types, two sources, a minute apart; every sixth is processed, every sixth failed."""
    events = [
        incoming(
            grapfy(
                number,
                eventType=("pix_created", "order_approved", "lead_created")[number % 3],
                createdAt=(START + timedelta(minutes=number)).isoformat(),
            ),
            source=("shop_1", "shop_2")[number // 150],
        )
        for number in range(300)
    ]
    ids = [result.event_id for result in await send(ingest.stub, "acme", events)]
    await send(ingest.stub, "bolt", events)
    for start, status in ((0, "PROCESSED"), (1, "FAILED")):
        marks = [
            MarkEventsRequest.Mark(event_id=one, status=f"PROCESSING_STATUS_{status}")  # type: ignore[arg-type]
            for one in ids[start::6]
        ]
        await ingest.stub.MarkEvents(MarkEventsRequest(company_id="acme", marks=marks))
    return ids


def between(start: datetime | None = None, end: datetime | None = None, kind: str = "occurred") -> EventFilter:
    which = EventFilter()
    if start:
        getattr(which, f"{kind}_start_time").FromDatetime(start)
    if end:
        getattr(which, f"{kind}_end_time").FromDatetime(end)
    return which


PROCESSED, FAILED, PENDING = (
    events_pb2.PROCESSING_STATUS_PROCESSED,
    events_pb2.PROCESSING_STATUS_FAILED,
    events_pb2.PROCESSING_STATUS_PENDING,
)
SOME_MINUTES = START + timedelta(minutes=10), START + timedelta(minutes=20)
FILTERS = {
    "nothing": (EventFilter(), range(300)),
    "a type": (EventFilter(types=["pix_created"]), range(0, 300, 3)),
    "types": (EventFilter(types=["lead_created", "nope", "pix_created"]), [n for n in range(300) if n % 3 != 1]),
    "a source": (EventFilter(sources=["shop_2"]), range(150, 300)),
    "a type of a source": (EventFilter(types=["pix_created"], sources=["shop_1"]), range(0, 150, 3)),
    "processed": (EventFilter(statuses=[PROCESSED]), range(0, 300, 6)),
    "not processed": (EventFilter(statuses=[PENDING, FAILED]), [n for n in range(300) if n % 6]),
    "pending": (EventFilter(statuses=[PENDING]), [n for n in range(300) if n % 6 > 1]),
    "occurred since": (between(SOME_MINUTES[0]), range(10, 300)),
    "occurred until": (between(None, SOME_MINUTES[1]), range(20)),
    "occurred between": (between(*SOME_MINUTES), range(10, 20)),
    "nothing matches": (EventFilter(types=["nope"]), []),
    "everything at once": (
        EventFilter(
            types=["pix_created"],
            sources=["shop_1"],
            statuses=[PROCESSED],
            occurred_start_time=between(SOME_MINUTES[0]).occurred_start_time,
        ),
        range(12, 150, 6),
    ),
    "injection": (EventFilter(types=["' OR true --", "\\' OR true --"], sources=["'; DROP TABLE events"]), []),
}


async def test_filters_let_through_what_matches_in_lists_and_exports(stored: Sequence[str], export: Exporting) -> None:
    for case, (which, numbers) in FILTERS.items():
        expected = [stored[number] for number in numbers]
        events = await all_pages(export, filter=which, order=OLDEST, page_size=70)
        assert [event.event_id for event in events] == expected, case
        for file_format in (CSV, NDJSON):
            file = await exported(export.export, "acme", file_format, filter=which)
            rows = file.csv() if file_format == CSV else file.json()
            assert [row["event_id"] for row in rows] == expected, case
        newest = await exported(export.export, "acme", CSV, filter=which, limit=7)
        assert [row["event_id"] for row in newest.csv()] == expected[::-1][:7], case


async def test_received_times_filter_too(stored: Sequence[str], export: Exporting, ingest: Ingesting) -> None:
    later = await send(ingest.stub, "acme", [grapfy(f"later {number}") for number in range(5)])
    [newest] = (await listed(export, page_size=1)).events
    moment = newest.received_time.ToDatetime(UTC)
    since = between(moment, None, "received")
    until = between(None, moment, "received")
    assert [event.event_id for event in await all_pages(export, filter=since, order=OLDEST)] == [
        result.event_id for result in later
    ]
    assert [event.event_id for event in await all_pages(export, filter=until, order=OLDEST)] == stored
    for which, count in ((since, 5), (until, 300)):
        assert len((await exported(export.export, "acme", CSV, filter=which)).csv()) == count


async def test_pages_show_each_event_once_in_either_order(stored: Sequence[str], export: Exporting) -> None:
    assert sequences((await listed(export)).events) == list(range(300, 200, -1))
    for size in (1, 7, 100, 299, 300, 301, 1000):
        requested = {"page_size": size} if size > 1 else {"page_size": 1, "filter": EventFilter(sources=["shop_1"])}
        last = 300 if size > 1 else 150
        assert sequences(await all_pages(export, order=OLDEST, **requested)) == list(range(1, last + 1))
        assert sequences(await all_pages(export, order=NEWEST, **requested)) == list(range(last, 0, -1))


async def test_events_that_come_while_someone_pages_are_not_shown(
    stored: Sequence[str], export: Exporting, ingest: Ingesting
) -> None:
    for order, expected in ((OLDEST, list(range(1, 301))), (NEWEST, list(range(300, 0, -1)))):
        company = "acme" if order == OLDEST else "bolt"
        seen, token = [], ""
        while True:
            page = await listed(export, company, order=order, page_size=64, page_token=token)
            seen += sequences(page.events)
            token = page.next_page_token
            if not token:
                break
            await send(ingest.stub, company, [grapfy(f"{token}{number}") for number in range(10)])
        assert seen == expected


async def test_page_sizes_have_a_default_and_a_cap(ingest: Ingesting, export: Exporting) -> None:
    await send(ingest.stub, "acme", map(grapfy, range(1001)))
    assert len((await listed(export)).events) == 100
    assert len((await listed(export, page_size=2**31 - 1)).events) == 1000
    refusal = await refused(listed(export, page_size=-1))
    assert list(refusal.violations) == ["page_size"]


async def test_each_call_looks_through_a_bounded_number_of_events(
    ingest: Ingesting, export: Exporting, connection: Connection
) -> None:
    # Far apart, as when a company's log is long and few events match: made up, since only the numbers matter.
    await send(ingest.stub, "acme", [grapfy(0), grapfy(1)])
    await connection.execute("UPDATE hookline.events SET sequence = 100000 WHERE sequence = 2")
    await connection.execute("UPDATE hookline.companies SET last_sequence = 150000")
    which = EventFilter(min_total="1")
    for order, expected in ((NEWEST, [100_000, 1]), (OLDEST, [1, 100_000])):
        pages, token = [], ""
        while True:
            page = await listed(export, filter=which, order=order, page_token=token)
            pages.append(sequences(page.events))
            token = page.next_page_token
            if not token:
                break
        assert [number for page_of in pages for number in page_of] == expected
        assert [] in pages, "a page may be empty and still have a next one"
        assert len(pages) == 8


OTHERS = [{}, {"types": ["order_approved"]}, {"payload_contains": '{"total": 197.9}'}]


@pytest.mark.parametrize("others", OTHERS)
async def test_received_times_lead_to_where_in_the_log_their_events_are(
    ingest: Ingesting, export: Exporting, others: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MAX_SPAN", 2)
    for number in range(8):
        await send(ingest.stub, "acme", [grapfy(number)])
    moments = [event.received_time.ToDatetime(UTC) for event in await all_pages(export, order=OLDEST)]
    cases = {
        (moments[2], moments[4]): [3, 4],
        (moments[6], None): [7, 8],
        (None, moments[2]): [1, 2],
        (moments[7] + timedelta(days=1), None): [],
        (None, moments[0]): [],
    }
    for times, expected in cases.items():
        which = between(*times, kind="received")
        which.MergeFrom(EventFilter(**others))
        for order, ordered in ((OLDEST, expected), (NEWEST, expected[::-1])):
            page = await listed(export, filter=which, order=order, page_size=2)
            assert (sequences(page.events), page.next_page_token) == (ordered, ""), "all in one call"
            assert sequences(await all_pages(export, filter=which, order=order, page_size=1)) == ordered


@pytest.mark.parametrize("others", OTHERS)
async def test_times_of_occurring_lead_to_where_in_the_log_their_events_are(
    ingest: Ingesting, export: Exporting, connection: Connection, others: dict[str, Any]
) -> None:
    # Late ones among those that occurred later, and all far apart, as above.
    minutes = [0, 1, 2, 3, 10, 11, 4, 12]
    events = [grapfy(minute, createdAt=(START + timedelta(minutes=minute)).isoformat()) for minute in minutes]
    for event in events:
        await send(ingest.stub, "acme", [event])
    await connection.execute("UPDATE hookline.events SET sequence = sequence * 100000")
    await connection.execute("UPDATE hookline.companies SET last_sequence = 900000")
    cases = {
        (START + timedelta(minutes=2), START + timedelta(minutes=10)): [300_000, 400_000, 700_000],
        (START + timedelta(minutes=11), None): [600_000, 800_000],
        (None, START + timedelta(minutes=2)): [100_000, 200_000],
        (START - timedelta(days=2), START - timedelta(days=1)): [],
    }
    for times, expected in cases.items():
        which = between(*times)
        which.MergeFrom(EventFilter(**others))
        for order, ordered in ((OLDEST, expected), (NEWEST, expected[::-1])):
            page = await listed(export, filter=which, order=order)
            assert (sequences(page.events), page.next_page_token) == (ordered, ""), "all in one call"
            assert sequences(await all_pages(export, filter=which, order=order, page_size=1)) == ordered


async def test_back_from_the_last_page_there_is_what_was_before(stored: Sequence[str], export: Exporting) -> None:
    for which in (between(*SOME_MINUTES), between(datetime(2020, 1, 1, tzinfo=UTC), None, "received")):
        first = await listed(export, filter=which, page_size=4)
        second = await listed(export, filter=which, page_size=4, page_token=first.next_page_token)
        back = await listed(export, filter=which, page_size=4, page_token=second.previous_page_token)
        assert sequences(back.events) == sequences(first.events)
        assert not first.previous_page_token


async def test_of_many_that_occurred_in_a_time_each_call_finds_some(
    stored: Sequence[str], export: Exporting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MAX_SPAN", 50)
    for most in (5, 10, 100):
        monkeypatch.setattr(listing, "MAX_OCCURRED", most)
        for order, expected in ((OLDEST, list(range(11, 21))), (NEWEST, list(range(20, 10, -1)))):
            assert sequences(await all_pages(export, filter=between(*SOME_MINUTES), order=order)) == expected


async def test_the_payload_comes_only_when_asked_for(ingest: Ingesting, export: Exporting) -> None:
    payload = grapfy(x=[1, 2.50, "é"])
    await send(ingest.stub, "acme", [payload])
    for view, expected in ((pb.EVENT_VIEW_UNSPECIFIED, b""), (pb.EVENT_VIEW_BASIC, b"")):
        [event] = (await listed(export, view=view)).events
        assert event.payload == expected
    [event] = (await listed(export, view=pb.EVENT_VIEW_FULL)).events
    assert exact(event.payload) == exact(payload)
    refusal = await refused(listed(export, view=9))
    assert list(refusal.violations) == ["view"]


async def test_a_full_page_ends_when_its_payloads_come_to_8_mib(ingest: Ingesting, export: Exporting) -> None:
    payloads = [grapfy(number, x=str(number % 10) * 1_000_000) for number in range(20)]
    for start in (0, 10):
        await send(ingest.stub, "acme", payloads[start : start + 10])
    for order in (OLDEST, NEWEST):
        page = await listed(export, view=pb.EVENT_VIEW_FULL, order=order)
        assert 8 * 2**20 <= sum(len(event.payload) for event in page.events) < 10 * 2**20
        events = await all_pages(export, view=pb.EVENT_VIEW_FULL, order=order)
        assert sequences(events) == (list(range(1, 21)) if order == OLDEST else list(range(20, 0, -1)))


async def test_a_token_is_good_for_its_own_request_only(stored: Sequence[str], export: Exporting) -> None:
    token = (await listed(export, page_size=10)).next_page_token
    assert token
    # Size and view may change from page to page.
    assert sequences((await listed(export, page_size=3, view=pb.EVENT_VIEW_FULL, page_token=token)).events) == [
        290,
        289,
        288,
    ]
    wrong: list[dict[str, Any]] = [
        {"company": "bolt", "page_token": token},
        {"order": OLDEST, "page_token": token},
        {"filter": EventFilter(types=["pix_created"]), "page_token": token},
        {"filter": between(START), "page_token": token},
        {"page_token": token[:-1]},
        {"page_token": token + "A"},
        {"page_token": "A" + token},
        {"page_token": "é"},
        {"page_token": "x" * 10_000},
    ]
    for request in wrong:
        refusal = await refused(listed(export, **request))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN"), request
