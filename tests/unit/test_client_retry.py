"""When a client tries again, and when it gives up."""

import time
from itertools import cycle
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.client import HooklineError, Unavailable
from hookline.client.retry import Retry, Service
from hookline.events.v1.events_pb2 import Event
from hookline.export.v1.event_query_service_pb2 import GetEventResponse, ListEventsResponse
from hookline.ingest.v1.ingest_service_pb2 import IngestEventResponse, IngestResult, Outcome
from tests.unit.scripted import Caller, Refusal, Script, serving

CODE = grpc.StatusCode
DELAY = 0.15
FULL = Refusal(CODE.RESOURCE_EXHAUSTED, "too much is waiting", "INGEST_QUEUE_FULL", retry_seconds=DELAY)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def down(code: grpc.StatusCode = CODE.UNAVAILABLE, retry_delay: float | None = None) -> HooklineError:
    return Unavailable("down", code=code, reason="DATABASE_UNAVAILABLE", retry_delay=retry_delay)


@given(
    patience=st.integers(0, 3600),
    jitters=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=5),
    lasts=st.floats(0.1, 5),
)
def test_waits_grow_and_end_with_patience(patience: int, jitters: list[float], lasts: float) -> None:
    clock, turn = Clock(), cycle(jitters)
    retry = Retry(Service("a:1", patience, patience), clock, lambda: next(turn))
    error, waits, started = down(), list[float](), clock.now

    def keep_trying() -> None:
        while True:
            waits.append(retry.delay_after(error))
            clock.now += waits[-1] + lasts

    with pytest.raises(Unavailable) as caught:
        keep_trying()
    assert caught.value is error
    assert sum(waits) <= patience + 1e-6
    assert clock.now - started >= patience - 1e-6
    for number, wait in enumerate(waits[:-1]):
        full = min(0.1 * 2**number, 5)
        assert full / 2 <= wait <= full


def test_progress_gives_patience_anew() -> None:
    clock = Clock()
    retry = Retry(Service("a:1", 10, 10), clock, lambda: 0)
    for _ in range(100):
        assert retry.delay_after(down()) == pytest.approx(0.1)
        clock.now += 9
        retry.progressed()
        clock.now += 9


def test_an_address_that_never_answered_has_patience_of_its_own() -> None:
    clock, service = Clock(), Service("a:1", patience=60, connect_patience=2)
    retry = Retry(service, clock, lambda: 0)
    retry.delay_after(down())
    clock.now += 2
    with pytest.raises(Unavailable):
        retry.delay_after(down())
    service.reached = True
    retry.delay_after(down())


def test_what_the_server_asks_for_is_honoured() -> None:
    retry = Retry(Service("a:1", 10, 10), Clock(), lambda: 0)
    assert retry.delay_after(down(CODE.RESOURCE_EXHAUSTED, 3.5)) == 3.5
    with pytest.raises(Unavailable):
        retry.delay_after(down(CODE.RESOURCE_EXHAUSTED, 10.5))


@pytest.mark.parametrize("code", sorted(set(CODE) - {CODE.UNAVAILABLE, CODE.CANCELLED}, key=str))
def test_what_can_not_get_better_is_not_tried_again(code: grpc.StatusCode) -> None:
    with pytest.raises(Unavailable):
        Retry(Service("a:1", 10, 10), Clock()).delay_after(down(code))


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_every_call_is_tried_again(is_async: bool) -> None:
    script = Script()
    event = Event(event_id="7", payload=b"{}")
    accepted = IngestEventResponse(result=IngestResult(outcome=Outcome.OUTCOME_ACCEPTED, event_id="7", sequence=1))
    with serving(script) as server:
        call = Caller(is_async=is_async, address=server.address)

        def twice(method: str, *arguments: Any, answer: Any) -> Any:
            script.requests, script.answers = [], [Refusal(), answer]
            result = call(method, *arguments)
            first, second = script.requests
            assert first == second
            return result

        assert twice("get", "acme", "7", answer=GetEventResponse(event=event)) == event
        assert twice("list", "acme", answer=ListEventsResponse(events=[event])) == [event]
        assert twice("ingest", "acme", b"{}", answer=accepted) == accepted.result


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_full_queue_is_waited_for(is_async: bool) -> None:
    script = Script()
    script.answers = [FULL, FULL, IngestEventResponse()]
    with serving(script) as server:
        started = time.monotonic()
        Caller(is_async=is_async, address=server.address)("ingest", "acme", b"{}")
        assert time.monotonic() - started >= 2 * DELAY
    assert not script.answers


def test_a_proxy_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    script = Script()
    script.answers = [GetEventResponse()]
    with serving(script) as server:
        assert Caller(is_async=False, address=server.address, patience=0)("get", "acme", "7") == Event()
