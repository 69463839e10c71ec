"""Visits to the sandbox shop in the forms of several platforms: page after page of what it lists."""

import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from services.sandbox.forms.hotmart import CLIENT_ID
from services.sandbox.forms.plain import USER
from services.sandbox.shop import TOKEN
from tests.shop_visits import Client

STRIPE, SHOPIFY, HOTMART = "/v1/events", "/admin/api/2025-07/orders.json", "/payments/api/v1/sales/history"
PAGES, OFFSETS = "/plain/pages", "/plain/offsets"
STATUSES = ["APPROVED", "REFUNDED", "WAITING_PAYMENT", "CANCELLED", "COMPLETE"]
PASSWORD = aiohttp.encode_basic_auth(USER, TOKEN)

Lines = list[dict[str, Any]]


async def get_page(client: Client, path: str, headers: dict[str, str], **query: Any) -> tuple[Any, str]:
    """The body and the `Link` header of a page."""
    async with client.session.get(client.url + path, params=query, headers=headers) as response:
        assert response.status == 200, await response.text()
        return await response.json(), response.headers.get("Link", "")


async def stripe(client: Client, **query: Any) -> AsyncIterator[Lines]:
    more = True
    last: dict[str, str] = {}
    while more:
        body, _ = await get_page(client, STRIPE, {"Authorization": f"Bearer {TOKEN}"}, limit=100, **query, **last)
        yield body["data"]
        more = body["has_more"]
        if body["data"]:
            last = {"starting_after": body["data"][-1]["id"]}


async def shopify(client: Client, **query: Any) -> AsyncIterator[Lines]:
    asked: dict[str, Any] = {"status": "any", **query}
    while True:
        body, link = await get_page(client, SHOPIFY, {"X-Shopify-Access-Token": TOKEN}, limit=100, **asked)
        yield body["orders"]
        found = re.search(r'page_info=([^&>]+)>; rel="next"', link)
        if found is None:
            return
        asked = {"page_info": found[1].replace("%3D", "=")}


async def hotmart(client: Client, **query: Any) -> AsyncIterator[Lines]:
    token = await access_token(client)
    place: dict[str, Any] = {"transaction_status": STATUSES}
    while True:
        headers = {"Authorization": f"Bearer {token}"}
        body, _ = await get_page(client, HOTMART, headers, max_results=100, **query, **place)
        yield body["items"]
        if "next_page_token" not in body["page_info"]:
            return
        place["page_token"] = body["page_info"]["next_page_token"]


async def pages(client: Client, **query: Any) -> AsyncIterator[Lines]:
    page, seen, total = 1, 0, 1
    while seen < total:
        body, _ = await get_page(client, PAGES, {"X-Api-Key": TOKEN}, page=page, per_page=100, **query)
        yield body["data"]
        page, seen, total = page + 1, seen + len(body["data"]), body["total"]


async def offsets(client: Client, **query: Any) -> AsyncIterator[Lines]:
    seen, total = 0, 1
    while seen < total:
        body, _ = await get_page(client, OFFSETS, {"Authorization": PASSWORD}, offset=seen, limit=100, **query)
        yield body["results"]
        seen, total = seen + len(body["results"]), body["meta"]["total"]


async def access_token(client: Client, secret: str = TOKEN, status: int = 200) -> str:
    basic = aiohttp.encode_basic_auth(CLIENT_ID, secret)
    url, query = f"{client.url}/security/oauth/token", {"grant_type": "client_credentials"}
    async with client.session.post(url, data=query, headers={"Authorization": basic}) as response:
        assert response.status == status
        return str((await response.json()).get("access_token"))


async def all_lines(visit: AsyncIterator[Lines]) -> Lines:
    return [line async for page in visit for line in page]
