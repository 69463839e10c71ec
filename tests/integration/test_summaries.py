"""Summaries: what they add up to is what is stored, however the log grew and whatever became of the cache."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from hookline.events.v1.events_pb2 import PROCESSING_STATUS_FAILED, EventFilter
from hookline.export.v1 import event_query_service_pb2 as pb
from services.export import event_store, store, summaries
from services.export.cache import Cache
from services.suite.embedded_valkey import EmbeddedValkey
from services.suite.ports import free_address
from shared.db import Connection
from tests.in_process import SECRET_KEY, Exporting, Ingesting, exporting
from tests.refusals import refused
from tests.samples import grapfy, incoming, send
from tests.waiting import eventually

DAY, HOUR, TYPE, SOURCE, PRODUCT, PLATFORM = (
    pb.Grouping.Value(f"GROUPING_{name}") for name in ("DAY", "HOUR", "TYPE", "SOURCE", "PRODUCT", "PLATFORM")
)
SAO_PAULO = ZoneInfo("America/Sao_Paulo")


def made(number: int) -> dict[str, Any]:
    return {
        "eventType": ("pix_created", "order_approved", "lead_created")[number % 3],
        "total": None if number % 3 == 2 else f"{number}.{number % 100:02}",
        "currency": ("BRL", "USD")[number % 2],
        "product": {"name": f"Curso {number % 4}"} if number % 5 else None,
        "createdAt": f"2026-11-{1 + number // 60:02}T{number % 24:02}:{number % 60:02}:00Z",
    }


async def fill(ingest: Ingesting, start: int, count: int, company: str = "acme") -> list[dict[str, Any]]:
    events = [made(number) for number in range(start, start + count)]
    await send(
        ingest.stub,
        company,
        [
            incoming(grapfy(start + number, **event), source=("shop_1", "shop_2")[number % 2])
            for number, event in enumerate(events)
        ],
    )
    return events


async def summarized(export: Exporting, *group_by: int, **request: Any) -> pb.SummarizeEventsResponse:
    return await export.query.SummarizeEvents(
        pb.SummarizeEventsRequest(company_id="acme", group_by=group_by, **request)  # type: ignore[arg-type]
    )


@asynccontextmanager
async def valkey_in(folder: Path) -> AsyncIterator[str]:
    """A server of the test's own; gives its URL."""
    valkey = EmbeddedValkey(folder)
    await valkey.start()
    try:
        yield valkey.url
    finally:
        await valkey.destroy()


def plain(response: pb.SummarizeEventsResponse) -> dict[Any, Any]:
    """By day and type: the count, and the totals by currency."""
    return {
        (group.start_time.ToDatetime(UTC), group.type): (
            group.count,
            {money.currency: Decimal(money.amount) for money in group.totals},
        )
        for group in response.groups
    }


def expected(events: Sequence[dict[str, Any]], zone: ZoneInfo) -> dict[Any, Any]:
    counts: dict[Any, int] = defaultdict(int)
    totals: dict[Any, dict[str, Decimal]] = defaultdict(dict)
    for event in events:
        local = datetime.fromisoformat(event["createdAt"]).astimezone(zone)
        key = local.replace(hour=0, minute=0).astimezone(UTC), event["eventType"]
        counts[key] += 1
        if event["total"] is not None:
            of_key = totals[key]
            of_key[event["currency"]] = of_key.get(event["currency"], Decimal(0)) + Decimal(event["total"])
    return {key: (count, totals[key]) for key, count in counts.items()}


async def test_groups_add_up_to_what_is_stored(ingest: Ingesting, export: Exporting) -> None:
    events = await fill(ingest, 0, 300)
    await fill(ingest, 0, 50, "bolt")
    by_day = await summarized(export, TYPE, DAY, time_zone="America/Sao_Paulo")
    assert by_day.last_sequence == 300
    assert plain(by_day) == expected(events, SAO_PAULO)
    starts = [group.start_time.ToDatetime() for group in by_day.groups]
    assert starts == sorted(starts)
    [all_of_them] = (await summarized(export)).groups
    assert (all_of_them.count, len(all_of_them.totals)) == (300, 2)
    assert not all_of_them.HasField("start_time")
    by_product = (await summarized(export, PRODUCT)).groups
    assert [(group.product_name, group.count) for group in by_product] == [
        ("", 60),
        *((f"Curso {n}", 60) for n in range(4)),
    ]
    by_source = (await summarized(export, SOURCE, PLATFORM, HOUR)).groups
    assert {(group.source, group.platform) for group in by_source} == {("shop_1", "grapfy"), ("shop_2", "grapfy")}
    assert sum(group.count for group in by_source) == 300
    one_type = await summarized(export, TYPE, filter=EventFilter(types=["pix_created"], sources=["shop_1"]))
    assert [(group.type, group.count) for group in one_type.groups] == [("pix_created", 50)]


async def test_a_company_without_events_has_no_groups(export: Exporting) -> None:
    assert await summarized(export, TYPE) == pb.SummarizeEventsResponse()


async def test_summaries_grow_with_the_log_whatever_becomes_of_the_cache(
    ingest: Ingesting, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Small spans: several statements make up one summary.
    monkeypatch.setattr(summaries, "SPAN", 40)
    valkey = EmbeddedValkey(tmp_path)
    await valkey.start()
    try:
        async with exporting(database_url, redis_url=valkey.url) as export:
            events = await fill(ingest, 0, 100)
            for step in range(6):
                answers = await asyncio.gather(*(summarized(export, DAY, TYPE) for _ in range(3)))
                assert all(plain(answer) == expected(events, ZoneInfo("UTC")) for answer in answers)
                events += await fill(ingest, len(events), 30)
                if step == 3:
                    valkey.kill()
                    await valkey.wait()
    finally:
        await valkey.stop()


async def test_a_restored_log_is_summed_up_anew_once_it_has_grown(
    ingest: Ingesting, database_url: str, connection: Connection, tmp_path: Path
) -> None:
    async with valkey_in(tmp_path) as redis_url, exporting(database_url, redis_url=redis_url) as export:
        events = await fill(ingest, 0, 100)
        assert plain(await summarized(export, DAY, TYPE)) == expected(events, ZoneInfo("UTC"))
        for table in ("events", "unprocessed"):
            await connection.execute(f"DELETE FROM hookline.{table} WHERE sequence > 50")
        await connection.execute("UPDATE hookline.companies SET last_sequence = 50")
        events[50:] = await fill(ingest, 1000, 60)
        for _ in range(2):
            assert plain(await summarized(export, DAY, TYPE)) == expected(events, ZoneInfo("UTC"))


async def test_what_is_kept_may_be_large_if_it_is_not_when_compressed(tmp_path: Path) -> None:
    async with valkey_in(tmp_path) as redis_url, aclosing(Cache(redis_url, SECRET_KEY)) as cache:
        for name, value, kept in (
            ("text", b"2026-11-01 order_approved" * 100_000, True),
            ("noise", random.Random(1).randbytes(2_000_000), False),
        ):
            await cache.put(name, value)
            assert (await cache.get(name) == value) == kept


async def test_lists_find_connections_that_no_summary_has(
    ingest: Ingesting, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(ingest, 0, 20)
    begun, go_on, real = 0, asyncio.Event(), event_store.summarize

    async def held(*arguments: Any) -> Any:
        nonlocal begun
        begun += 1
        await go_on.wait()
        return await real(*arguments)

    monkeypatch.setattr(event_store, "summarize", held)
    async with exporting(database_url, database_connections=2) as export:
        sums = [asyncio.create_task(summarized(export, group)) for group in (TYPE, SOURCE, PRODUCT, DAY)]
        await eventually(lambda: begun == 1, what="one summary reads")
        for _ in range(5):
            page = await export.query.ListEvents(pb.ListEventsRequest(company_id="acme"), timeout=20)
            assert len(page.events) == 20
        assert begun == 1
        go_on.set()
        for answer in await asyncio.gather(*sums):
            assert sum(group.count for group in answer.groups) == 20


async def test_only_the_part_of_the_log_is_read_that_has_what_is_asked_for(
    ingest: Ingesting, export: Exporting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summaries, "SPAN", 50)
    read, real = [], event_store.summarize

    async def noted(connection: Connection, company_id: str, span: store.Span, *arguments: Any) -> Any:
        read.append(span)
        return await real(connection, company_id, span, *arguments)

    monkeypatch.setattr(event_store, "summarize", noted)
    events = [event for start in range(0, 600, 100) for event in await fill(ingest, start, 100)]
    page = await export.query.ListEvents(pb.ListEventsRequest(company_id="acme", page_size=120))
    received = page.events[-1].received_time.ToDatetime(UTC)
    which = EventFilter()
    which.received_start_time.FromDatetime(received)
    # Those of its call were received in the same moment.
    assert plain(await summarized(export, DAY, TYPE, filter=which)) == expected(events[400:], ZoneInfo("UTC"))
    assert (read[0].after, read[-1].upto, len(read)) == (400, 600, 4)
    read.clear()
    which = EventFilter()
    which.occurred_start_time.FromDatetime(datetime(2026, 11, 4, tzinfo=UTC))
    which.occurred_end_time.FromDatetime(datetime(2026, 11, 5, tzinfo=UTC))
    assert plain(await summarized(export, DAY, TYPE, filter=which)) == expected(events[180:240], ZoneInfo("UTC"))
    assert (read[0].after, read[-1].upto, len(read)) == (180, 240, 2)


async def test_without_a_cache_that_answers_summaries_are_the_same(ingest: Ingesting, database_url: str) -> None:
    events = await fill(ingest, 0, 20)
    async with exporting(database_url, redis_url=f"redis://{free_address()}/0") as export:
        assert plain(await summarized(export, DAY, TYPE)) == expected(events, ZoneInfo("UTC"))


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"group_by": [DAY, HOUR]}, "group_by"),
        ({"group_by": [TYPE, TYPE]}, "group_by[1]"),
        ({"group_by": [0]}, "group_by[0]"),
        ({"group_by": [99]}, "group_by[0]"),
        ({"group_by": [TYPE, SOURCE, PRODUCT, PLATFORM]}, "group_by"),
        ({"time_zone": "Nowhere"}, "time_zone"),
        ({"filter": EventFilter(statuses=[PROCESSING_STATUS_FAILED])}, "filter.statuses"),
        ({"company_id": ""}, "company_id"),
    ],
)
async def test_what_makes_no_sense_is_refused(export: Exporting, wrong: dict[str, Any], field: str) -> None:
    refusal = await refused(export.query.SummarizeEvents(pb.SummarizeEventsRequest(**{"company_id": "acme", **wrong})))
    assert (refusal.code.name, list(refusal.violations)) == ("INVALID_ARGUMENT", [field])


async def test_more_groups_than_anyone_looks_at_are_refused(
    ingest: Ingesting, export: Exporting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summaries, "MAX_ROWS", 3)
    await fill(ingest, 0, 20)
    refusal = await refused(
        export.query.SummarizeEvents(pb.SummarizeEventsRequest(company_id="acme", group_by=[PRODUCT]))
    )
    assert list(refusal.violations) == ["group_by"]
