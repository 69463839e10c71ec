"""Summaries: what they add up to is what is stored, however the log grew and whatever became of the cache."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from hookline.events.v1.events_pb2 import PROCESSING_STATUS_FAILED, EventFilter
from hookline.export.v1 import event_query_service_pb2 as pb
from services.export import summaries
from services.suite.embedded_valkey import EmbeddedValkey
from services.suite.ports import free_address
from tests.in_process import Exporting, Ingesting, exporting
from tests.refusals import refused
from tests.samples import grapfy, incoming, send

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
