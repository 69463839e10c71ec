"""`python -m tests.soak [--minutes N] [--kills N] [--sync-kills N] [--pull N] [--breaks N] [--crowd N] [--fuzz N]
[--seed S]`: episodes of faults and of nonsense, one after the other, until time is up; or as much of each as is asked
for.

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

from shared import logs
from tests.soak import episodes
from tests.soak.episodes import Episode

# Of one episode, where there are other kinds, too.
FUZZ_BODIES = 5000
PULLED_EVENTS = 20_000
CROWD_SECONDS = 60
REDIS_AWAY_SECONDS = 60
SYNC_KILLS = 12
"""Of one episode, where so many are asked for: each of what may be killed as often as the others."""


def by_time(minutes: float) -> Iterator[Episode]:
    """Every kind in turn, until time is up."""
    until = time.monotonic() + 60 * minutes
    while True:
        for episode in (
            episodes.Kills(),
            episodes.SyncKills(),
            episodes.Pull(),
            episodes.Breaks(),
            episodes.Kills(processes=2),
            episodes.SyncFaults(),
            episodes.Interleavings(),
            episodes.Crowd(CROWD_SECONDS),
            episodes.Complete(PULLED_EVENTS),
            episodes.Fuzz(FUZZ_BODIES),
        ):
            if time.monotonic() >= until:
                return
            yield episode


def by_kills(kills: int) -> Iterator[Episode]:
    """Episodes of that many kills in all; ingest is one process, one process, and then two."""
    for number, first in enumerate(range(0, kills, episodes.KILLS), 1):
        yield episodes.Kills(min(episodes.KILLS, kills - first), processes=1 if number % 3 else 2)


def by_sync_kills(kills: int) -> Iterator[Episode]:
    """Episodes of that many kills in all, and one of everything else that may happen to syncs."""
    for first in range(0, kills, SYNC_KILLS):
        yield episodes.SyncKills(min(SYNC_KILLS, kills - first))
    if kills:
        yield episodes.SyncFaults(REDIS_AWAY_SECONDS)


def chosen_by(told: argparse.Namespace) -> Iterator[Episode]:
    """As much of each kind as was asked for."""
    yield from by_kills(told.kills)
    yield from by_sync_kills(told.sync_kills)
    if told.pull:
        yield episodes.Complete(told.pull)
    if told.breaks:
        yield episodes.Breaks(told.breaks)
    if told.crowd:
        yield episodes.Crowd(told.crowd)
    if told.fuzz:
        yield episodes.Fuzz(told.fuzz)


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
    parser.add_argument(
        "--sync-kills", type=int, default=0, help="kill whatever takes part in syncs so many times, each in a run"
    )
    parser.add_argument("--pull", type=int, default=0, help="pull a shop of so many events, whose pages fail")
    parser.add_argument("--breaks", type=int, default=0, help="break so many exports off, each a few times")
    parser.add_argument("--crowd", type=float, default=0, help="have a crowd of exports for so many seconds")
    parser.add_argument("--fuzz", type=int, default=0, help="send so many malformed bodies")
    parser.add_argument("--seed", default=secrets.token_hex(4), help="what the choices come from (default: random)")
    told = parser.parse_args()
    click.echo(f"seed {told.seed}")
    # What runs in this process says only what goes wrong.
    logs.configure("soak", "error")
    amounts = (told.kills, told.sync_kills, told.pull, told.breaks, told.crowd, told.fuzz)
    chosen = chosen_by(told) if any(amounts) else by_time(told.minutes)
    return 1 if soak(chosen, told.seed) else 0


if __name__ == "__main__":
    sys.exit(main())
