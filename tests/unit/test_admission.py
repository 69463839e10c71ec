"""Who gets into the queue, and who waits: companies' shares of a bounded number of bytes."""

import asyncio
import random
from collections import Counter

import pytest

from services.ingest.admission import Admission, Shares
from shared.errors import IngestQueueFull, ServerStopping


def fill(shares: Shares, company: str, size: int = 1, share: float = 1) -> int:
    """Takes as much as a company gets; gives how much that is."""
    held = 0
    while shares.take(company, size, share):
        held += size
    return held


@pytest.mark.parametrize("size", [1, 7])
def test_one_that_floods_holds_half_and_there_is_always_room_for_a_newcomer(size: int) -> None:
    shares = Shares(1000)
    assert 500 - 2 * size < fill(shares, "a", size) <= 500
    held = [fill(shares, f"company-{number}") for number in range(7)]
    assert held == sorted(held, reverse=True)
    assert all(held)


def test_companies_that_flood_at_the_same_time_hold_the_same() -> None:
    shares = Shares(1000)
    held: Counter[str] = Counter()
    for company in ("a", "b", "c") * 1000:
        held[company] += shares.take(company, 1)
    assert set(held.values()) == {250}


def test_those_who_can_wait_leave_room_to_those_who_can_not() -> None:
    shares = Shares(1000)
    assert fill(shares, "a", share=0.5) == 333
    assert fill(shares, "a") == 500 - 333


def test_what_is_too_large_gets_in_alone_and_takes_nothing_from_the_others() -> None:
    shares = Shares(1000)
    assert shares.take("large", 5000)
    assert not shares.take("large", 1)
    assert not shares.take("larger", 6000)
    assert fill(shares, "a") == 500
    shares.give_back("large", 3000)
    assert not shares.take("larger", 6000)
    shares.give_back("large", 2000)
    assert shares.take("larger", 6000)
    assert fill(shares, "large") == 250


def test_a_company_that_holds_something_has_to_wait_with_what_is_too_large() -> None:
    shares = Shares(1000)
    assert shares.take("a", 1)
    assert not shares.take("a", 600)
    shares.give_back("a", 1)
    assert shares.take("a", 600)


async def test_a_full_share_refuses_those_who_do_not_wait() -> None:
    admission = Admission(1000)
    for _ in range(5):
        await admission.enter("a", 100, wait=False)
    with pytest.raises(IngestQueueFull) as caught:
        await admission.enter("a", 100, wait=False)
    assert caught.value.retry_seconds > 0
    await admission.enter("b", 100, wait=False)
    admission.leave("a", 100)
    await admission.enter("a", 50, wait=False)


class Entrants:
    """Requests that wait, and the order in which they get in."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.order: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def add(self, company: str, size: int) -> asyncio.Task[None]:
        async def enter() -> None:
            await self._admission.enter(company, size, wait=True)
            self.order.append(company)

        task = asyncio.create_task(enter())
        self.tasks.append(task)
        await asyncio.sleep(0)
        return task

    async def leave(self, company: str, size: int) -> None:
        self._admission.leave(company, size)
        self._admission.admit()
        for _ in range(3):
            await asyncio.sleep(0)


async def test_companies_that_wait_take_turns() -> None:
    admission = Admission(1000)
    await admission.enter("full", 5000, wait=False)
    await admission.enter("a", 300, wait=False)
    await admission.enter("b", 300, wait=False)
    entrants = Entrants(admission)
    # The first to come are all of one company.
    for company in ("a", "a", "a", "a", "b", "b"):
        await entrants.add(company, 60)
    assert entrants.order == []
    await entrants.leave("b", 300)
    assert entrants.order == ["b", "b"]
    await entrants.leave("a", 300)
    await entrants.leave("b", 120)
    assert entrants.order == ["b", "b", "a", "a", "a", "a"]


async def test_one_company_after_the_other_gets_what_becomes_free() -> None:
    admission = Admission(1000)
    await admission.enter("large", 450, wait=False)
    entrants = Entrants(admission)
    for company in ("a", "b", "c"):
        await admission.enter(company, 130, wait=False)
    for company in ("a", "a", "b", "b", "c", "c"):
        await entrants.add(company, 5)
    assert entrants.order == []
    await entrants.leave("large", 450)
    assert entrants.order == ["a", "b", "c", "a", "b", "c"]


async def test_a_newcomer_passes_those_who_have_their_share() -> None:
    admission = Admission(1000)
    entrants = Entrants(admission)
    for _ in range(5):
        await entrants.add("a", 100)
    assert entrants.order == ["a"] * 3
    await entrants.add("b", 100)
    assert entrants.order == ["a"] * 3 + ["b"]


async def test_whoever_is_gone_takes_no_room() -> None:
    admission = Admission(1000)
    entrants = Entrants(admission)
    first, second, third, fourth = [await entrants.add("a", size) for size in (300, 100, 300, 100)]
    assert first.done()
    # Gone while it waits, and gone in the moment in which it is let in.
    second.cancel()
    await asyncio.sleep(0)
    admission.leave("a", 300)
    admission.admit()
    third.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    assert (second.cancelled(), third.cancelled(), fourth.done()) == (True, True, True)
    admission.leave("a", 100)
    for _ in range(5):
        await admission.enter("a", 100, wait=False)


async def test_the_one_behind_a_large_one_that_is_gone_gets_in() -> None:
    admission = Admission(1000)
    await admission.enter("a", 300, wait=True)
    entrants = Entrants(admission)
    large = await entrants.add("a", 400)
    await entrants.add("a", 10)
    assert entrants.order == []
    large.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    assert entrants.order == ["a"]


async def test_those_who_wait_are_bounded_too() -> None:
    admission = Admission(1000)
    entrants = Entrants(admission)
    # A third is queued, half waits.
    for _ in range(8):
        await entrants.add("a", 100)
    with pytest.raises(IngestQueueFull):
        await admission.enter("a", 100, wait=True)
    assert not any(task.done() for task in entrants.tasks[3:])
    await entrants.leave("a", 100)
    await entrants.add("a", 100)
    assert [task.done() for task in entrants.tasks] == [True] * 4 + [False] * 5
    for task in entrants.tasks:
        task.cancel()


async def test_no_one_gets_in_once_it_is_closed() -> None:
    admission = Admission(1000)
    entrants = Entrants(admission)
    queued, waiting = await entrants.add("a", 900), await entrants.add("a", 900)
    admission.close()
    with pytest.raises(ServerStopping):
        await waiting
    for wait in (True, False):
        with pytest.raises(ServerStopping):
            await admission.enter("b", 1, wait=wait)
    await queued
    admission.leave("a", 900)


@pytest.mark.parametrize("seed", range(20))
async def test_everyone_gets_in_some_time_and_what_is_held_is_bounded(seed: int) -> None:
    rng = random.Random(seed)
    largest, limit = 3000, 1000
    admission = Admission(limit)
    held: Counter[str] = Counter()
    refused = 0

    async def request(company: str) -> None:
        nonlocal refused
        size = rng.choice([1, 10, 100, rng.randrange(1, largest)])
        while True:
            try:
                await admission.enter(company, size, wait=rng.random() < 0.7)
                break
            except IngestQueueFull:
                refused += 1
                await asyncio.sleep(0)
        held[company] += size
        assert held.total() <= limit + largest
        for _ in range(rng.randrange(5)):
            await asyncio.sleep(0)
        held[company] -= size
        admission.leave(company, size)
        admission.admit()

    requests = [asyncio.create_task(request(f"company-{rng.randrange(6)}")) for _ in range(300)]
    async with asyncio.timeout(30):
        await asyncio.gather(*requests)
    assert refused
    # Nothing is left behind.
    await admission.enter("a", limit // 2, wait=False)
    with pytest.raises(IngestQueueFull):
        await admission.enter("a", 1, wait=False)
