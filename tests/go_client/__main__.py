"""Fetches and compiles what the client in Go takes, for tests to come."""

import sys
import tempfile
from pathlib import Path

from tests.go_client import CannotBuildError, build

with tempfile.TemporaryDirectory() as folder:
    try:
        build(Path(folder), download=True)
    except CannotBuildError as error:
        sys.exit(str(error))
