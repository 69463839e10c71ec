"""The sandbox shop steered: the gate, added events, the control endpoints, its process."""

import asyncio
import json
import os
import signal
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from services.sandbox.faults import Fault, Faults
from services.sandbox.shop import SandboxShop
from services.suite.ports import free_address
from services.suite.samples import grapfy_payloads
from shared.errors import OperatorError
from shared.processes import LIFELINE_FD
from tests.shop_visits import EVENTS, Client, made_up, visited
from tests.waiting import eventually


async def test_the_gate_lets_some_through_and_holds_the_rest() -> None:
    async with visited(made_up()) as (shop, client):
        await client.control("POST", "gate", {"after": 2})
        pages = [asyncio.create_task(client.page(limit=limit)) for limit in range(1, 6)]
        await eventually(lambda: shop.served.held == 3 and shop.served.pages == 2)
        assert (await client.control("GET", "served"))["held"] == 3

        await client.control("POST", "gate", {"after": 1})
        await eventually(lambda: shop.served.held == 2 and sum(page.done() for page in pages) == 3)
        assert shop.served.pages == 3

        next(page for page in pages if not page.done()).cancel()
        await eventually(lambda: shop.served.held == 1)
        await client.control("POST", "release")
        done = [page for page in await asyncio.gather(*pages, return_exceptions=True) if isinstance(page, list)]
        assert len(done) == shop.served.pages == 4
        assert shop.served.outcomes == {"page": 4, "gone": 1}


async def test_a_held_page_shows_what_there_is_when_it_is_released() -> None:
    async with visited(made_up(events=3)) as (shop, client):
        shop.gate()
        page = asyncio.create_task(client.page())
        await eventually(lambda: shop.served.held)
        [added] = shop.add()
        shop.release()
        assert [item["id"] for item in await page][-1] == added


async def test_events_are_added_now_or_all_at_one_time() -> None:
    async with visited(made_up(events=10)) as (shop, client):
        before = datetime.now(UTC) - timedelta(milliseconds=40)
        ids = (await client.control("POST", "add", {"count": 30}))["ids"]
        new = await client.page(since=before.isoformat())
        assert [item["id"] for item in new] == ids
        assert len({item["createdAt"] for item in new}) == 30

        old = "2026-11-01T00:00:00.500Z"
        ids = (await client.control("POST", "add", {"count": 5, "createdAt": old}))["ids"]
        assert [item["id"] for item in await client.everything() if item["createdAt"] == old] == ids
        assert [item["payload"]["eventId"] for item in await client.page(since=old, limit=5)] == [
            f"evt_1_{number:08}" for number in range(40, 45)
        ]
        assert shop.served.published == 45


async def test_added_events_must_have_payloads() -> None:
    async with visited(SandboxShop(grapfy_payloads(10), events=10)) as (shop, client):
        await client.control("POST", "add", status=400)
        assert shop.served.published == len(await client.everything()) == 10


async def test_any_json_is_a_payload() -> None:
    payloads = [b'"text"', b"[1]", b'{"eventType":7}', b'{"eventType":"a\\"b"}', b"1e400"]
    async with visited(SandboxShop(payloads, events=5)) as (_, client):
        items = await client.page()
        assert [item["payload"] for item in items][:4] == ["text", [1], {"eventType": 7}, {"eventType": 'a"b'}]
        assert [item["eventType"] for item in items] == ["unknown", "unknown", "unknown", 'a"b', "unknown"]


async def test_it_is_steered_over_http() -> None:
    async with visited(made_up()) as (shop, client):
        wanted = {"fraction": 1, "kinds": ["503"], "times": 3, "retry_after": 4, "slow_seconds": 0.5}
        await client.control("PUT", "faults", wanted)
        assert shop.faults == Faults(fraction=1, kinds=(Fault.UNAVAILABLE,), times=3, retry_after=4, slow_seconds=0.5)
        async with client.get() as response:
            assert response.status == 503
        served = await client.control("GET", "served")
        assert served == {
            "requests": 1, "outcomes": {"503": 1}, "pages": 0, "listed": 0, "items": 0, "events": 0,
            "published": EVENTS, "held": 0, "too_early": 0, "counted": 0, "tokens": 0,
        }  # fmt: skip
        await client.control("POST", "gate")
        await client.control("POST", "reset")
        assert shop.faults == Faults()
        assert len(await client.page()) == 100
        assert (await client.control("GET", "served"))["requests"] == 1
        async with client.session.get(f"{shop.url}/healthz") as response:
            assert (response.status, await response.json()) == (200, {"status": "serving"})


@pytest.mark.parametrize(
    ("method", "name", "body"),
    [
        ("PUT", "faults", {"fraction": 2}),
        ("PUT", "faults", {"kinds": []}),
        ("PUT", "faults", {"kinds": ["418"]}),
        ("PUT", "faults", {"frction": 1}),
        ("POST", "gate", {"after": -1}),
        ("POST", "add", {"count": 0}),
        ("POST", "add", {"createdAt": "2026-11-01T00:00:00"}),
        ("POST", "release", {"after": 1}),
    ],
)
async def test_a_mistake_in_steering_is_told(method: str, name: str, body: Any) -> None:
    async with visited(made_up(events=1)) as (_, client):
        assert "error" in await client.control(method, name, body, status=400)


def test_fractions_beyond_the_whole_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 1"):
        made_up(duplicates=0.6, late=0.5)


async def test_it_is_for_this_machine_only() -> None:
    with pytest.raises(OperatorError, match="other machines"):
        async with made_up(address="0.0.0.0:0"):
            pass


async def _started(**environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.sandbox",
        env=os.environ | environment,
        stderr=asyncio.subprocess.PIPE,
        pass_fds=[int(environment[LIFELINE_FD])] if LIFELINE_FD in environment else [],
    )  # fmt: skip


@pytest.mark.parametrize("ended_by", ["SIGTERM", "the lifeline"])
async def test_the_process_serves_until_told_to_stop(ended_by: str) -> None:
    address = free_address()
    reading, writing = os.pipe()
    process = await _started(
        HOOKLINE_SANDBOX_ADDRESS=address,
        HOOKLINE_SANDBOX_EVENTS="500",
        HOOKLINE_SANDBOX_DUPLICATES="0.1",
        HOOKLINE_SANDBOX_FAILING="1",
        **{LIFELINE_FD: str(reading)},
    )
    os.close(reading)
    try:
        assert process.stderr
        line = json.loads(await process.stderr.readline())
        assert (line["event"], line["url"], line["events"]) == ("serving", f"http://{address}", 500)
        async with aiohttp.ClientSession() as session:
            client = Client(session, line["url"])
            await client.control("PUT", "faults", {})
            assert len(await client.everything()) == 550
            if ended_by == "SIGTERM":
                process.send_signal(signal.SIGTERM)
            else:
                os.close(writing)
            assert await asyncio.wait_for(process.wait(), 10) == 0
            assert await process.stderr.read() == b""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        if ended_by == "SIGTERM":
            os.close(writing)


async def test_the_process_says_in_a_sentence_what_is_wrong() -> None:
    async with made_up(events=1) as shop:
        taken = shop.url.removeprefix("http://")
        for environment, sentence in (
            ({"HOOKLINE_SANDBOX_ADDRESS": taken}, f"{taken} can't be listened on"),
            ({"HOOKLINE_SANDBOX_ADDRESS": "0.0.0.0:0"}, "other machines"),
            ({"HOOKLINE_SANDBOX_EVENTS": "many"}, "HOOKLINE_SANDBOX_EVENTS is wrong"),
        ):
            process = await _started(**environment)
            _, told = await process.communicate()
            assert process.returncode == 1
            assert sentence in told.decode()
            assert len(told.splitlines()) == 1
