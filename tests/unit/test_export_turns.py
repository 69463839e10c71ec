"""Turns: companies go round, whoever is gone takes none, and none is lost."""

import asyncio

from services.export.turns import Turns


async def test_companies_go_round() -> None:
    turns, order = Turns(1), list[str]()
    go = asyncio.Event()

    async def hold() -> None:
        async with turns.of("first"):
            await go.wait()

    async def take(company: str) -> None:
        async with turns.of(company):
            order.append(company)
            # Others come to ask meanwhile.
            await asyncio.sleep(0)

    holding = asyncio.create_task(hold())
    await asyncio.sleep(0)
    takers = [asyncio.create_task(take(company)) for company in ("big", "big", "big", "big", "small", "tiny", "small")]
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(holding, *takers)
    assert order == ["big", "small", "tiny", "big", "small", "big", "big"]


async def test_who_is_cancelled_takes_no_turn_and_loses_none() -> None:
    turns = Turns(1)
    for cancel_after_it_was_given in (False, True):
        async with turns.of("a"):
            waiting = asyncio.create_task(_once(turns, "b"))
            await asyncio.sleep(0)
            if not cancel_after_it_was_given:
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
        # Given in leaving the block; not begun yet.
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        async with asyncio.timeout(1):
            await asyncio.gather(*(_once(turns, company) for company in "abc"))


async def _once(turns: Turns, company: str) -> None:
    async with turns.of(company):
        await asyncio.sleep(0)
