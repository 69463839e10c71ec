"""Real processes, killed under load: no acknowledged event is lost, none is there twice."""

from pathlib import Path

import pytest

from tests.faults import run_episode


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("seed", "processes", "kills"),
    [("1", 1, ["ingest", "postgres", "ingest"]), ("2", 2, ["backend", "child", "postgres", "ingest"])],
)
async def test_nothing_acknowledged_is_lost_or_doubled(
    tmp_path: Path, seed: str, processes: int, kills: list[str]
) -> None:
    episode = await run_episode(tmp_path, seed, kills, processes)
    assert episode.acknowledged > 500
    # Callers have noticed, on both ways in: the kills hit something.
    assert episode.refusals["UNAVAILABLE"] > 0
    assert episode.refusals["no answer"] > 0
