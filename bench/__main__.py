"""`python -m bench [--only id,id]`: measures, prints a table and writes results.json beside this file."""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence

from bench import table
from bench.measure import InexactError, Measurement
from bench.registry import BENCHMARKS
from shared.errors import OperatorError


async def measure(ids: Sequence[str]) -> list[Measurement]:
    """Runs benchmarks one after another, each with servers of its own."""
    measurements = []
    for benchmark in ids:
        began = time.monotonic()
        measurement = await BENCHMARKS[benchmark]()
        measurements.append(measurement)
        print(f"{benchmark} ({time.monotonic() - began:.0f} s)", *measurement.details, sep="\n  ", flush=True)
    return measurements


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status: 0 also when a goal does not hold, 1 when a benchmark could not run or found what was
    stored or exported to be wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measures Hookline against limits and rivals in the same run."
    )
    parser.add_argument("--only", metavar="id,id", default=",".join(BENCHMARKS), help="of " + ", ".join(BENCHMARKS))
    ids = parser.parse_args(arguments).only.split(",")
    if unknown := [one for one in ids if one not in BENCHMARKS]:
        parser.error(f"no benchmark is named {', '.join(unknown)}")
    machine = table.machine()
    try:
        measurements = asyncio.run(measure(ids))
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
