"""The sandbox shop as a process of its own, to pull from."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from bench.measure import InexactError
from hookline.client import AsyncClient
from hookline.sync.v1.sync_service_pb2 import SyncRun, SyncRunState
from services.sandbox.api import Served
from services.sandbox.shop import TOKEN, WEBHOOK_SETTING_ID
from services.suite.ports import free_address
from shared.processes import LIFELINE_FD

_SOURCE = "shop"
_DAYS_BACK = 30
"""The whole history: the shop's is of 20 days."""
_START_TRIES = 300


class Shop:
    """A running shop. Reset it before each reader, and check afterwards what it served."""

    def __init__(self, session: aiohttp.ClientSession, url: str, events: int) -> None:
        self._session = session
        self._events = events
        self.url = url

    async def reset(self) -> None:
        """Counts from zero."""
        async with self._session.post(f"{self.url}/control/reset") as response:
            response.raise_for_status()

    async def check_served(self) -> Served:
        """Raises InexactError unless every event was served since the reset, and nothing but pages."""
        async with self._session.get(f"{self.url}/control/served") as response:
            served = Served(**await response.json())
        if not served.items == served.events == self._events or served.outcomes != {"page": served.requests}:
            raise InexactError(f"the shop was to serve {self._events} events in pages, and says {served}")
        return served

    async def sync(self, client: AsyncClient, company: str, *, again: bool = False) -> SyncRun:
        """Triggers a sync of a company, and waits until it has succeeded. Raises InexactError when it comes to anything
        else than each event once; known ones when it is the company's second."""
        if not again:
            await client.create_source(
                company,
                _SOURCE,
                platform="grapfy",
                base_url=self.url,
                credential=TOKEN,
                parameters={"webhookSettingId": WEBHOOK_SETTING_ID},
            )
        run = (await client.trigger_sync(company, _SOURCE, days_back=_DAYS_BACK)).run
        async for state in client.watch_run(company, run.run_id):
            run = state
        accepted, duplicates = (0, self._events) if again else (self._events, 0)
        counts = run.counts
        if (run.state, run.attempt, counts.fetched, counts.accepted, counts.duplicates, counts.retries) != (
            SyncRunState.SYNC_RUN_STATE_SUCCEEDED,
            1,
            self._events,
            accepted,
            duplicates,
            0,
        ):
            raise InexactError(f"{company}: a sync was to store {accepted} events and find {duplicates}, not {run}")
        return run


@asynccontextmanager
async def open_shop(events: int) -> AsyncIterator[Shop]:
    """Runs a shop with so many events; it ends with the block, and with this process."""
    address = free_address()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HOOKLINE_")}
    own = {"ADDRESS": address, "EVENTS": str(events)}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.sandbox",
        stdin=asyncio.subprocess.PIPE,
        env=environment
        | {f"HOOKLINE_SANDBOX_{name}": value for name, value in own.items()}
        | {"HOOKLINE_LOG_LEVEL": "warning", LIFELINE_FD: "0"},
    )
    assert process.stdin is not None
    try:
        async with aiohttp.ClientSession() as session:
            for _ in range(_START_TRIES):
                if await _answers(session, f"http://{address}"):
                    break
                await asyncio.sleep(0.1)
            else:
                raise RuntimeError("the sandbox shop did not start")
            yield Shop(session, f"http://{address}", events)
    finally:
        process.stdin.close()
        await process.wait()


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/healthz") as response:
            return response.ok
    except aiohttp.ClientConnectionError:
        return False
