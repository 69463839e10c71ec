"""Whatever comes in whatever order, together, and with the process dying in between: stored exactly once."""

from pathlib import Path

import pytest

from tests.interleavings import check_interleavings


@pytest.mark.timeout(300)
def test_nothing_acknowledged_is_lost_or_doubled_in_any_order(database_url: str, tmp_path: Path) -> None:
    check_interleavings(database_url, tmp_path, examples=10, steps=20, crashes=2)
