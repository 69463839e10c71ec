"""Syncs while processes are killed, frozen and emptied at random: for the soak.

Each episode is one suite: what keeps dying is started again more and more slowly. Each raises AssertionError when a run
does not end by itself, ends more than once, or what is stored is not exactly what the shop lists; its notes name the
seed.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from hookline.sync.v1 import sync_service_pb2 as pb
from services.sandbox.faults import Faults
from tests.shop_sources import SHOP_SOURCES
from tests.sync_faults import PASSING, VICTIMS, Pulled, Stage, another, stage
from tests.sync_happenings import (
    check_complete,
    check_flushed_before_anyone_knows,
    check_flushed_in_the_middle,
    check_frozen_worker,
    check_tick_without_redis,
    check_two_schedulers,
)
from tests.waiting import eventually

ROUNDS = 4
"""Of an episode in which anything may happen."""


@dataclass
class SyncEpisode:
    """What happened: to whom, the runs that came to their end, the events that they brought, the attempts they took."""

    happened: list[str] = field(default_factory=list)
    runs: int = 0
    events: int = 0
    attempts: int = 0

    def add(self, run: pb.SyncRun) -> None:
        self.runs += 1
        self.events += run.counts.accepted
        self.attempts += run.attempt


async def sync_episode(folder: Path, seed: str) -> SyncEpisode:
    """Brings a suite up, and a few times lets syncs run while things happen."""
    episode = SyncEpisode()
    rng = random.Random(seed)
    async with _noting(seed, episode), stage(folder, log_level="error") as made:
        for _ in range(ROUNDS):
            await _round(made, rng, episode)
    return episode


async def kill_episode(folder: Path, seed: str, victims: Sequence[str]) -> SyncEpisode:
    """For each of the victims there is a run, alone in the suite, which two schedulers look after; at a random moment
    of it the victim is killed. Nothing else is asked for: the run ends by itself."""
    episode = SyncEpisode()
    rng = random.Random(seed)
    async with (
        _noting(seed, episode),
        stage(folder, log_level="error") as made,
        another(made, "scheduler", "reaping"),
    ):
        for victim in victims:
            await _kill(made, rng, victim, episode)
    return episode


async def fault_episode(folder: Path, seed: str, redis_away: float) -> SyncEpisode:
    """What happens to Redis, to schedulers and to a frozen worker, each once; Redis is away for so many seconds."""
    episode = SyncEpisode()
    rng = random.Random(seed)
    checks: dict[str, Callable[[Stage, int], Awaitable[object]]] = {
        "flushed in the middle": check_flushed_in_the_middle,
        "flushed before anyone knew": check_flushed_before_anyone_knows,
        f"a tick while Redis was away for {redis_away:g} s": partial(check_tick_without_redis, seconds=redis_away),
        "two schedulers": check_two_schedulers,
        "a frozen worker": check_frozen_worker,
    }
    async with _noting(seed, episode), stage(folder, log_level="error") as made:
        for name, check in rng.sample(list(checks.items()), len(checks)):
            episode.happened.append(name)
            await check(made, rng.randrange(10**6))
    return episode


async def complete_episode(folder: Path, seed: str, events: int) -> SyncEpisode:
    """A shop of so many events, pulled twice."""
    episode = SyncEpisode()
    async with _noting(seed, episode), stage(folder, log_level="error") as made:
        for run in await check_complete(made, random.Random(seed).randrange(10**6), events):
            counts = run.counts
            seconds = (run.end_time.ToDatetime() - run.create_time.ToDatetime()).total_seconds()
            episode.happened.append(
                f"{counts.fetched:,} fetched in {counts.pages:,} pages and {seconds:.0f} s, {counts.accepted:,} new,"
                f" {counts.duplicates:,} known, {counts.late:,} late, {counts.retries:,} retries"
            )
            episode.add(run)
    return episode


@asynccontextmanager
async def _noting(seed: str, episode: SyncEpisode) -> AsyncIterator[None]:
    try:
        yield
    except Exception as error:
        error.add_note(f"seed {seed}, after {', '.join(episode.happened)}")
        raise


async def _kill(made: Stage, rng: random.Random, victim: str, episode: SyncEpisode) -> None:
    form = rng.choice(list(SHOP_SOURCES))
    events = rng.randint(600, 1500)
    # Grapfy's history is read in one window, the others' day by day.
    pages = events // 100 if form == "grapfy" else 20
    async with made.pulled(seed=rng.randrange(10**6), events=events, form=form) as pulled:
        # The run is not over before the victim is dead: it has to get past the gate.
        gate = rng.randint(1, pages)
        pulled.shop.gate(gate)
        await pulled.trigger()
        moment = rng.randint(0, gate)
        await eventually(lambda: pulled.shop.served.pages >= moment, what=f"{moment} pages are served")
        # Any moment will do: that it is a random one is the point.
        await asyncio.sleep(rng.uniform(0, 0.2))
        episode.happened.append(f"kill {victim} ({form})")
        await made.kill(victim)
        pulled.shop.release()
        episode.add(await pulled.ended(timeout=120))


async def _round(made: Stage, rng: random.Random, episode: SyncEpisode) -> None:
    """One to three companies are pulled at the same time, and up to three things happen meanwhile."""
    async with AsyncExitStack() as stack:
        all_pulled = []
        for _ in range(rng.randint(1, 3)):
            pulled = await stack.enter_async_context(
                made.pulled(
                    seed=rng.randrange(10**6),
                    form=rng.choice(list(SHOP_SOURCES)),
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
            episode.add(await pulled.ended(timeout=180))


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


def _freezing(name: str, leases: float) -> Callable[[Stage], Awaitable[None]]:
    async def freeze(made: Stage) -> None:
        async with made.frozen(name):
            await asyncio.sleep(leases * made.suite.settings.sync_lease)

    return freeze


_HAPPENINGS: dict[str, Callable[[Stage], Awaitable[None]]] = {
    **{f"kill {name}": _killing(name) for name in VICTIMS},
    "flush valkey": _flush,
    "freeze sync-worker": _freezing("sync-worker", 1.5),
    "freeze sync-scheduler": _freezing("sync-scheduler", 1.5),
    "freeze ingest": _freezing("ingest", 1.5),
    "freeze valkey": _freezing("valkey", 0.5),
}
