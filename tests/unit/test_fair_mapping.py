"""Mapping in turns: the event loop is free after each slice, and companies take turns at them."""

import asyncio

from services.ingest.fair_mapping import SLICE_BYTES, FairMapper
from services.ingest.mapping import NO_RULES, Incoming, Mapped, Mapper, Rejected, Rules, SetAside


class Noting(Mapper):
    """Notes whose event is mapped when; the company is in place of the source."""

    def __init__(self) -> None:
        super().__init__({}, 1024 * 1024)
        self.noted: list[str] = []

    def map(self, incoming: Incoming, rules: Rules = NO_RULES) -> Mapped | SetAside | Rejected:
        self.noted.append(incoming.source)
        return super().map(incoming, rules)


def slices(company: str, count: int) -> list[Incoming]:
    """Events that make a slice each."""
    return [Incoming("nowhere", company, b"x" * (SLICE_BYTES + 1))] * count


async def test_everything_is_mapped_in_order() -> None:
    events = [Incoming("nowhere", f"source-{number}", b"x" * 500) for number in range(1000)]
    mapped = await FairMapper(Noting()).map("a", iter(events), NO_RULES)
    assert [one.source for one in mapped if isinstance(one, SetAside)] == [one.source for one in events]
    assert await FairMapper(Noting()).map("a", [], NO_RULES) == []


async def test_companies_take_turns_however_many_batches_they_have() -> None:
    mapper = Noting()
    fair = FairMapper(mapper)
    flood = [asyncio.create_task(fair.map("flood", slices("flood", 5), NO_RULES)) for _ in range(20)]
    await asyncio.sleep(0)
    await fair.map("acme", slices("acme", 5), NO_RULES)
    # One slice had begun, one waited; from then on one of each.
    assert mapper.noted.count("flood") <= 7
    await asyncio.gather(*flood)
    assert mapper.noted.count("flood") == 100


async def test_others_get_their_turn_after_each_slice() -> None:
    mapper = Noting()
    fair = FairMapper(mapper)
    flood = [asyncio.create_task(fair.map(f"flood-{n}", slices("flood", 5), NO_RULES)) for n in range(20)]
    while not all(one.done() for one in flood):
        before = len(mapper.noted)
        await asyncio.sleep(0)
        assert len(mapper.noted) - before <= 1
    assert len(mapper.noted) == 100


async def test_a_batch_that_is_given_up_holds_up_no_one() -> None:
    fair = FairMapper(Noting())
    given_up = [asyncio.create_task(fair.map("a", slices("a", 5), NO_RULES)) for _ in range(3)]
    await asyncio.sleep(0)
    for one in given_up:
        one.cancel()
    async with asyncio.timeout(10):
        assert len(await fair.map("a", slices("a", 2), NO_RULES)) == 2
        assert len(await fair.map("b", slices("b", 2), NO_RULES)) == 2
