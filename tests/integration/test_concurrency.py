"""Many writers of overlapping, unsorted batches: no deadlock, nothing twice, every log dense."""

import asyncio
import random
from collections.abc import Iterable

import pytest

from hookline.ingest.v1 import ingest_service_pb2 as pb
from services.ingest import store
from services.ingest.erased_keys import ErasedKeys
from services.ingest.mapping import Incoming, Mapped, Mapper
from shared import db
from shared.db import Connection
from shared.platforms import platforms
from tests.in_process import Ingesting, ingesting
from tests.ledger import check_ledger
from tests.samples import ACCEPTED, DUPLICATE, grapfy, incoming, send

WRITERS = 50
BATCHES = 4
EVENTS = 300
COMPANIES = ("acme", "bolt")


@pytest.mark.usefixtures("no_deadlocks")
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


async def _write(ingest: Ingesting, rng: random.Random) -> list[tuple[str, str, pb.IngestResult]]:
    answers = []
    for _ in range(BATCHES):
        company = rng.choice(COMPANIES)
        keys = [f"evt_{number}" for number in rng.sample(range(EVENTS), 60)]
        events = [incoming(grapfy(key), source="shop") for key in keys]
        results = await send(ingest.stub, company, events)
        answers += [(company, key, result) for key, result in zip(keys, results, strict=True)]
    return answers


async def test_looking_first_makes_no_difference_to_what_is_said(database_url: str, connection: Connection) -> None:
    mapper = Mapper(platforms(), 1024 * 1024)

    def candidates(keys: Iterable[object], total: float = 1) -> list[store.Candidate]:
        mapped = [mapper.map(Incoming("grapfy", "", grapfy(f"evt_{key}", total=total))) for key in keys]
        return [store.candidate(one) for one in mapped if isinstance(one, Mapped)]

    async with await db.open_pool(database_url, 1) as pool, pool.acquire() as one:
        told = {}
        for company, look_first in (("acme", False), ("bolt", True)):
            first = candidates(range(10))
            answers = [
                # All new; known, new, and twice in a row; what was stored is stored again after a lost connection;
                # known with another content.
                await store.store_events(one, company, batch, ErasedKeys(""), look_first=look_first)
                for batch in (first, candidates([5, 12, 5, 11, 12]), first, candidates([3, 13], total=2))
            ]
            told[company] = [[(lies.sequence, lies.is_new, lies.differs) for lies in batch] for batch in answers]
    assert told["acme"] == told["bolt"]
    assert [lies[0] for lies in told["acme"][1]] == [6, 11, 6, 12, 11]
    assert [lies[1] for lies in told["acme"][1]] == [False, True, False, True, False]
    assert all(is_new for _, is_new, _ in told["acme"][2])
    assert told["acme"][3] == [(4, False, True), (13, True, False)]
    await check_ledger(connection, {"acme": 13, "bolt": 13})


@pytest.mark.usefixtures("no_deadlocks")
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
    await check_ledger(connection, {"acme": 50})
