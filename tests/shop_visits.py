"""Visits to the sandbox shop over HTTP, as a connector and as whoever steers it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp

from services.sandbox.shop import TOKEN, WEBHOOK_SETTING_ID, SandboxShop
from services.suite.samples import grapfy_payloads

END = datetime(2026, 11, 20, 12, tzinfo=UTC)
EVENTS = 1200
HEADERS = {"Authorization": f"Bearer {TOKEN}"}

Item = dict[str, Any]


class Client:
    """What a connector does, as plainly as can be."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    def get(self, **query: str | int) -> Any:
        return self.session.get(
            f"{self.url}/webhook-events",
            params={"webhookSettingId": WEBHOOK_SETTING_ID, **query},
            headers=HEADERS,
        )

    async def page(self, **query: str | int) -> list[Item]:
        async with self.get(**query) as response:
            assert response.status == 200
            events: list[Item] = (await response.json())["events"]
            return events

    async def everything(self, limit: int = 100) -> list[Item]:
        """All items, each once: pages overlap in the time that they meet at."""
        items: dict[str, Item] = {}
        page = await self.page(limit=limit)
        while True:
            items.update((item["id"], item) for item in page)
            if len(page) < limit:
                return list(items.values())
            page = await self.page(since=page[-1]["createdAt"], limit=limit)

    async def control(self, method: str, name: str, body: Any = None, status: int = 200) -> Any:
        async with self.session.request(method, f"{self.url}/control/{name}", json=body) as response:
            assert response.status == status
            return await response.json()


def made_up(**arguments: Any) -> SandboxShop:
    return SandboxShop(grapfy_payloads(100_000), **{"events": EVENTS, "end": END, **arguments})


@asynccontextmanager
async def visited(shop: SandboxShop) -> AsyncIterator[tuple[SandboxShop, Client]]:
    async with shop, aiohttp.ClientSession() as session:
        yield shop, Client(session, shop.url)
