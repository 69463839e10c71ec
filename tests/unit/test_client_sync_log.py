"""What happened in a run, and what it has found to be amiss, by both clients."""

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from hookline.client import NotFound, SyncDifference, SyncRun, SyncRunLogEntry, SyncRunState
from hookline.client import runs as client_runs
from hookline.sync.v1 import sync_service_pb2 as pb
from tests.unit.scripted import Caller, Refusal, Script, serving

CODE = grpc.StatusCode
RUNNING = SyncRun(run_id="r-1", state=SyncRunState.SYNC_RUN_STATE_RUNNING)
DONE = SyncRun(run_id="r-1", state=SyncRunState.SYNC_RUN_STATE_SUCCEEDED, end_time=Timestamp(seconds=9))

both_clients = pytest.mark.parametrize("is_async", [False, True], ids=["blocking", "async"])


def entry(number: int) -> SyncRunLogEntry:
    return SyncRunLogEntry(code="PAGE_RETRIED", message=str(number), log_time=Timestamp(seconds=number))


@both_clients
def test_a_log_of_all_pages(is_async: bool) -> None:
    script = Script()
    script.answers = [
        pb.ListSyncRunLogResponse(entries=[entry(1), entry(2)], next_page_token="a"),
        Refusal(),
        pb.ListSyncRunLogResponse(entries=[entry(3)]),
    ]
    with serving(script) as server:
        entries = Caller(is_async=is_async, address=server.address)("run_log", "acme", "r-1", page_size=2)
    assert entries == [entry(1), entry(2), entry(3)]
    assert script.requests == [
        pb.ListSyncRunLogRequest(company_id="acme", run_id="r-1", page_size=2, page_token=token)
        for token in ("", "a", "a")
    ]


@both_clients
def test_a_log_is_followed_until_the_run_has_ended(is_async: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_runs, "FOLLOW_SECONDS", 0)
    script = Script()
    script.answers = [
        pb.GetSyncRunResponse(run=RUNNING),
        pb.ListSyncRunLogResponse(entries=[entry(1), entry(3)]),
        pb.GetSyncRunResponse(run=RUNNING),
        # The same page again, and what was seen to be written late.
        pb.ListSyncRunLogResponse(entries=[entry(1), entry(2), entry(3)], next_page_token="a"),
        pb.ListSyncRunLogResponse(),
        pb.GetSyncRunResponse(run=DONE),
        pb.ListSyncRunLogResponse(entries=[entry(4)]),
    ]
    with serving(script) as server:
        entries = Caller(is_async=is_async, address=server.address)("run_log", "acme", "r-1", follow=True)
    assert entries == [entry(1), entry(3), entry(2), entry(4)]
    asked = [each for each in script.requests if isinstance(each, pb.ListSyncRunLogRequest)]
    assert [each.page_token for each in asked] == ["", "", "a", "a"]
    assert script.answers == []


@both_clients
def test_the_log_of_no_run(is_async: bool) -> None:
    script = Script()
    script.answers = [Refusal(CODE.NOT_FOUND, "there is no run r-1", "SYNC_RUN_NOT_FOUND")] * 2
    with serving(script) as server:
        call = Caller(is_async=is_async, address=server.address)
        for follow in (False, True):
            with pytest.raises(NotFound):
                call("run_log", "acme", "r-1", follow=follow)


@both_clients
def test_differences_of_all_pages(is_async: bool) -> None:
    script = Script()
    differences = [SyncDifference(item_id=str(number)) for number in range(3)]
    script.answers = [
        pb.ListSyncDifferencesResponse(differences=differences[:2], next_page_token="a"),
        Refusal(),
        pb.ListSyncDifferencesResponse(differences=differences[2:]),
    ]
    with serving(script) as server:
        found = Caller(is_async=is_async, address=server.address)("sync_differences", "acme", "r-1", page_size=2)
    assert found == differences
    assert script.requests == [
        pb.ListSyncDifferencesRequest(company_id="acme", run_id="r-1", page_size=2, page_token=token)
        for token in ("", "a", "a")
    ]
