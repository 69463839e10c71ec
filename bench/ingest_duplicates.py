"""Every event sent ten times, mixed, against the same events sent once."""

import random
import statistics

from bench.batches import batches, send
from bench.measure import AtLeast, Measurement, ratios, side_by_side, spread
from bench.suite import running
from services.suite.samples import grapfy_payloads

EVENTS = 10_000
TIMES = 10
ROUNDS = 6


async def run() -> Measurement:
    payloads = list(grapfy_payloads(EVENTS))
    mixed = payloads * TIMES
    random.Random(1).shuffle(mixed)
    once, often = batches(payloads), batches(mixed)
    async with running() as bench:
        await send(bench.ingest, "warm-up", once, EVENTS)

        async def send_often(number: int) -> float:
            company = f"often-{number}"
            speed = await send(bench.ingest, company, often, EVENTS, EVENTS * (TIMES - 1))
            await bench.check_log(company, EVENTS)
            return speed

        async def send_once(number: int) -> float:
            company = f"once-{number}"
            speed = await send(bench.ingest, company, once, EVENTS)
            await bench.check_log(company, EVENTS)
            return speed

        ours, rival = await side_by_side(ROUNDS, send_often, send_once)
        return Measurement(
            "ingest_duplicates",
            statistics.median(ours),
            "events/s",
            "the same events sent once",
            statistics.median(rival),
            AtLeast(1.5),
            (spread("ten times", ours), spread("once", rival), ratios(ours, rival), "stored twice: 0"),
        )
