"""The sandbox shop in the forms of the other platforms: complete and exact over their own ways of paging, and astray
when asked to be."""

import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.sandbox.faults import UNLISTED, Fault, Faults, Lie
from services.sandbox.shop import TOKEN, SandboxShop
from tests.form_visits import (
    HOTMART,
    OFFSETS,
    PAGES,
    PASSWORD,
    SHOPIFY,
    STATUSES,
    STRIPE,
    Lines,
    access_token,
    all_lines,
    get_page,
    hotmart,
    offsets,
    pages,
    shopify,
    stripe,
)
from tests.shop_visits import END, made_up, visited

EVENTS = 330
FIRST_HALF = (datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 10, 6, tzinfo=UTC))


def _seconds(time: datetime) -> int:
    return int(time.timestamp())


def _shop(**arguments: Any) -> SandboxShop:
    return made_up(**{"events": EVENTS, "end": END, **arguments})


# The way to visit, the line's id, its time in seconds, and the query for a span without its end.
FORMS: dict[str, tuple[Any, Callable[[Any], Any], Callable[[Any], float], Callable[[datetime, datetime], Any]]] = {
    "stripe": (
        stripe,
        lambda line: line["id"],
        lambda line: line["created"],
        lambda start, end: {"created[gte]": _seconds(start), "created[lt]": _seconds(end)},
    ),
    "shopify": (
        shopify,
        lambda line: line["id"],
        lambda line: datetime.fromisoformat(line["updated_at"]).timestamp(),
        lambda start, end: {
            "updated_at_min": start.isoformat(),
            "updated_at_max": (end - timedelta(seconds=1)).isoformat(),
        },
    ),
    "hotmart": (
        hotmart,
        lambda line: line["purchase"]["transaction"],
        lambda line: line["purchase"]["order_date"] / 1000,
        lambda start, end: {"start_date": _seconds(start) * 1000, "end_date": _seconds(end) * 1000 - 1},
    ),
    "pages": (
        pages,
        lambda line: line["id"],
        lambda line: datetime.fromisoformat(line["at"]).timestamp(),
        lambda start, end: {"from": start.isoformat(), "to": end.isoformat()},
    ),
    "offsets": (
        offsets,
        lambda line: line["id"],
        lambda line: line["at"],
        lambda start, end: {"from": _seconds(start), "to": _seconds(end)},
    ),
}


@pytest.mark.parametrize("form", FORMS)
async def test_paging_gives_everything_once_in_order_and_a_span_what_is_in_it(form: str) -> None:
    visit, identity, time, span = FORMS[form]
    async with visited(_shop(duplicates=0.1)) as (shop, client):
        lines = await all_lines(visit(client))
        ids = [identity(line) for line in lines]
        # Where the id is the event's own, nothing is listed twice.
        assert len(ids) == len(set(ids)) == (EVENTS * 11 // 10 if form in ("pages", "offsets") else EVENTS)
        times = [time(line) for line in lines]
        assert times == sorted(times, reverse=form != "offsets")
        served = shop.served
        assert (served.events, served.listed, served.items) == (EVENTS, len(ids), len(ids))
        assert served.outcomes == {"page": served.requests}
        start, end = FIRST_HALF
        inside = [line for line in lines if start.timestamp() <= time(line) < end.timestamp()]
        assert 100 < len(inside) < 250
        assert await all_lines(visit(client, **span(start, end))) == inside


async def test_what_comes_between_moves_pages_and_offsets_but_no_cursor() -> None:
    async with visited(_shop()) as (shop, client):
        for form, moved in (("stripe", 0), ("shopify", 0), ("hotmart", 0), ("pages", 1)):
            visit, identity, *_ = FORMS[form]
            ids = []
            async for page in visit(client):
                ids += [identity(line) for line in page]
                if len(ids) == 100:
                    shop.add()
            assert len(ids) - len(set(ids)) == moved, form


@pytest.mark.parametrize("form", FORMS)
async def test_a_wrong_password_is_refused_in_the_platforms_own_words(form: str) -> None:
    paths = {"stripe": STRIPE, "shopify": SHOPIFY, "hotmart": HOTMART, "pages": PAGES, "offsets": OFFSETS}
    async with visited(_shop()) as (shop, client), client.session.get(client.url + paths[form]) as response:
        body = await response.json()
        assert response.status == 401
        match form:
            case "stripe":
                assert body["error"]["type"] == "invalid_request_error"
            case "shopify":
                assert "API key" in body["errors"]
            case _:
                assert body["error"]
        assert shop.served.outcomes == {"401": 1}


async def test_access_tokens_are_for_the_right_client_and_hold_until_revoked() -> None:
    async with visited(_shop()) as (shop, client):
        assert await access_token(client, "wrong", 401) == "None"
        token = await access_token(client)
        headers = {"Authorization": f"Bearer {token}"}
        await get_page(client, HOTMART, headers)
        shop.revoke()
        async with client.session.get(client.url + HOTMART, headers=headers) as response:
            assert response.status == 401
        assert await access_token(client) != token
        assert (await client.control("POST", "revoke"))["tokens"] == 2


async def test_sales_of_other_states_are_listed_when_asked_for() -> None:
    async with visited(_shop()) as (_, client):
        headers = {"Authorization": f"Bearer {await access_token(client)}"}
        usual, _ = await get_page(client, HOTMART, headers)
        assert {line["purchase"]["status"] for line in usual["items"]} == {"APPROVED", "COMPLETE"}
        refunded, _ = await get_page(client, HOTMART, headers, transaction_status="REFUNDED")
        assert {line["purchase"]["status"] for line in refunded["items"]} == {"REFUNDED"}
        assert refunded["page_info"]["total_results"] == len(refunded["items"])


async def test_orders_are_counted_on_their_own() -> None:
    async with visited(_shop()) as (shop, client):
        path, headers = "/admin/api/2025-07/orders/count.json", {"X-Shopify-Access-Token": TOKEN}
        body, _ = await get_page(client, path, headers, status="any")
        assert body == {"count": EVENTS}
        span = FORMS["shopify"][3](*FIRST_HALF)
        body, _ = await get_page(client, path, headers, status="any", **span)
        assert body == {"count": len(await all_lines(shopify(client, **span)))}
        assert (shop.served.counted, list(shop.served.outcomes)) == (2, ["page"])
        async with client.session.get(client.url + path) as response:
            assert response.status == 401


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (STRIPE, {"limit": 101}),
        (STRIPE, {"starting_after": "evt_999999999999999999999999"}),
        (STRIPE, {"starting_after": "nobody"}),
        (STRIPE, {"page": 2}),
        (STRIPE, {"created[gte]": "yesterday"}),
        (SHOPIFY, {"limit": 251, "status": "any"}),
        (SHOPIFY, {"status": "open"}),
        (SHOPIFY, {"status": "any", "order": "mood"}),
        (SHOPIFY, {"status": "any", "updated_at_min": "2026-11-01"}),
        (SHOPIFY, {"page_info": "nonsense"}),
        (SHOPIFY, {"page_info": "e30=", "status": "any"}),
        (HOTMART, {"max_results": 0}),
        (HOTMART, {"page_token": "nonsense"}),
        (HOTMART, {"start_date": "2026-11-01"}),
        (PAGES, {"page": 0}),
        (PAGES, {"per_page": 501}),
        (OFFSETS, {"offset": -1}),
        (OFFSETS, {"from": "2026-11-01T00:00:00Z"}),
    ],
)
async def test_what_is_wrong_is_refused(path: str, query: dict[str, Any]) -> None:
    async with visited(_shop(events=3)) as (_, client):
        headers = {"X-Shopify-Access-Token": TOKEN, "X-Api-Key": TOKEN, "Authorization": f"Bearer {TOKEN}"}
        if path == HOTMART:
            headers["Authorization"] = f"Bearer {await access_token(client)}"
        if path == OFFSETS:
            headers["Authorization"] = PASSWORD
        async with client.session.get(client.url + path, params=query, headers=headers) as response:
            assert response.status == 400


@pytest.mark.parametrize("form", FORMS)
async def test_pages_fail_as_asked_in_each_form(form: str) -> None:
    visit = FORMS[form][0]
    async with visited(_shop(faults=Faults(fraction=1, kinds=(Fault.ERROR_BODY,)))) as (shop, client):
        # The page is asked for, and there is an error in its place.
        with pytest.raises(KeyError):
            await all_lines(visit(client))
        assert shop.served.outcomes == {"error_body": 1}


async def _first(visit: AsyncIterator[Lines], count: int) -> list[Lines]:
    found: list[Lines] = []
    async for page in visit:
        found.append(page)
        if len(found) == count:
            break
    return found


@pytest.mark.parametrize("form", FORMS)
async def test_it_leads_in_a_circle(form: str) -> None:
    visit = FORMS[form][0]
    async with visited(_shop(faults=Faults(lie=Lie.CIRCLE))) as (_, client):
        if form in ("pages", "offsets"):
            # Whoever goes by the total stops.
            found = await _first(visit(client), 4)
        else:
            found = await _first(visit(client), 5)
        assert found[0] == found[2]
        assert found[1] == found[3] != found[0]


@pytest.mark.parametrize("form", FORMS)
async def test_it_gives_the_same_page_for_ever(form: str) -> None:
    visit = FORMS[form][0]
    async with visited(_shop(faults=Faults(lie=Lie.SAME))) as (_, client):
        found = await _first(visit(client), 4)
        assert found[0] == found[1] == found[2] == found[3]


async def test_cursors_of_the_same_page_differ_where_the_shop_makes_them() -> None:
    async with visited(_shop(faults=Faults(lie=Lie.SAME))) as (_, client):
        first, link = await get_page(client, SHOPIFY, {"X-Shopify-Access-Token": TOKEN}, status="any")
        found = re.search(r"page_info=([^&>]+)>", link)
        assert found
        again, other = await get_page(
            client, SHOPIFY, {"X-Shopify-Access-Token": TOKEN}, page_info=found[1].replace("%3D", "=")
        )
        assert first == again
        assert link != other
        # Where the client makes them, of the times of what it sees, those move on.
        items = await client.page(limit=10)
        later = await client.page(since=items[-1]["createdAt"], limit=10)
        assert [item["id"] for item in items] == [item["id"] for item in later]
        assert later[-1]["createdAt"] > items[-1]["createdAt"]


async def test_grapfys_form_leads_in_a_circle_too() -> None:
    async with visited(_shop(faults=Faults(lie=Lie.CIRCLE))) as (shop, client):
        since = "2026-01-01T00:00:00Z"
        for _ in range(50):
            since = (await client.page(since=since, limit=10))[-1]["createdAt"]
        assert shop.served.events < 60


async def test_it_says_that_it_has_more_than_it_gives() -> None:
    async with visited(_shop(faults=Faults(lie=Lie.SAYS_MORE))) as (_, client):
        token = await access_token(client)
        body, _ = await get_page(client, HOTMART, {"Authorization": f"Bearer {token}"}, transaction_status=STATUSES)
        assert body["page_info"]["total_results"] == EVENTS + UNLISTED
        body, _ = await get_page(client, OFFSETS, {"Authorization": PASSWORD})
        assert body["meta"]["total"] == EVENTS + UNLISTED
        body, _ = await get_page(
            client, "/admin/api/2025-07/orders/count.json", {"X-Shopify-Access-Token": TOKEN}, status="any"
        )
        assert body == {"count": EVENTS + UNLISTED}


@pytest.mark.parametrize("form", ["stripe", "shopify", "hotmart"])
async def test_it_says_that_there_is_more_and_gives_nothing(form: str) -> None:
    visit = FORMS[form][0]
    async with visited(_shop(faults=Faults(lie=Lie.MORE_OF_NOTHING))) as (_, client):
        found = await _first(visit(client), 6)
        assert [len(page) for page in found] == [100, 100, 100, 30, 0, 0]
