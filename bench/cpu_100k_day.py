"""CPU of the whole suite on a day of 100,000 events: a sample of the trickle, and syncs, put together."""

import asyncio
import time
from collections import Counter

from bench import cpu
from bench.measure import Below, InexactError, Measurement
from bench.shop import open_shop
from bench.suite import Bench, running
from hookline.ingest.v1.ingest_service_pb2 import IncomingEvent, IngestEventRequest, Outcome
from services.suite.samples import grapfy_payloads

DAY_EVENTS = 100_000
DAY_SECONDS = 86_400
SYNCS = 4
SYNC_HOURS = 24 / SYNCS + 1
"""What a scheduled sync reads: since the last one began, and an hour before it for what turns up late."""
WINDOW = 45
SAMPLE = 20_000
_WARM_UP = 5
_SETTLING = 3
_COMPANY = "trickle"


async def run() -> Measurement:
    async with running() as bench, open_shop(SAMPLE) as shop:
        payloads = grapfy_payloads(DAY_EVENTS)
        for _ in range(_WARM_UP):
            await _ingest(bench, next(payloads))
        await asyncio.sleep(_SETTLING)
        before, began, sent = cpu.used(bench.suite), time.monotonic(), 0
        while (due := began + sent * DAY_SECONDS / DAY_EVENTS) < began + WINDOW:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await _ingest(bench, next(payloads))
            sent += 1
        await asyncio.sleep(max(0.0, began + WINDOW - time.monotonic()))
        window = time.monotonic() - began
        trickle = cpu.spent(before, cpu.used(bench.suite))
        await bench.check_log(_COMPANY, _WARM_UP + sent)

        # The first makes the shop's pages, connections and plans.
        await shop.sync(bench.client, "warm-up")
        before = cpu.used(bench.suite)
        await shop.sync(bench.client, "synced")
        new = cpu.spent(before, middle := cpu.used(bench.suite))
        await shop.sync(bench.client, "synced", again=True)
        known = cpu.spent(middle, cpu.used(bench.suite))
        await bench.check_log("synced", SAMPLE)

    read = SYNCS * SYNC_HOURS / 24 * DAY_EVENTS
    steady = trickle.total() / window * 100
    # As dear as can be: as if no webhook had brought an event before.
    syncing = new.total() / SAMPLE * read / DAY_SECONDS * 100
    split = ", ".join(f"{name} {seconds / window * 100:.2f}" for name, seconds in trickle.most_common())
    return Measurement(
        "cpu_100k_day",
        steady + syncing,
        "% of one core",
        "one core",
        100.0,
        Below(0.05),
        (
            f"sample: {window:.0f} s with {sent} events by unary calls: {steady:.2f} % ({split})",
            f"sample: a sync of {SAMPLE:,} new events: {_each(new)} ({cpu.by_event(new, SAMPLE)}); known ones"
            f" {_each(known)}",
            f"{steady:.2f} % + {read:,.0f} events read by {SYNCS} syncs a day × {_each(new)} ÷ {DAY_SECONDS:,} s"
            f" = {steady:.2f} % + {syncing:.2f} %",
        ),
    )


def _each(seconds: Counter[str]) -> str:
    return f"{seconds.total() / SAMPLE * 1e6:.0f} µs an event"


async def _ingest(bench: Bench, payload: bytes) -> None:
    request = IngestEventRequest(company_id=_COMPANY, event=IncomingEvent(platform="grapfy", payload=payload))
    response = await bench.ingest.IngestEvent(request)
    if response.result.outcome != Outcome.OUTCOME_ACCEPTED:
        raise InexactError(f"an event was to be accepted, not {response.result}")
