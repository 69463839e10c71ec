"""The sandbox shop over HTTP: that it is complete and exact when well, and fails only as asked."""

import asyncio
import json
import time
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import aiohttp
import pytest

from services.sandbox.faults import Fault, Faults
from services.sandbox.history import MOST_TIED
from services.sandbox.shop import TOKEN
from services.suite.samples import grapfy_payloads
from tests.shop_visits import END, EVENTS, Client, Item, made_up, visited
from tests.waiting import eventually


async def test_paging_by_time_gives_every_event_once_and_in_order() -> None:
    async with visited(made_up()) as (shop, client):
        items = await client.everything(limit=50)
        assert [json.dumps(item["payload"]) for item in items] == [
            json.dumps(json.loads(payload)) for payload in grapfy_payloads(EVENTS)
        ]
        assert items == sorted(items, key=lambda item: (item["createdAt"], item["id"]))
        assert {item["eventType"] for item in items} == {item["payload"]["eventType"] for item in items}
        assert items[0].keys() == {
            "id", "eventType", "payload", "status", "httpCodeResponse", "createdAt", "updatedAt",
        }  # fmt: skip
        times = [datetime.fromisoformat(item["createdAt"]) for item in items]
        assert END - timedelta(days=20) <= times[0]
        assert times[-1] <= END
        tied = Counter(Counter(times).values())
        assert 1 < max(tied) <= MOST_TIED
        served = shop.served
        assert served.events == served.items == served.published == EVENTS
        assert served.requests == served.pages == served.outcomes["page"]
        assert served.listed > EVENTS


async def test_since_is_inclusive_to_the_microsecond_and_limit_is_100_unless_given() -> None:
    async with visited(made_up()) as (_, client):
        items = await client.everything()
        at = items[500]["createdAt"]
        expected = [item for item in items if item["createdAt"] >= at]
        assert await client.page(since=at) == expected[:100]
        assert await client.page(since=at.replace("Z", "+00:00"), limit=7) == expected[:7]
        just_after = at.replace("Z", "001Z")
        assert await client.page(since=just_after, limit=7) == [item for item in items if item["createdAt"] > at][:7]
        assert await client.page(since="2027-01-01T00:00:00Z") == []
        assert len(await client.page(limit=1000)) == 1000


async def test_the_same_seed_gives_the_same_bytes_and_failures() -> None:
    async def told(seed: int) -> tuple[list[bytes], list[int]]:
        arguments: dict[str, Any] = {"duplicates": 0.1, "late": 0.1, "seed": seed}
        async with visited(made_up(**arguments)) as (shop, client):
            shop.publish()
            items = await client.everything()
            shop.faults = Faults(fraction=0.5, kinds=(Fault.UNAVAILABLE, Fault.INTERNAL_ERROR))
            bodies, statuses = [], []
            for item in items[:200:10]:
                async with client.get(since=item["createdAt"], limit=3) as response:
                    statuses.append(response.status)
                    bodies.append(await response.read())
            return bodies, statuses

    first, again, other = [await told(seed) for seed in (7, 7, 8)]
    assert first == again
    assert first[0] != other[0]
    assert first[1] != other[1]
    assert set(first[1]) == {200, 500, 503}


async def test_duplicates_are_listed_a_little_later_under_another_id() -> None:
    async with visited(made_up(duplicates=0.25)) as (shop, client):
        items = await client.everything()
        listed: dict[str, list[Item]] = {}
        for item in items:
            listed.setdefault(item["payload"]["eventId"], []).append(item)
        pairs = [pair for pair in listed.values() if len(pair) == 2]
        assert len(listed) == EVENTS
        assert len(pairs) == EVENTS // 4 == len(items) - EVENTS
        for one, two in pairs:
            assert one["payload"] == two["payload"]
            assert one["createdAt"] < two["createdAt"]
        assert (shop.served.items, shop.served.events) == (len(items), EVENTS)


async def test_late_events_appear_at_their_old_time_once_told() -> None:
    async with visited(made_up(late=0.05)) as (shop, client):
        before = await client.everything()
        assert shop.served.published == len(before) == EVENTS - 60
        assert await client.control("POST", "publish") == {"published": 60}
        assert await client.control("POST", "publish") == {"published": 0}
        after = await client.everything()
        assert [item for item in after if item in before] == before
        assert shop.served.published == len(after) == EVENTS
    assert after != before + [item for item in after if item not in before]


async def test_late_events_appear_after_a_number_of_requests() -> None:
    async with visited(made_up(events=20, late=0.5, late_after=2)) as (_, client):
        assert [len(await client.page()) for _ in range(4)] == [10, 10, 20, 20]


async def test_what_is_wrong_is_refused_with_an_error() -> None:
    async with visited(made_up()) as (shop, client):
        for query in (
            {"limit": 0}, {"limit": 1001}, {"limit": "ten"}, {"limit": ""}, {"limit": "-1"}, {"limit": "²"},
            {"since": "yesterday"}, {"since": ""}, {"since": "2026-11-01"}, {"since": "2026-11-01T00:00:00"},
            {"since": "1750000000"}, {"limit": "1" * 5000},
        ):  # fmt: skip
            async with client.get(**query) as response:
                assert (response.status, list(await response.json())) == (400, ["error"]), query
        async with client.get(webhookSettingId="shop-2") as response:
            assert (response.status, list(await response.json())) == (404, ["error"])
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
            async with client.session.get(f"{shop.url}/webhook-events", headers=headers) as response:
                assert (response.status, list(await response.json())) == (401, ["error"])
        assert shop.served.outcomes == {"400": 12, "404": 1, "401": 3}
        assert shop.served.requests == 16


@pytest.mark.parametrize(
    ("fault", "status"),
    [(Fault.TOO_MANY_REQUESTS, 429), (Fault.INTERNAL_ERROR, 500), (Fault.UNAVAILABLE, 503), (Fault.ERROR_BODY, 200)],
)
async def test_a_page_fails_as_often_as_asked_and_then_works(fault: Fault, status: int) -> None:
    faults = Faults(fraction=1, kinds=(fault,), times=2, retry_after=0)
    async with visited(made_up(faults=faults)) as (shop, client):
        for _ in range(2):
            async with client.get() as response:
                assert (response.status, list(await response.json())) == (status, ["error"])
                assert response.headers.get("Retry-After") == ("0" if status == 429 else None)
        assert len(await client.page()) == 100
        assert shop.served.outcomes == {str(fault): 2, "page": 1}
        assert (shop.served.pages, shop.served.events) == (1, 100)


async def test_asked_again_before_retry_after_it_refuses_again() -> None:
    faults = Faults(fraction=1, kinds=(Fault.TOO_MANY_REQUESTS,), retry_after=1)
    async with visited(made_up(faults=faults)) as (shop, client):
        for _ in range(2):
            async with client.get() as response:
                assert (response.status, response.headers["Retry-After"]) == (429, "1")
        await asyncio.sleep(1)
        assert len(await client.page()) == 100
        assert shop.served.too_early == 1
        assert shop.served.outcomes == {"429": 2, "page": 1}


async def test_a_truncated_page_is_whole_to_http_but_not_to_json() -> None:
    async with visited(made_up(faults=Faults(fraction=1, kinds=(Fault.TRUNCATED,)))) as (shop, client):
        async with client.get() as response:
            body = await response.read()
        assert (response.status, response.content_length) == (200, len(body))
        with pytest.raises(json.JSONDecodeError):
            json.loads(body)
        assert len(await client.page()) == 100
        assert shop.served.events == 100


async def test_a_dropped_page_ends_in_the_middle() -> None:
    async with visited(made_up(faults=Faults(fraction=1, kinds=(Fault.DROPPED,)))) as (shop, client):
        async with client.get(limit=1000) as response:
            assert response.status == 200
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        assert len(await client.page(limit=1000)) == 1000
        assert shop.served.outcomes == {"dropped": 1, "page": 1}


async def test_a_slow_page_comes_late_and_right() -> None:
    faults = Faults(fraction=1, kinds=(Fault.SLOW,), slow_seconds=0.3)
    async with visited(made_up(faults=faults)) as (shop, client):
        began = time.monotonic()
        slow = await client.page()
        assert time.monotonic() - began >= 0.3
        assert slow == await client.page()
        assert shop.served.outcomes == {"slow": 1, "page": 2}


async def test_a_slow_page_that_nobody_waits_for_is_not_served() -> None:
    faults = Faults(fraction=1, kinds=(Fault.SLOW,), slow_seconds=60)
    async with visited(made_up(faults=faults)) as (shop, client):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.page(), 0.2)
        await eventually(lambda: shop.served.outcomes == {"slow": 1, "gone": 1})
        assert shop.served.pages == shop.served.events == 0


async def test_a_hung_page_lasts_until_the_client_gives_up() -> None:
    async with visited(made_up(faults=Faults(fraction=1, kinds=(Fault.HUNG,)))) as (shop, client):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.page(), 0.2)
        assert len(await client.page()) == 100
        assert shop.served.outcomes == {"hung": 1, "page": 1}


async def test_closing_does_not_wait_for_what_hangs_or_is_held() -> None:
    async with aiohttp.ClientSession() as session:
        async with made_up(faults=Faults(fraction=0.5, kinds=(Fault.HUNG,))) as shop:
            client = Client(session, shop.url)
            shop.gate()
            waiting = [asyncio.create_task(client.page(limit=limit)) for limit in range(1, 21)]
            await eventually(lambda: shop.served.outcomes.get("hung", 0) + shop.served.held == 20)
            assert shop.served.held
            assert shop.served.outcomes["hung"]
            began = time.monotonic()
        assert time.monotonic() - began < 5
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(result, aiohttp.ClientError) for result in results)


async def test_about_the_fraction_asked_for_fails_and_a_retrying_client_gets_everything() -> None:
    faults = Faults(fraction=0.2, kinds=(Fault.INTERNAL_ERROR, Fault.TRUNCATED, Fault.DROPPED, Fault.ERROR_BODY))
    async with visited(made_up(faults=faults)) as (shop, client):
        ids: set[str] = set()
        since = "2026-01-01T00:00:00Z"
        while True:
            try:
                async with client.get(since=since, limit=10) as response:
                    response.raise_for_status()
                    page = (await response.json())["events"]
            except (aiohttp.ClientError, json.JSONDecodeError, KeyError):
                continue
            ids |= {item["id"] for item in page}
            if len(page) < 10:
                break
            since = page[-1]["createdAt"]
        served = shop.served
        assert len(ids) == served.events == EVENTS
        assert 0.1 < (served.requests - served.pages) / served.pages < 0.3
        assert set(served.outcomes) == {"page", *faults.kinds}
