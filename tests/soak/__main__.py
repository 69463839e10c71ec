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


async def soak(minutes: float, seed: str) -> int:
    """Runs episodes for so long; returns how many have failed."""
    until = time.monotonic() + 60 * minutes
    passed = failed = acknowledged = kills = 0
    while time.monotonic() < until:
        number = passed + failed + 1
        with tempfile.TemporaryDirectory(prefix="hookline-soak-") as folder:
            try:
                episode = await run_episode(Path(folder), f"{seed}/{number}")
            except Exception:
                failed += 1
                click.echo(f"{number:4}  FAILED, seed {seed}/{number}\n{traceback.format_exc()}")
                continue
        passed += 1
        acknowledged += episode.acknowledged
        kills += len(episode.kills)
        refusals = ", ".join(f"{count} {code}" for code, count in sorted(episode.refusals.items()))
        click.echo(
            f"{number:4}  killed {', '.join(episode.kills)}; {episode.acknowledged:,} acknowledged, all there once;"
            f" callers saw {refusals or 'nothing'}; stopped in {episode.stop_seconds:.1f} s"
        )
    click.echo(f"{kills} kills and {passed} stops under load; {acknowledged:,} acknowledged events")
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
