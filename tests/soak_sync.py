"""Syncs while processes are killed, frozen and emptied at random: for the soak.

`sync_episode` is one suite and a few rounds; `sync_rounds` goes on until time is up.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from services.sandbox.faults import Faults
from tests.sync_faults import PASSING, VICTIMS, Pulled, Stage, stage
from tests.waiting import eventually

ROUNDS = 4
"""Rounds on one suite: what keeps dying is started again more and more slowly."""


@dataclass
class SyncEpisode:
    """What happened: to whom, the runs that came to their end, the events that they brought, the attempts they took."""

    happened: list[str] = field(default_factory=list)
    runs: int = 0
    events: int = 0
    attempts: int = 0


async def sync_rounds(seed: str, until: float) -> SyncEpisode:
    """Episodes until `time.monotonic()` is `until`. Raises AssertionError when a run does not end by itself, ends more
    than once, or what is stored is not exactly what the shop lists; its notes name the episode's seed."""
    total = SyncEpisode()
    number = 0
    while time.monotonic() < until:
        number += 1
        with tempfile.TemporaryDirectory(prefix="hookline-soak-") as folder:
            episode = await sync_episode(Path(folder), f"{seed}/{number}")
        total.happened += episode.happened
        total.runs += episode.runs
        total.events += episode.events
        total.attempts += episode.attempts
    return total


async def sync_episode(folder: Path, seed: str) -> SyncEpisode:
    """Brings a suite up, and a few times lets syncs run while things happen. Raises as `sync_rounds` does."""
    rng = random.Random(seed)
    episode = SyncEpisode()
    try:
        async with stage(folder, log_level="error") as made:
            for _ in range(ROUNDS):
                await _round(made, rng, episode)
    except Exception as error:
        error.add_note(f"seed {seed}, after {', '.join(episode.happened)}")
        raise
    return episode


async def _round(made: Stage, rng: random.Random, episode: SyncEpisode) -> None:
    """One to three companies are pulled at the same time, and up to three things happen meanwhile."""
    async with AsyncExitStack() as stack:
        all_pulled = []
        for _ in range(rng.randint(1, 3)):
            pulled = await stack.enter_async_context(
                made.pulled(
                    seed=rng.randrange(10**6),
                    events=rng.randint(500, 3000),
                    duplicates=rng.choice((0, 0.01, 0.2)),
                    faults=Faults(fraction=rng.choice((0, 0.05, 0.2)), kinds=PASSING, times=rng.randint(1, 2)),
                )
            )
            all_pulled.append(pulled)
            if rng.random() < 0.5:
                pulled.shop.gate(rng.randint(0, 4))
        await asyncio.gather(*(pulled.trigger() for pulled in all_pulled))
        for _ in range(rng.randint(1, 3)):
            watched = rng.choice(all_pulled)
            await _is_under_way(watched, rng.randint(1, 12))
            name = rng.choice(list(_HAPPENINGS))
            episode.happened.append(name)
            await _HAPPENINGS[name](made)
            if rng.random() < 0.7:
                watched.shop.release()
        for pulled in all_pulled:
            pulled.shop.release()
        for pulled in all_pulled:
            run = await pulled.ended(timeout=180)
            episode.runs += 1
            episode.events += run.counts.accepted
            episode.attempts += run.attempt


async def _is_under_way(pulled: Pulled, pages: int) -> None:
    """Waits until the shop has served so many pages more, or the run is held, or can't get on."""
    served = pulled.shop.served.pages + pages
    give_up = time.monotonic() + 5
    await eventually(
        lambda: pulled.shop.served.pages >= served or pulled.shop.served.held or time.monotonic() > give_up,
        what="the run is under way",
    )


def _killing(name: str) -> Callable[[Stage], Awaitable[None]]:
    return lambda made: made.kill(name)


async def _flush(made: Stage) -> None:
    async with made.redis() as client:
        await client.flushall()


async def _freeze_worker(made: Stage) -> None:
    """Longer than its lease."""
    async with made.frozen("sync-worker"):
        await asyncio.sleep(made.suite.settings.sync_lease + 1)


async def _freeze_valkey(made: Stage) -> None:
    async with made.frozen("valkey"):
        await asyncio.sleep(1)


_HAPPENINGS: dict[str, Callable[[Stage], Awaitable[None]]] = {
    **{f"kill {name}": _killing(name) for name in VICTIMS},
    "flush valkey": _flush,
    "freeze sync-worker": _freeze_worker,
    "freeze valkey": _freeze_valkey,
}
