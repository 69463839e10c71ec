"""`python -m tests.soak --minutes N [--seed S]`: episodes of kills under load, one after the other, until time is up.

Ends with status 0 when each has passed. The seed it prints makes the same choices again, if not the same moments.
"""

import argparse
import asyncio
import secrets
import sys
import tempfile
import time
import traceback
from pathlib import Path

import click

from tests.faults import run_episode
from tests.soak_sync import sync_episode


async def ingest_episode(folder: Path, seed: str) -> str:
    """Writers, and kills of ingest and of PostgreSQL. Says what happened."""
    episode = await run_episode(folder, seed)
    refusals = ", ".join(f"{count} {code}" for code, count in sorted(episode.refusals.items()))
    return (
        f"killed {', '.join(episode.kills)}; {episode.acknowledged:,} events acknowledged, all there once;"
        f" callers saw {refusals or 'nothing'}; stopped in {episode.stop_seconds:.1f} s"
    )


async def pull_episode(folder: Path, seed: str) -> str:
    """Sync runs, and kills of everything that takes part. Says what happened."""
    episode = await sync_episode(folder, seed)
    return (
        f"sync: {', '.join(episode.happened)}; {episode.runs} runs in {episode.attempts} attempts;"
        f" {episode.events:,} events pulled, all there once"
    )


async def soak(minutes: float, seed: str) -> int:
    """Runs episodes for so long; returns how many have failed."""
    until = time.monotonic() + 60 * minutes
    passed = failed = 0
    while time.monotonic() < until:
        number = passed + failed + 1
        run = pull_episode if number % 2 == 0 else ingest_episode
        with tempfile.TemporaryDirectory(prefix="hookline-soak-") as folder:
            try:
                happened = await run(Path(folder), f"{seed}/{number}")
            except Exception:
                failed += 1
                click.echo(f"{number:4}  FAILED, seed {seed}/{number}\n{traceback.format_exc()}")
                continue
        passed += 1
        click.echo(f"{number:4}  {happened}")
    click.echo(f"{passed} passed, {failed} failed")
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=5, help="how long (default: 5)")
    parser.add_argument("--seed", default=secrets.token_hex(4), help="what the choices come from (default: random)")
    chosen = parser.parse_args()
    click.echo(f"seed {chosen.seed}")
    return 1 if asyncio.run(soak(chosen.minutes, chosen.seed)) else 0


if __name__ == "__main__":
    sys.exit(main())
