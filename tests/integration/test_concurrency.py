"""Many writers of overlapping, unsorted batches: no deadlock, nothing twice, every log dense."""

import asyncio
import random

from hookline.ingest.v1 import ingest_service_pb2 as pb
from shared.db import Connection
from tests.in_process import Ingesting, ingesting
from tests.ledger import check_ledger
from tests.samples import ACCEPTED, DUPLICATE, grapfy, incoming, send

WRITERS = 50
BATCHES = 4
EVENTS = 300
COMPANIES = ("acme", "bolt")


async def test_fifty_writers_of_overlapping_batches_through_two_services(
    ingest: Ingesting, database_url: str, connection: Connection
) -> None:
    async with ingesting(database_url) as other:
        answers = await asyncio.gather(
            *(_write(ingest if number % 2 else other, random.Random(number)) for number in range(WRITERS))
        )
    first: dict[tuple[str, str], str] = {}
    accepted = 0
    for company, key, result in [answer for one in answers for answer in one]:
        assert result.outcome in (ACCEPTED, DUPLICATE)
        assert first.setdefault((company, key), result.event_id) == result.event_id
        accepted += result.outcome == ACCEPTED
    assert accepted == len(first)
    counts = {company: sum(one == company for one, _ in first) for company in COMPANIES}
    await check_ledger(connection, counts)
    assert await connection.fetchval("SELECT count(*) FROM hookline.event_conflicts") == 0
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    assert await connection.fetchval(deadlocks) == 0


async def _write(ingest: Ingesting, rng: random.Random) -> list[tuple[str, str, pb.IngestResult]]:
    answers = []
    for _ in range(BATCHES):
        company = rng.choice(COMPANIES)
        keys = [f"evt_{number}" for number in rng.sample(range(EVENTS), 60)]
        events = [incoming(grapfy(key), source="shop") for key in keys]
        results = await send(ingest.stub, company, events)
        answers += [(company, key, result) for key, result in zip(keys, results, strict=True)]
    return answers


async def test_conflicts_and_quarantine_do_not_deadlock_either(
    ingest: Ingesting, database_url: str, connection: Connection
) -> None:
    await send(ingest.stub, "acme", [grapfy(number) for number in range(50)])

    async def contradict(one: Ingesting, rng: random.Random) -> None:
        for _ in range(4):
            events = [grapfy(number, total=rng.randrange(3)) for number in range(50)]
            events += [b"nonsense %d" % number for number in range(50)]
            rng.shuffle(events)
            await send(one.stub, "acme", events)

    async with ingesting(database_url) as other:
        await asyncio.gather(*(contradict((ingest, other)[n % 2], random.Random(n)) for n in range(10)))
    assert await connection.fetchval("SELECT count(*) FROM hookline.event_conflicts") == 150
    assert await connection.fetchval("SELECT sum(times_received) FROM hookline.event_conflicts") == 10 * 4 * 50
    assert await connection.fetchval("SELECT count(*) FROM hookline.quarantine") == 50
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    assert await connection.fetchval(deadlocks) == 0
    await check_ledger(connection, {"acme": 50})
