"""Sources and runs by both clients: what is asked, what is given, and watching over broken streams."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from hookline.client import (
    AsyncClient,
    CheckSourceResponse,
    Client,
    InvalidRequest,
    NotFound,
    ServerDefect,
    Source,
    SourceStatus,
    SyncCounts,
    SyncRun,
    SyncRunState,
    TriggerSyncResponse,
    Unavailable,
)
from hookline.client.runs import Watch
from hookline.sync.v1 import sync_service_pb2 as pb
from tests.unit.scripted import Answer, Caller, Refusal, Script, serving

CODE = grpc.StatusCode
SOURCE = Source(company_id="acme", source="shop-1", platform="grapfy")
RUN = SyncRun(company_id="acme", run_id="r-1", source="shop-1", state=SyncRunState.SYNC_RUN_STATE_QUEUED)
ENDS = [
    SyncRunState.SYNC_RUN_STATE_SUCCEEDED,
    SyncRunState.SYNC_RUN_STATE_FAILED,
    SyncRunState.SYNC_RUN_STATE_CANCELLED,
    SyncRunState.SYNC_RUN_STATE_INCOMPLETE,
]

both_clients = pytest.mark.parametrize("is_async", [False, True], ids=["blocking", "async"])


def running(pages: int) -> SyncRun:
    state = SyncRunState.SYNC_RUN_STATE_RUNNING
    return SyncRun(company_id="acme", run_id="r-1", source="shop-1", state=state, counts=SyncCounts(pages=pages))


DONE = SyncRun(
    company_id="acme", run_id="r-1", state=SyncRunState.SYNC_RUN_STATE_SUCCEEDED, end_time=Timestamp(seconds=9)
)


def stream(*runs: SyncRun) -> list[Answer]:
    return [pb.WatchSyncRunResponse(run=run) for run in runs]


CALLS: dict[str, tuple[tuple[Any, ...], dict[str, Any], Message, Message, Any]] = {
    "create_source": (
        ("acme", "shop-1"),
        {
            "platform": "grapfy",
            "base_url": "https://shop.test",
            "credential": "secret",
            "parameters": {"id": "7"},
            "look_back": timedelta(0),
            "run_deadline": timedelta(hours=2),
        },
        pb.CreateSourceRequest(
            company_id="acme",
            source="shop-1",
            platform="grapfy",
            base_url="https://shop.test",
            credential="secret",
            parameters={"id": "7"},
            look_back=Duration(),
            run_deadline=Duration(seconds=7200),
        ),
        pb.CreateSourceResponse(source=SOURCE),
        SOURCE,
    ),
    "update_source": (
        ("acme", "shop-1"),
        {
            "base_url": "https://shop.test",
            "credential": "secret",
            "parameters": {},
            "look_back": timedelta(minutes=5),
            "run_deadline": timedelta(days=1),
        },
        pb.UpdateSourceRequest(
            company_id="acme",
            source="shop-1",
            update_mask=FieldMask(paths=["base_url", "credential", "parameters", "look_back", "run_deadline"]),
            base_url="https://shop.test",
            credential="secret",
            look_back=Duration(seconds=300),
            run_deadline=Duration(seconds=86400),
        ),
        pb.UpdateSourceResponse(source=SOURCE),
        SOURCE,
    ),
    "get_source": (
        ("acme", "shop-1"),
        {},
        pb.GetSourceRequest(company_id="acme", source="shop-1"),
        pb.GetSourceResponse(source=SOURCE),
        SOURCE,
    ),
    "list_sources": (
        ("acme",),
        {},
        pb.ListSourcesRequest(company_id="acme"),
        pb.ListSourcesResponse(sources=[SOURCE, SOURCE]),
        [SOURCE, SOURCE],
    ),
    "delete_source": (
        ("acme", "shop-1"),
        {},
        pb.DeleteSourceRequest(company_id="acme", source="shop-1"),
        pb.DeleteSourceResponse(),
        None,
    ),
    "check_source": (
        ("acme", "shop-1"),
        {},
        pb.CheckSourceRequest(company_id="acme", source="shop-1"),
        pb.CheckSourceResponse(problem="refused"),
        CheckSourceResponse(problem="refused"),
    ),
    "start_schedule": (
        ("acme", "shop-1", timedelta(minutes=90)),
        {"jitter": timedelta(seconds=30)},
        pb.StartScheduleRequest(
            company_id="acme", source="shop-1", interval=Duration(seconds=5400), jitter=Duration(seconds=30)
        ),
        pb.StartScheduleResponse(source=SOURCE),
        SOURCE,
    ),
    "pause_schedule": (
        ("acme", "shop-1"),
        {},
        pb.PauseScheduleRequest(company_id="acme", source="shop-1"),
        pb.PauseScheduleResponse(source=SOURCE),
        SOURCE,
    ),
    "resume_schedule": (
        ("acme", "shop-1"),
        {},
        pb.ResumeScheduleRequest(company_id="acme", source="shop-1"),
        pb.ResumeScheduleResponse(source=SOURCE),
        SOURCE,
    ),
    "stop_schedule": (
        ("acme", "shop-1"),
        {},
        pb.StopScheduleRequest(company_id="acme", source="shop-1"),
        pb.StopScheduleResponse(source=SOURCE),
        SOURCE,
    ),
    "trigger_sync": (
        ("acme", "shop-1"),
        {"days_back": 30, "request_id": "mine"},
        pb.TriggerSyncRequest(company_id="acme", source="shop-1", days_back=30, request_id="mine"),
        pb.TriggerSyncResponse(run=RUN, created=True),
        TriggerSyncResponse(run=RUN, created=True),
    ),
    "sync_status": (
        ("acme",),
        {},
        pb.GetSyncStatusRequest(company_id="acme"),
        pb.GetSyncStatusResponse(sources=[SourceStatus(source=SOURCE)]),
        [SourceStatus(source=SOURCE)],
    ),
    "get_run": (
        ("acme", "r-1"),
        {},
        pb.GetSyncRunRequest(company_id="acme", run_id="r-1"),
        pb.GetSyncRunResponse(run=RUN),
        RUN,
    ),
    "cancel_run": (
        ("acme", "r-1"),
        {},
        pb.CancelSyncRunRequest(company_id="acme", run_id="r-1"),
        pb.CancelSyncRunResponse(run=RUN),
        RUN,
    ),
}


@both_clients
@pytest.mark.parametrize("method", CALLS)
def test_calls(is_async: bool, method: str) -> None:
    arguments, options, request, answer, expected = CALLS[method]
    script = Script()
    # Each is tried again as well.
    script.answers = [Refusal(), answer]
    with serving(script) as server:
        assert Caller(is_async=is_async, address=server.address)(method, *arguments, **options) == expected
    assert script.requests == [request, request]


@both_clients
def test_a_schedule_without_a_time_is_the_servers(is_async: bool) -> None:
    script = Script()
    script.answers = [pb.StartScheduleResponse(source=SOURCE)]
    with serving(script) as server:
        Caller(is_async=is_async, address=server.address)("start_schedule", "acme", "shop-1")
    assert script.requests == [pb.StartScheduleRequest(company_id="acme", source="shop-1")]


@both_clients
def test_a_schedule_by_cron(is_async: bool) -> None:
    script = Script()
    script.answers = [pb.StartScheduleResponse(source=SOURCE)]
    with serving(script) as server:
        call = Caller(is_async=is_async, address=server.address)
        call("start_schedule", "acme", "shop-1", cron="0 3 * * *", time_zone="America/Sao_Paulo")
        with pytest.raises(ValueError, match="not by both"):
            call("start_schedule", "acme", "shop-1", timedelta(hours=1), cron="0 3 * * *")
    assert script.requests == [
        pb.StartScheduleRequest(company_id="acme", source="shop-1", cron="0 3 * * *", time_zone="America/Sao_Paulo")
    ]


@both_clients
def test_only_what_is_given_of_a_source_is_changed(is_async: bool) -> None:
    script = Script()
    script.answers = [pb.UpdateSourceResponse(source=SOURCE)]
    with serving(script) as server:
        Caller(is_async=is_async, address=server.address)("update_source", "acme", "shop-1", parameters={"a": "b"})
    mask = FieldMask(paths=["parameters"])
    assert script.requests == [
        pb.UpdateSourceRequest(company_id="acme", source="shop-1", update_mask=mask, parameters={"a": "b"})
    ]


@both_clients
def test_a_span_may_be_asked_for_and_wait_its_turn(is_async: bool) -> None:
    script = Script()
    full = Refusal(CODE.RESOURCE_EXHAUSTED, "100 runs of shop-1 are queued", "SYNC_QUEUE_FULL")
    script.answers = [pb.TriggerSyncResponse(run=RUN, created=True), full]
    start, until = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    with serving(script) as server:
        call = Caller(is_async=is_async, address=server.address)
        call("trigger_sync", "acme", "shop-1", start=start, until=until, queue=True, request_id="mine")
        with pytest.raises(Unavailable) as caught:
            call("trigger_sync", "acme", "shop-1", queue=True, request_id="mine")
        with pytest.raises(ValueError, match="time zone"):
            call("trigger_sync", "acme", "shop-1", start=datetime(2026, 1, 1))
    assert caught.value.reason == "SYNC_QUEUE_FULL"
    request = pb.TriggerSyncRequest(
        company_id="acme", source="shop-1", request_id="mine", when_active=pb.WhenActive.WHEN_ACTIVE_QUEUE
    )
    spanning = pb.TriggerSyncRequest()
    spanning.CopyFrom(request)
    spanning.start_time.FromDatetime(start)
    spanning.until_time.FromDatetime(until)
    assert script.requests == [spanning, request]


@both_clients
def test_a_trigger_may_be_sent_again(is_async: bool) -> None:
    script = Script()
    answer = pb.TriggerSyncResponse(run=RUN)
    script.answers = [Refusal(), answer, answer]
    with serving(script) as server:
        call = Caller(is_async=is_async, address=server.address)
        call("trigger_sync", "acme")
        call("trigger_sync", "acme")
    first, again, another = script.requests
    assert isinstance(first, pb.TriggerSyncRequest)
    assert isinstance(another, pb.TriggerSyncRequest)
    assert first == again
    assert uuid.UUID(first.request_id) != uuid.UUID(another.request_id)


@both_clients
def test_runs_of_all_pages(is_async: bool) -> None:
    script = Script()
    script.answers = [
        pb.ListSyncRunsResponse(runs=[running(1), running(2)], next_page_token="a"),
        Refusal(),
        pb.ListSyncRunsResponse(next_page_token="b"),
        pb.ListSyncRunsResponse(runs=[running(3)]),
    ]
    with serving(script) as server:
        runs = Caller(is_async=is_async, address=server.address)("list_runs", "acme", "shop-1", page_size=2)
    assert runs == [running(1), running(2), running(3)]
    tokens = ["", "a", "a", "b"]
    assert script.requests == [
        pb.ListSyncRunsRequest(company_id="acme", source="shop-1", page_size=2, page_token=token) for token in tokens
    ]


@both_clients
@pytest.mark.parametrize("end", ENDS, ids=SyncRunState.Name)
def test_a_run_is_watched_until_it_has_ended(is_async: bool, end: SyncRunState.ValueType) -> None:
    script = Script()
    runs = [RUN, running(1), running(2), SyncRun(run_id="r-1", state=end)]
    script.answers = [stream(*runs)]
    with serving(script) as server:
        assert Caller(is_async=is_async, address=server.address)("watch_run", "acme", "r-1") == runs
    assert script.requests == [pb.WatchSyncRunRequest(company_id="acme", run_id="r-1")]


@both_clients
def test_a_watch_survives_broken_streams_and_drops_repeats(is_async: bool) -> None:
    script = Script()
    script.answers = [
        Refusal(),
        [*stream(RUN, running(1)), Refusal()],
        # Ended well, but too early.
        stream(running(1)),
        [Refusal(CODE.CANCELLED, "broken off", "")],
        [*stream(running(1), running(4), running(4), DONE), Refusal()],
    ]
    with serving(script) as server:
        runs = Caller(is_async=is_async, address=server.address)("watch_run", "acme", "r-1")
    assert runs == [RUN, running(1), running(4), DONE]
    assert script.requests == [pb.WatchSyncRunRequest(company_id="acme", run_id="r-1")] * 5


@both_clients
def test_a_watch_ends_with_patience(is_async: bool) -> None:
    script = Script()
    script.answers = [[*stream(running(1)), Refusal()], stream(running(1)), *[Refusal()] * 50]
    received: list[Any] = []
    with serving(script) as server:
        call = Caller(is_async=is_async, address=server.address, patience=0.3)
        with pytest.raises(Unavailable):
            call("watch_run", "acme", "r-1", received=received)
        assert received == [running(1)]
        script.answers = [stream(running(1))]
        with pytest.raises(Unavailable, match="ended the stream before the run had ended"):
            Caller(is_async=is_async, address=server.address, patience=0)("watch_run", "acme", "r-1")


@both_clients
@pytest.mark.parametrize(
    ("code", "kind"),
    [(CODE.NOT_FOUND, NotFound), (CODE.INVALID_ARGUMENT, InvalidRequest), (CODE.INTERNAL, ServerDefect)],
)
def test_a_watch_is_not_tried_again_in_vain(is_async: bool, code: grpc.StatusCode, kind: type[Exception]) -> None:
    script = Script()
    script.answers = [[*stream(running(1)), Refusal(code, "no", "SOME_REASON")]]
    received: list[Any] = []
    with serving(script) as server, pytest.raises(kind):
        Caller(is_async=is_async, address=server.address)("watch_run", "acme", "r-1", received=received)
    assert received == [running(1)]


@given(pages=st.lists(st.integers(0, 2)))
def test_news_are_what_differs(pages: list[int]) -> None:
    watch = Watch()
    news = [page for page in pages if watch.is_news(running(page))]
    expected = [page for number, page in enumerate(pages) if number == 0 or pages[number - 1] != page]
    assert news == expected
    assert not watch.has_ended


def test_an_end_that_this_client_does_not_know_is_one() -> None:
    watch = Watch()
    run = SyncRun(run_id="r-1", end_time=Timestamp(seconds=9))
    run.MergeFrom(SyncRun.FromString(b"\x20\x63"))
    assert watch.is_news(run)
    assert (run.state, watch.has_ended) == (99, True)


def test_the_address_is_the_third_and_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script()
    with serving(script) as server:
        script.answers = [pb.ListSourcesResponse()] * 2
        with Client("127.0.0.1:1", "127.0.0.1:1", server.address) as client:
            assert list(client.list_sources("acme")) == []
        monkeypatch.setenv("HOOKLINE_SYNC_ADDRESS", server.address)
        with Client("127.0.0.1:1", "127.0.0.1:1") as client:
            assert list(client.list_sources("acme")) == []
    monkeypatch.delenv("HOOKLINE_SYNC_ADDRESS")
    with Client() as client:
        assert client._sync_service.address == "127.0.0.1:50052"


@both_clients
def test_both_clients_have_the_same_methods(is_async: bool) -> None:
    of, other = (AsyncClient, Client) if is_async else (Client, AsyncClient)
    assert {name for name in dir(of) if not name.startswith("_")} <= set(dir(other))
