"""Sync of a shop's history over HTTP, until its run has succeeded, against a bare loop over the same pages."""

import asyncio
import statistics
import sys
from collections import Counter

import msgspec

from bench import cpu
from bench.bare_loop import Took
from bench.measure import AtLeast, InexactError, Measurement, ratios, side_by_side, spread
from bench.shop import open_shop
from bench.suite import Bench, running

EVENTS = 20_000
ROUNDS = 4


async def run() -> Measurement:
    async with running() as bench, open_shop(EVENTS) as shop:
        # Also has the shop make its pages, and PostgreSQL its files.
        await _pull(bench, shop.url, "warm-up")
        await shop.sync(bench.client, "warm-up-too")
        pages: set[int] = set()
        ours_spent: Counter[str] = Counter()
        rival_spent: Counter[str] = Counter()

        async def sync(number: int) -> float:
            company = f"sync-{number}"
            await shop.reset()
            before = cpu.used(bench.suite)
            done = await shop.sync(bench.client, company)
            ours_spent.update(cpu.spent(before, cpu.used(bench.suite)))
            pages.add((await shop.check_served()).pages)
            await bench.check_log(company, EVENTS)
            # By the database's clock: from the request to the run's end, not to when a watcher hears of it.
            return EVENTS / (done.end_time.ToDatetime() - done.create_time.ToDatetime()).total_seconds()

        async def loop(number: int) -> float:
            company = f"loop-{number}"
            await shop.reset()
            before = cpu.used(bench.suite)
            took = await _pull(bench, shop.url, company)
            rival_spent.update(cpu.spent(before, cpu.used(bench.suite)) | Counter({"loop": took.cpu_seconds}))
            pages.add((await shop.check_served()).pages)
            await bench.check_log(company, EVENTS)
            return EVENTS / took.seconds

        ours, rival = await side_by_side(ROUNDS, sync, loop)
        if len(pages) > 1:
            raise InexactError(f"sync and the loop were to read the same pages, and read {sorted(pages)} of them")
        return Measurement(
            "sync_100k",
            statistics.median(ours),
            "events/s",
            "a bare loop: same pages, same tables, commit a page",
            statistics.median(rival),
            AtLeast(0.8),
            (
                f"sample of {EVENTS:,} events a round, {pages.pop():,} pages",
                f"{spread('sync', ours)}; CPU an event: {cpu.by_event(ours_spent, EVENTS * ROUNDS)}",
                f"{spread('loop', rival)}; CPU an event: {cpu.by_event(rival_spent, EVENTS * ROUNDS)}",
                ratios(ours, rival),
            ),
        )


async def _pull(bench: Bench, shop: str, company: str) -> Took:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.bare_loop", bench.database_url, shop, company, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError("the bare loop failed")
    return msgspec.json.decode(printed, type=Took)
