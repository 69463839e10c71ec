"""What is printed and written."""

import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.measure import Measurement

RESULTS = Path(__file__).parent / "results.json"
_TITLES = ("id", "value", "unit", "against", "against_value", "ratio", "goal", "holds")


def table(measurements: Sequence[Measurement]) -> str:
    """A table in Markdown's form, aligned."""
    rows = [_TITLES, *(tuple(_cell(value) for value in record(one).values()) for one in measurements)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_TITLES))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def record(one: Measurement) -> dict[str, str | float | bool]:
    """A measurement as it goes into the file."""
    return {
        "id": one.id,
        "value": round(one.value, 1),
        "unit": one.unit,
        "against": one.against,
        "against_value": round(one.against_value, 1),
        "ratio": round(one.ratio, 3),
        "goal": str(one.goal),
        "holds": one.holds,
    }


def write(measurements: Sequence[Measurement]) -> None:
    """Writes the results beside this module. Those of other benchmarks that an earlier run has left stay."""
    earlier = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    results = {one["id"]: one for one in earlier} | {one.id: record(one) for one in measurements}
    RESULTS.write_text(json.dumps(list(results.values()), indent=2, ensure_ascii=False) + "\n")


def machine() -> str:
    """What it runs on, when, and how busy that is with other things: they take from both sides, not evenly."""
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores ({_processor()}), {platform.system()},"
        f" Python {platform.python_version()}, load at the start {os.getloadavg()[0]:.1f}"
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _cell(value: str | float | bool) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
        case _:
            return value
