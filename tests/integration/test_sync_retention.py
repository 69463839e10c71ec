"""What is removed when it is old, and what stays."""

import uuid
from datetime import timedelta
from typing import Any

import pytest

from hookline.sync.v1 import sync_service_pb2 as pb
from services.sync import retention, source_servicer
from shared import db
from shared.db import Connection
from tests.refusals import refused
from tests.sync_in_process import COMPANY, SOURCE, create_source, make_run, make_source, syncing

KEPT = timedelta(days=90)
OLD, YOUNG = ["clock_timestamp() - interval '90.001 days'"], ["clock_timestamp() - interval '89.999 days'"]


def ended(state: str, ended_time: Any = OLD) -> dict[str, Any]:
    return {
        "state": state,
        "attempt": 1,
        "ended_time": ended_time,
        "error": "x" if state in ("failed", "incomplete") else None,
        "cancel_requested": state == "cancelled",
    }


async def run_ids(connection: Connection) -> set[uuid.UUID]:
    return {row["run_id"] for row in await connection.fetch("SELECT run_id FROM hookline.sync_runs")}


async def test_what_ended_long_ago_goes_but_for_what_tells_how_a_source_is(
    database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    kept, gone = set(), set()
    for source in ("s1", "s2"):
        await make_source(connection, source=source)
        gone |= {await make_run(connection, source=source, **ended("succeeded")) for _ in range(3)}
        # The last that succeeded, and the last of all.
        kept.add(await make_run(connection, source=source, **ended("succeeded")))
        alerted = await make_run(connection, source=source, **ended("incomplete"))
        gone.add(await make_run(connection, source=source, **ended("failed")))
        kept |= {alerted, await make_run(connection, source=source, **ended("failed"))}
        await connection.execute(
            """
            INSERT INTO hookline.alerts (company_id, alert_id, kind, source, run_id, message, resolve_time,
                                         gap_start_time)
            SELECT $1, gen_random_uuid(), kind, $2, $3, 'x', resolved, gap
            FROM (VALUES ('gap_found', NULL, now()),
                         ('run_failed', now() - interval '90.001 days', NULL),
                         ('run_failed', now() - interval '89.999 days', NULL)) AS a (kind, resolved, gap)
            """,
            COMPANY,
            source,
            alerted,
        )
    await make_source(connection, source="s3")
    young = [await make_run(connection, source="s3", **ended("succeeded", YOUNG)) for _ in range(3)]
    active = await make_run(connection, source="s3")
    async with await db.open_pool(database_url, 2) as pool:
        for _ in range(2):
            await retention.remove_old(pool, KEPT)
            assert await run_ids(connection) == {*kept, *young, active}
    # With all that hung on them.
    logged = await connection.fetch("SELECT DISTINCT run_id FROM hookline.sync_log")
    assert gone.isdisjoint(row["run_id"] for row in logged)
    alerts = await connection.fetch("SELECT kind, resolve_time IS NULL AS is_open FROM hookline.alerts ORDER BY kind")
    assert [tuple(row) for row in alerts] == [("gap_found", True)] * 2 + [("run_failed", False)] * 2


async def test_what_another_scheduler_removes_is_passed_over(database_url: str, connection: Connection) -> None:
    await make_source(connection)
    runs = [await make_run(connection, **ended("failed")) for _ in range(4)]
    async with await db.open_pool(database_url, 2, lock_timeout="1s") as pool, pool.acquire() as other:
        async with other.transaction():
            await other.execute("SELECT FROM hookline.sync_runs WHERE run_id = $1 FOR UPDATE", runs[0])
            await retention.remove_old(pool, KEPT)
        assert await run_ids(connection) == {runs[0], runs[3]}
        await retention.remove_old(pool, KEPT)
    assert await run_ids(connection) == {runs[3]}


async def test_a_source_with_many_runs_is_deleted_batch_by_batch(
    database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_servicer, "_RUNS_AT_ONCE", 2)
    async with syncing(database_url) as sync:
        await create_source(sync.stub)
        for _ in range(5):
            await make_run(connection, **ended("succeeded"))
        active = await make_run(connection)
        request = pb.DeleteSourceRequest(company_id=COMPANY, source=SOURCE)
        assert (await refused(sync.stub.DeleteSource(request))).reason == "SYNC_RUN_ACTIVE"
        # Refused is refused: none of them is gone.
        assert len(await run_ids(connection)) == 6
        await sync.stub.CancelSyncRun(pb.CancelSyncRunRequest(company_id=COMPANY, run_id=str(active)))
        await sync.stub.DeleteSource(request)
        assert await run_ids(connection) == set()
        assert (await refused(sync.stub.DeleteSource(request))).reason == "SOURCE_NOT_FOUND"
