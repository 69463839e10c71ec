"""What a benchmark gives, and how it measures two things side by side."""

import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

Turn = Callable[[int], Awaitable[float]]
"""Does the work once, for the round whose number it gets, and gives its speed."""


class InexactError(Exception):
    """What was stored or exported is not what was sent: a speed then means nothing."""


@dataclass(frozen=True)
class AtLeast:
    """A goal: the ratio is to be at least so much."""

    ratio: float

    def __str__(self) -> str:
        return f"≥ {self.ratio:g}"

    def holds(self, value: float, against_value: float) -> bool:
        return value / against_value >= self.ratio


@dataclass(frozen=True)
class Below:
    """A goal: the ratio is to be less than so much."""

    ratio: float

    def __str__(self) -> str:
        return f"< {self.ratio:g}"

    def holds(self, value: float, against_value: float) -> bool:
        return value / against_value < self.ratio


@dataclass(frozen=True)
class AtMost:
    """A goal: the value is to be no more than so much, and, with a `ratio`, no more than so many times the other."""

    limit: float
    unit: str
    ratio: float | None = None

    def __str__(self) -> str:
        return f"≤ {self.limit:g} {self.unit}" + (f", ≤ {self.ratio:g} ×" if self.ratio else "")

    def holds(self, value: float, against_value: float) -> bool:
        return value <= self.limit and (self.ratio is None or value <= self.ratio * against_value)


@dataclass(frozen=True)
class AtMostTimes:
    """A goal: the ratio is to be at most so much."""

    ratio: float

    def __str__(self) -> str:
        return f"≤ {self.ratio:g}"

    def holds(self, value: float, against_value: float) -> bool:
        return value / against_value <= self.ratio


@dataclass(frozen=True)
class AtMostAbove:
    """A goal: the value is to be above the other by no more than so much."""

    limit: float
    unit: str

    def __str__(self) -> str:
        return f"+ ≤ {self.limit:g} {self.unit}"

    def holds(self, value: float, against_value: float) -> bool:
        return value - against_value <= self.limit


Goal = AtLeast | Below | AtMost | AtMostTimes | AtMostAbove


@dataclass(frozen=True)
class Measurement:
    """One benchmark's result. `value` and `against_value` are in the same unit."""

    id: str
    value: float
    unit: str
    against: str
    against_value: float
    goal: Goal
    details: Sequence[str] = ()
    """Lines for a person to read, beside the table."""

    @property
    def ratio(self) -> float:
        return self.value / self.against_value

    @property
    def holds(self) -> bool:
        return self.goal.holds(self.value, self.against_value)


async def side_by_side(rounds: int, ours: Turn, rival: Turn) -> tuple[list[float], list[float]]:
    """Speeds of both, round by round. They take turns at going first, so that tables that grow, caches that fill and
    a machine that slows down hit both alike."""
    speeds: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        turns = [(speeds[0], ours), (speeds[1], rival)]
        for noted, turn in turns if number % 2 == 0 else reversed(turns):
            noted.append(await turn(number))
    return speeds


def spread(name: str, speeds: Sequence[float]) -> str:
    """The median and the range of some speeds, for the details."""
    return f"{name}: median {statistics.median(speeds):,.0f}, {min(speeds):,.0f} to {max(speeds):,.0f}"


def ratios(ours: Sequence[float], rival: Sequence[float]) -> str:
    """How far apart the rounds are, for the details: what a ratio near its goal is worth."""
    each = [one / other for one, other in zip(ours, rival, strict=True)]
    return f"ratio by rounds: median {statistics.median(each):.2f}, {min(each):.2f} to {max(each):.2f}"


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest of the values that so many percent of them do not exceed."""
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]
