"""`python -m tests.soak [--minutes N] [--kills N] [--fuzz N] [--seed S]`: episodes of faults and of nonsense, one after
the other, until time is up; or until so many kills are done, and so many malformed bodies are sent.

Ends with status 0 when each has passed. The seed it prints makes the same choices again, if not the same moments.
"""

import argparse
import secrets
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click

from tests.soak import episodes
from tests.soak.episodes import Episode

FUZZ_BODIES = 5000
"""Of one episode, where there are other kinds, too."""


def by_time(minutes: float) -> Iterator[Episode]:
    """Every kind in turn, until time is up."""
    until = time.monotonic() + 60 * minutes
    while True:
        for episode in (
            episodes.Kills(),
            episodes.Pull(),
            episodes.Kills(processes=2),
            episodes.Interleavings(),
            episodes.Fuzz(FUZZ_BODIES),
        ):
            if time.monotonic() >= until:
                return
            yield episode


def by_kills(kills: int) -> Iterator[Episode]:
    """Episodes of that many kills in all; ingest is one process, one process, and then two."""
    for number, first in enumerate(range(0, kills, episodes.KILLS), 1):
        yield episodes.Kills(min(episodes.KILLS, kills - first), processes=1 if number % 3 else 2)


def soak(chosen: Iterator[Episode], seed: str) -> int:
    """Runs episodes; returns how many have failed."""
    passed = failed = acknowledged = 0
    kills: Counter[str] = Counter()
    for number, episode in enumerate(chosen, 1):
        with tempfile.TemporaryDirectory(prefix="hookline-soak-") as folder:
            try:
                happened = episode.run(Path(folder), f"{seed}/{number}")
            except Exception:
                failed += 1
                click.echo(f"{number:4}  FAILED, {episode}, seed {seed}/{number}\n{traceback.format_exc()}")
                continue
        passed += 1
        kills += happened.kills
        acknowledged += happened.acknowledged
        click.echo(f"{number:4}  {happened.text}")
    by_kind = ", ".join(f"{count} {kind}" for kind, count in sorted(kills.items()))
    click.echo(
        f"{kills.total()} kills{f' ({by_kind})' if kills else ''}; {acknowledged:,} events acknowledged and found"
    )
    click.echo(f"{passed} passed, {failed} failed, seed {seed}")
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument(
        "--minutes", type=float, default=5, help="how long, unless the others say how much (default: 5)"
    )
    parser.add_argument("--kills", type=int, default=0, help="kill ingest and PostgreSQL so many times under load")
    parser.add_argument("--fuzz", type=int, default=0, help="send so many malformed bodies")
    parser.add_argument("--seed", default=secrets.token_hex(4), help="what the choices come from (default: random)")
    told = parser.parse_args()
    click.echo(f"seed {told.seed}")
    if not (told.kills or told.fuzz):
        return 1 if soak(by_time(told.minutes), told.seed) else 0
    chosen = [*by_kills(told.kills), *([episodes.Fuzz(told.fuzz)] if told.fuzz else [])]
    return 1 if soak(iter(chosen), told.seed) else 0


if __name__ == "__main__":
    sys.exit(main())
