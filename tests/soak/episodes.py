"""The kinds of episodes. Each brings up what it needs in a folder, raises when something has gone wrong, and leaves
nothing behind."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from services.suite.embedded_postgres import EmbeddedPostgres
from shared import db
from shared.migrate import migrate
from tests.export_breaks import check_broken_exports
from tests.export_crowd import check_crowd, fill
from tests.faults import POSTGRES_SETTINGS, run_episode
from tests.fuzz.run import BODY_SECONDS, Report, fuzz
from tests.in_process import Ingesting, ingesting
from tests.ingest_process import IngestProcess
from tests.interleavings import check_interleavings
from tests.soak_sync import SyncEpisode, complete_episode, fault_episode, kill_episode, sync_episode
from tests.sync_faults import VICTIMS

KILLS = 5
"""Of one episode: what keeps dying is started again more and more slowly."""


@dataclass(frozen=True)
class Happened:
    """What an episode came to, in words and in numbers."""

    text: str
    kills: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0


class Episode(Protocol):
    def run(self, folder: Path, seed: str) -> Happened: ...


@dataclass(frozen=True)
class Kills:
    """Writers, and kills of ingest and of PostgreSQL, each with all it takes along."""

    kills: int = KILLS
    processes: int = 1

    def run(self, folder: Path, seed: str) -> Happened:
        rng = random.Random(seed)
        kinds = ["ingest", "postgres", "backend", *(["child", "child"] if self.processes > 1 else [])]
        chosen = [rng.choice(kinds) for _ in range(self.kills)]
        episode = asyncio.run(run_episode(folder / "data", seed, chosen, self.processes))
        refusals = ", ".join(f"{count} {code}" for code, count in sorted(episode.refusals.items()))
        text = (
            f"killed {', '.join(episode.kills)}, with {self.processes} of ingest;"
            f" {episode.acknowledged:,} events acknowledged, all there once;"
            f" callers saw {refusals or 'nothing'}; stopped in {episode.stop_seconds:.1f} s"
        )
        return Happened(text, Counter(episode.kills), episode.acknowledged)


@dataclass(frozen=True)
class Pull:
    """Sync runs, and anything that may happen to all that takes part."""

    def run(self, folder: Path, seed: str) -> Happened:
        return _pulled(asyncio.run(sync_episode(folder, seed)))


@dataclass(frozen=True)
class SyncKills:
    """Sync runs, in the middle of each of which something is killed; of what may be, each as often as the others."""

    kills: int = len(VICTIMS)

    def run(self, folder: Path, seed: str) -> Happened:
        victims = [VICTIMS[number % len(VICTIMS)] for number in range(self.kills)]
        random.Random(seed).shuffle(victims)
        return _pulled(asyncio.run(kill_episode(folder, seed, victims)), Counter(victims))


@dataclass(frozen=True)
class SyncFaults:
    """Sync runs, and everything that may happen to Redis, to schedulers and to a worker beside their deaths."""

    redis_away: float = 5

    def run(self, folder: Path, seed: str) -> Happened:
        return _pulled(asyncio.run(fault_episode(folder, seed, self.redis_away)))


@dataclass(frozen=True)
class Complete:
    """One large shop with failing pages, duplicates and late events."""

    events: int

    def run(self, folder: Path, seed: str) -> Happened:
        return _pulled(asyncio.run(complete_episode(folder, seed, self.events)))


def _pulled(episode: SyncEpisode, kills: Counter[str] | None = None) -> Happened:
    text = f"sync: {', '.join(episode.happened)}; each run ended once, and all is there once"
    if episode.runs:
        text += f": {episode.runs} runs in {episode.attempts} attempts, {episode.events:,} events"
    return Happened(text, kills or Counter())


@dataclass(frozen=True)
class Interleavings:
    """Calls in any order, against the model."""

    examples: int = 20

    def run(self, folder: Path, seed: str) -> Happened:
        with asyncio.Runner() as runner:
            stack = AsyncExitStack()
            url = runner.run(stack.enter_async_context(_database(folder)))
            try:
                check_interleavings(url, folder, examples=self.examples, steps=30, crashes=3, chosen_by=seed)
            finally:
                runner.run(stack.aclose())
        return Happened(f"interleavings: {self.examples} examples, all as the model says")


@dataclass(frozen=True)
class Fuzz:
    """Malformed bodies."""

    bodies: int

    def run(self, folder: Path, seed: str) -> Happened:
        return Happened(f"fuzz: {asyncio.run(self._run(folder, seed))}")

    async def _run(self, folder: Path, seed: str) -> Report:
        async with (
            _database(folder) as url,
            await db.open_pool(url, 2, application_name="soak") as pool,
            IngestProcess(url, folder, http_body_seconds=BODY_SECONDS, log_level="debug") as ingest,
        ):
            return await fuzz(ingest, pool, seed, self.bodies)


@dataclass(frozen=True)
class Breaks:
    """Exports that are broken off while events are written."""

    rounds: int = 10

    def run(self, folder: Path, seed: str) -> Happened:
        return asyncio.run(self._run(folder, seed))

    async def _run(self, folder: Path, seed: str) -> Happened:
        async with _ingesting(folder) as (url, ingest, connection):
            happened = await check_broken_exports(ingest.stub, connection, url, folder, seed, self.rounds)
        told = ", ".join(f"{count} {what}" for what, count in sorted(happened.items()))
        return Happened(f"exports: {self.rounds} files, each as an undisturbed one; {told}")


@dataclass(frozen=True)
class Crowd:
    """Many exports at a time, some of which nobody reads, and lists beside them."""

    seconds: float = 60
    stalled: int = 10
    live: int = 50

    def run(self, folder: Path, seed: str) -> Happened:
        return asyncio.run(self._run(folder))

    async def _run(self, folder: Path) -> Happened:
        async with _ingesting(folder) as (url, ingest, connection):
            await fill(ingest.stub)
            crowded = await check_crowd(
                ingest.stub, connection, url, folder, stalled=self.stalled, live=self.live, seconds=self.seconds
            )
        return Happened(
            f"exports: {crowded.exports} whole ones of {self.live} callers beside {self.stalled} that stalled, in"
            f" {self.seconds:g} s or more, and {crowded.lists} lists, all but one of a hundred within"
            f" {crowded.beside * 1000:.0f} ms; alone {crowded.alone * 1000:.0f} ms"
        )


@asynccontextmanager
async def _ingesting(folder: Path) -> AsyncIterator[tuple[str, Ingesting, db.Connection]]:
    """A database of its own with the ingest service on it, in this process, and a connection."""
    async with (
        _database(folder) as url,
        ingesting(url) as ingest,
        await db.open_pool(url, 1, application_name="soak") as pool,
        pool.acquire() as connection,
    ):
        yield url, ingest, connection


@asynccontextmanager
async def _database(folder: Path) -> AsyncIterator[str]:
    """A migrated database on a server of its own."""
    postgres = EmbeddedPostgres(folder / "data", POSTGRES_SETTINGS)
    try:
        await postgres.start()
        await migrate(postgres.dsn)
        yield postgres.dsn
    finally:
        await postgres.destroy()
