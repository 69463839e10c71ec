"""Real processes, killed under load: no acknowledged event is lost, none is there twice."""

from pathlib import Path

import pytest

from tests.faults import run_episode


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("seed", "kills"), [("1", ["ingest", "postgres", "ingest"]), ("2", ["backend", "postgres", "ingest"])]
)
async def test_nothing_acknowledged_is_lost_or_doubled(tmp_path: Path, seed: str, kills: list[str]) -> None:
    episode = await run_episode(tmp_path, seed, kills)
    assert episode.acknowledged > 500
    # Callers have noticed: the kills hit something.
    assert episode.refusals["UNAVAILABLE"] > 0
