"""Exports that are broken off at random, by whatever can break, while the company's events go on."""

from pathlib import Path

import pytest

from shared.db import Connection
from tests.export_breaks import FAULTS, check_broken_exports
from tests.in_process import Ingesting


@pytest.mark.parametrize("seed", ["a", "b"])
async def test_the_file_is_that_of_an_undisturbed_export(
    ingest: Ingesting, connection: Connection, database_url: str, tmp_path: Path, seed: str
) -> None:
    happened = await check_broken_exports(ingest.stub, connection, database_url, tmp_path, seed, rounds=3)
    assert happened.keys() >= {*FAULTS, "exported as parquet", "written meanwhile", "abandoned and resumed"}
