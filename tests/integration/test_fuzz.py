"""Whatever comes in by the thousand: an answer that makes sense, nothing acknowledged that is not stored, no defect."""

from pathlib import Path

import pytest

from shared import db
from tests.fuzz.run import BODY_SECONDS, fuzz
from tests.ingest_process import IngestProcess


@pytest.mark.timeout(180)
async def test_malformed_deliveries_do_no_harm(database_url: str, tmp_path: Path) -> None:
    async with (
        await db.open_pool(database_url, 2, application_name="test") as pool,
        IngestProcess(database_url, tmp_path, http_body_seconds=BODY_SECONDS, log_level="debug") as ingest,
    ):
        report = await fuzz(ingest, pool, "1", 2000)
    # Among the malformed there are some of every fate.
    assert {"ACCEPTED", "DUPLICATE", "QUARANTINED JSON_MALFORMED", "REJECTED SIGNATURE_WRONG"} <= set(
        report.books.outcomes
    )
