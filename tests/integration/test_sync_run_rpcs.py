"""What SyncService says of runs: their spans, their queue, their log, their differences. No worker runs."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from hookline.sync.v1 import sync_service_pb2 as pb
from services.sync import attempt_store, run_store
from services.sync.attempt_store import End
from services.sync.reconciling import Difference, Reconciliation
from services.sync.run_log import MAX_ENTRIES, Line, Lines
from services.sync.run_store import State
from shared.db import Connection
from shared.timestamps import timestamp
from tests.refusals import refused
from tests.sync_in_process import COMPANY, SOURCE, claimed, create_source, run_now, syncing, trigger

KEY: dict[str, Any] = {"company_id": COMPANY, "source": SOURCE}
BEGIN = datetime(2026, 10, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def at(moment: datetime) -> Timestamp:
    stamp = timestamp(moment)
    assert stamp
    return stamp


async def test_a_span_is_pulled_as_asked_for(database_url: str) -> None:
    async with syncing(database_url) as sync:
        await create_source(sync.stub)
        now = datetime.now(UTC)
        cases: list[tuple[dict[str, Any], datetime, datetime | None]] = [
            ({"start_time": at(BEGIN)}, BEGIN, None),
            ({"start_time": at(BEGIN), "until_time": at(BEGIN + DAY)}, BEGIN, BEGIN + DAY),
            ({"days_back": 7, "until_time": at(now - DAY)}, now - 7 * DAY, now - DAY),
            ({"days_back": 3650}, now - 3650 * DAY, None),
            ({"days_back": 0}, now - 30 * DAY, None),
        ]
        for fields, start, until in cases:
            run = await trigger(sync.stub, **{"days_back": 0, **fields})
            assert abs(run.start_time.ToDatetime(UTC) - start) < timedelta(seconds=30), fields
            assert run.HasField("until_time") == (until is not None)
            if until:
                assert run.until_time.ToDatetime(UTC) == until
            await sync.stub.CancelSyncRun(pb.CancelSyncRunRequest(company_id=COMPANY, run_id=run.run_id))
        [entry, *_] = (
            await sync.stub.ListSyncRunLog(pb.ListSyncRunLogRequest(company_id=COMPANY, run_id=run.run_id))
        ).entries
        assert (entry.code, entry.level, entry.attempt) == ("RUN_CREATED", pb.LOG_LEVEL_INFO, 0)


async def test_spans_that_can_not_be_are_refused(database_url: str) -> None:
    async with syncing(database_url) as sync:
        await create_source(sync.stub)
        ahead = at(datetime.now(UTC) + DAY)
        cases: list[tuple[dict[str, Any], set[str]]] = [
            ({"start_time": ahead}, {"start_time"}),
            ({"start_time": at(datetime(1969, 12, 31, tzinfo=UTC))}, {"start_time"}),
            ({"start_time": Timestamp(seconds=10**12)}, {"start_time"}),
            ({"start_time": at(BEGIN), "days_back": 1}, {"start_time"}),
            ({"start_time": at(BEGIN), "until_time": at(BEGIN)}, {"until_time"}),
            ({"days_back": 1, "until_time": at(BEGIN)}, {"until_time"}),
            ({"days_back": 1, "until_time": Timestamp(seconds=10**12)}, {"until_time"}),
            ({"until_time": at(BEGIN)}, {"until_time"}),
            ({"when_active": 7}, {"when_active"}),
            ({"days_back": -1, "start_time": at(BEGIN), "request_id": "\0"}, {"days_back", "start_time", "request_id"}),
        ]
        for fields, violations in cases:
            refusal = await refused(sync.stub.TriggerSync(pb.TriggerSyncRequest(**KEY, **fields)))
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"), fields
            assert refusal.violations.keys() == violations, fields


async def test_twenty_that_queue_up_at_the_same_moment_all_get_a_run_of_their_own(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_store, "MAX_BEHIND", 15)
    async with syncing(database_url) as sync:
        await create_source(sync.stub)
        request = pb.TriggerSyncRequest(**KEY, when_active=pb.WHEN_ACTIVE_QUEUE)
        answers = await asyncio.gather(*(sync.stub.TriggerSync(request) for _ in range(20)), return_exceptions=True)
        made = [answer for answer in answers if isinstance(answer, pb.TriggerSyncResponse)]
        assert len({answer.run.run_id for answer in made}) == len(made) == 16
        assert all(answer.created for answer in made)
        assert [answer.run.behind for answer in made].count(False) == 1
        refusal = await refused(sync.stub.TriggerSync(request))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SYNC_QUEUE_FULL")
        assert refusal.metadata == {"source": SOURCE}
        # The same request again is answered with its run, though the queue is full.
        cancel = next(answer.run for answer in made if answer.run.behind)
        cancelled = await sync.stub.CancelSyncRun(pb.CancelSyncRunRequest(company_id=COMPANY, run_id=cancel.run_id))
        assert (cancelled.run.state, cancelled.run.behind) == (pb.SYNC_RUN_STATE_CANCELLED, False)
        known = pb.TriggerSyncRequest(**KEY, when_active=pb.WHEN_ACTIVE_QUEUE, request_id="one")
        first = await sync.stub.TriggerSync(known)
        assert (first.created, first.run.behind) == (True, True)
        again = await sync.stub.TriggerSync(known)
        assert (again.created, again.run) == (False, first.run)
        missing = pb.TriggerSyncRequest(company_id=COMPANY, source="x", when_active=pb.WHEN_ACTIVE_QUEUE)
        assert (await refused(sync.stub.TriggerSync(missing))).reason == "SOURCE_NOT_FOUND"


async def test_who_loses_every_race_for_a_run_is_asked_to_try_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: object) -> None:
        """A run stood in the way, and has just ended."""

    monkeypatch.setattr(run_store, "create_run", lost)
    async with syncing(database_url) as sync:
        await create_source(sync.stub)
        refusal = await refused(sync.stub.TriggerSync(pb.TriggerSyncRequest(**KEY)))
        assert refusal.code == grpc.StatusCode.UNAVAILABLE
        missing = pb.TriggerSyncRequest(company_id=COMPANY, source="x")
        assert (await refused(sync.stub.TriggerSync(missing))).reason == "SOURCE_NOT_FOUND"


async def ended(connection: Connection, run: pb.SyncRun, end: End, lines: list[Line]) -> None:
    """Ends a run as a worker would."""
    claim = await claimed(connection, uuid.UUID(run.run_id))
    assert await attempt_store.leave_run(connection, claim, end, 3, lines)


async def test_the_log_is_listed_page_by_page_in_order(database_url: str, connection: Connection) -> None:
    async with syncing(database_url) as sync:
        await create_source(sync.stub)
        run = await trigger(sync.stub)
        lines = [Line("warning", "PAGE_RETRIED", f"number {number}") for number in range(5)]
        await ended(connection, run, End(State.FAILED, "The platform answers 404."), lines)
        listed: list[list[pb.SyncRunLogEntry]] = []
        token = ""
        while token or not listed:
            page = await sync.stub.ListSyncRunLog(
                pb.ListSyncRunLogRequest(company_id=COMPANY, run_id=run.run_id, page_size=3, page_token=token)
            )
            listed.append(list(page.entries))
            token = page.next_page_token
        assert [len(page) for page in listed] == [3, 3, 2]
        entries = [entry for page in listed for entry in page]
        assert [entry.code for entry in entries] == ["RUN_CREATED", "RUN_BEGUN", *["PAGE_RETRIED"] * 5, "RUN_ENDED"]
        assert [entry.message for entry in entries[2:7]] == [line.message for line in lines]
        assert [entry.attempt for entry in entries] == [0, *[1] * 7]
        assert entries[2].level == pb.LOG_LEVEL_WARNING
        assert (entries[-1].level, entries[-1].message) == (
            pb.LOG_LEVEL_ERROR,
            "It has failed. The platform answers 404.",
        )
        times = [entry.log_time.ToDatetime() for entry in entries]
        assert times == sorted(times)
        first = await sync.stub.ListSyncRunLog(
            pb.ListSyncRunLogRequest(company_id=COMPANY, run_id=run.run_id, page_size=1)
        )
        other = await trigger(sync.stub)
        wrong = pb.ListSyncRunLogRequest(company_id=COMPANY, run_id=other.run_id, page_token=first.next_page_token)
        assert (await refused(sync.stub.ListSyncRunLog(wrong))).reason == "INVALID_PAGE_TOKEN"


def test_a_log_keeps_room_for_what_matters() -> None:
    lines = Lines(MAX_ENTRIES - 201)
    for _ in range(3):
        lines.add("warning", "PAGE_RETRIED", "x")
    assert len(lines.take()) == 1
    for _ in range(201):
        lines.add("info", "HANDED_BACK", "x")
    assert len(lines.take()) == 200
    assert lines.take() == []


async def test_differences_are_listed_page_by_page(database_url: str, connection: Connection) -> None:
    async with syncing(database_url) as sync:
        await create_source(sync.stub)
        run = await trigger(sync.stub)
        ids = [uuid.UUID(int=number) for number in range(3)]
        found = Reconciliation(
            listed=10,
            stored=8,
            missing=2,
            unlisted=3,
            differences=[
                *(Difference("missing", f"i-{number}", None, "TYPE_MISSING", "no type") for number in range(2)),
                *(Difference("unlisted", None, event_id, "NOT_LISTED", "not listed") for event_id in ids),
            ],
        )
        request: dict[str, Any] = {"company_id": COMPANY, "run_id": run.run_id}
        before = await sync.stub.ListSyncDifferences(pb.ListSyncDifferencesRequest(**request))
        assert (list(before.differences), before.next_page_token) == ([], "")
        assert not (await run_now(sync.stub, run)).HasField("reconciliation")
        await ended(connection, run, End(State.SUCCEEDED, found=found, gap=found.gap(None)), [])
        reconciliation = (await run_now(sync.stub, run)).reconciliation
        assert (reconciliation.listed, reconciliation.stored, reconciliation.missing) == (10, 8, 2)
        assert (reconciliation.unlisted, reconciliation.HasField("said")) == (3, False)
        listed: list[pb.SyncDifference] = []
        token = ""
        while token or not listed:
            page = await sync.stub.ListSyncDifferences(
                pb.ListSyncDifferencesRequest(**request, page_size=2, page_token=token)
            )
            listed += page.differences
            token = page.next_page_token
        assert listed[0] == pb.SyncDifference(
            kind=pb.DIFFERENCE_KIND_MISSING, item_id="i-0", reason="TYPE_MISSING", message="no type"
        )
        assert [one.event_id for one in listed[2:]] == [str(event_id) for event_id in ids]
        assert {one.kind for one in listed[2:]} == {pb.DIFFERENCE_KIND_UNLISTED}


def test_a_gap_is_what_lacks_or_is_not_stored() -> None:
    whole, spoilt = Reconciliation(10, 10, 0, 5, []), Reconciliation(10, 9, 1, None, [])
    assert whole.gap(None) is None
    assert whole.gap("Two lack.") == "Two lack."
    assert spoilt.gap(None) == "1 of 10 listed events are not stored."
    assert spoilt.gap("Two lack.") == "Two lack. 1 of 10 listed events are not stored."
