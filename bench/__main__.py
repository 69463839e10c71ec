"""`python -m bench [--only id,id] [--full]`: measures, prints a table and writes results.json beside this file."""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence

from bench import table
from bench.filled import filling
from bench.measure import InexactError, Measurement
from bench.registry import BENCHMARKS, FULL, ON_MANY_EVENTS
from shared.errors import OperatorError


async def measure(ids: Sequence[str], *, full: bool) -> list[Measurement]:
    """Runs benchmarks one after another: each with servers of its own, but for those on many events."""
    measurements = []
    async with filling(full=full) as filled:
        on_many_events = {**ON_MANY_EVENTS, **(FULL if full else {})}
        for benchmark in ids:
            began = time.monotonic()
            if benchmark in BENCHMARKS:
                measurement = await BENCHMARKS[benchmark]()
            else:
                measurement = await on_many_events[benchmark](filled)
            measurements.append(measurement)
            print(f"{benchmark} ({time.monotonic() - began:.0f} s)", *measurement.details, sep="\n  ", flush=True)
    return measurements


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status: 0 also when a goal does not hold, 1 when a benchmark could not run or found what was
    stored or exported to be wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measures Hookline against limits and rivals in the same run."
    )
    usual = [*BENCHMARKS, *ON_MANY_EVENTS]
    every = [*usual, *(one for one in FULL if one not in usual)]
    parser.add_argument("--only", metavar="id,id", help="of " + ", ".join(every))
    parser.add_argument("--full", action="store_true", help="with ten million events, too, and for as long as it takes")
    options = parser.parse_args(arguments)
    known = every if options.full else usual
    ids = options.only.split(",") if options.only else known
    if unknown := [one for one in ids if one not in known]:
        parser.error(f"no benchmark is named {', '.join(unknown)}")
    machine = table.machine()
    try:
        measurements = asyncio.run(measure(ids, full=options.full))
    except (InexactError, OperatorError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(f"\n{machine}\n\n{table.table(measurements)}")
    table.write(measurements)
    if missed := [one.id for one in measurements if not one.holds]:
        print(f"\nGoals that do not hold: {', '.join(missed)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
