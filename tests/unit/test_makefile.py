"""The set-up that make does on a bare machine."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
# As on a Debian without python3-venv: it fails with half of it made.
PYTHON = """#!/bin/sh
case "$1 $2" in "-m venv") mkdir -p "$3/bin" && touch "$3/bin/python" && exit 1;; esac
"""


def test_an_environment_that_can_not_be_made_leaves_nothing_and_names_the_package(tmp_path: Path) -> None:
    python, environment = tmp_path / "python3", tmp_path / "venv"
    python.write_text(PYTHON)
    python.chmod(0o755)
    command = ["make", f"PYTHON={python}", f"VENV={environment}", f"{environment}/bin/python"]
    # The second time as the first.
    for _ in range(2):
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert ran.returncode != 0
        assert ran.stderr.startswith(
            f"{environment}/ can't be made; on Debian and Ubuntu that takes the package python3-venv\n"
        )
        assert not environment.exists()
