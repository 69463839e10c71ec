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
from tests.faults import POSTGRES_SETTINGS, run_episode
from tests.fuzz.run import BODY_SECONDS, Report, fuzz
from tests.ingest_process import IngestProcess
from tests.interleavings import check_interleavings
from tests.soak_sync import sync_episode

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
    """Sync runs, and kills of everything that takes part."""

    def run(self, folder: Path, seed: str) -> Happened:
        episode = asyncio.run(sync_episode(folder, seed))
        text = (
            f"sync: {', '.join(episode.happened)}; {episode.runs} runs in {episode.attempts} attempts;"
            f" {episode.events:,} events pulled, all there once"
        )
        return Happened(text)


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
