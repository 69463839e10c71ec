"""The quarantine by both clients: what is asked, what is given, page by page and group by group."""

from typing import Any

import grpc
import pytest

from hookline.client import EventConflict, NotFound, OutcomeReason, QuarantinedEvent, QuarantineFilter, Retried
from hookline.client.quarantine import REASONS, reason_name
from hookline.ingest.v1 import ingest_service_pb2 as pb
from tests.unit.scripted import Caller, Refusal, Script, serving

CODE = grpc.StatusCode
WHERE = QuarantineFilter(source="shop", platform="kirvano", reason="TYPE_MISSING")
FILTER = pb.QuarantineFilter(source="shop", platform="kirvano", reason=OutcomeReason.OUTCOME_REASON_TYPE_MISSING)

both_clients = pytest.mark.parametrize("is_async", [False, True], ids=["blocking", "async"])


def lying(number: int) -> QuarantinedEvent:
    return QuarantinedEvent(quarantine_id=f"q-{number}")


def tried(number: int) -> Retried:
    return Retried(quarantine_id=f"q-{number}")


@both_clients
def test_the_quarantine_of_all_pages(is_async: bool) -> None:
    script = Script()
    script.answers = [
        pb.ListQuarantinedEventsResponse(quarantined_events=[lying(1), lying(2)], next_page_token="a"),
        Refusal(),
        pb.ListQuarantinedEventsResponse(next_page_token="b"),
        pb.ListQuarantinedEventsResponse(quarantined_events=[lying(3)]),
        pb.ListQuarantinedEventsResponse(),
    ]
    with serving(script) as server:
        call = Caller(is_async=is_async, address=server.address)
        assert call("list_quarantined", "acme", WHERE, with_discarded=True, page_size=2) == [
            lying(n) for n in (1, 2, 3)
        ]
        assert call("list_quarantined", "acme") == []
    wanted: dict[str, Any] = {"company_id": "acme", "filter": FILTER, "include_discarded": True, "page_size": 2}
    assert script.requests == [
        *(pb.ListQuarantinedEventsRequest(page_token=token, **wanted) for token in ("", "a", "a", "b")),
        pb.ListQuarantinedEventsRequest(company_id="acme", filter=pb.QuarantineFilter()),
    ]


@both_clients
def test_one_that_lies_there(is_async: bool) -> None:
    script = Script()
    whole = QuarantinedEvent(quarantine_id="q-1", payload=b"\xff", headers={"x-topic": "paid"})
    missing = Refusal(CODE.NOT_FOUND, "there is no q-1", "QUARANTINED_EVENT_NOT_FOUND")
    script.answers = [Refusal(), pb.GetQuarantinedEventResponse(quarantined_event=whole), missing]
    with serving(script) as server:
        call = Caller(is_async=is_async, address=server.address)
        assert call("get_quarantined", "acme", "q-1") == whole
        with pytest.raises(NotFound):
            call("get_quarantined", "acme", "q-1")
    assert script.requests == [pb.GetQuarantinedEventRequest(company_id="acme", quarantine_id="q-1")] * 3


@both_clients
def test_a_retry_by_filter_goes_on_page_by_page(is_async: bool) -> None:
    script = Script()
    script.answers = [
        pb.RetryQuarantinedEventsResponse(retried=[tried(1)], next_page_token="a"),
        Refusal(),
        pb.RetryQuarantinedEventsResponse(next_page_token="b"),
        pb.RetryQuarantinedEventsResponse(retried=[tried(2)]),
        pb.RetryQuarantinedEventsResponse(),
    ]
    with serving(script) as server:
        call = Caller(is_async=is_async, address=server.address)
        assert call("retry_quarantined", "acme", WHERE, page_size=1) == [tried(1), tried(2)]
        assert call("retry_quarantined", "acme", QuarantineFilter()) == []
    assert script.requests == [
        *(
            pb.RetryQuarantinedEventsRequest(company_id="acme", filter=FILTER, page_size=1, page_token=token)
            for token in ("", "a", "a", "b")
        ),
        # All is a filter, too: without one the server would refuse.
        pb.RetryQuarantinedEventsRequest(company_id="acme", filter=pb.QuarantineFilter()),
    ]


@both_clients
def test_ids_go_in_groups_that_the_server_takes(is_async: bool) -> None:
    ids = [f"q-{number}" for number in range(1001)]
    groups = [ids[:500], ids[500:1000], ids[1000:]]
    script = Script()
    with serving(script) as server:
        call = Caller(is_async=is_async, address=server.address)
        script.answers = [
            pb.RetryQuarantinedEventsResponse(retried=[Retried(quarantine_id=each) for each in group])
            for group in groups
        ]
        assert [each.quarantine_id for each in call("retry_quarantined", "acme", iter(ids))] == ids
        script.answers = [pb.DiscardQuarantinedEventsResponse(quarantine_ids=group) for group in groups]
        assert call("discard_quarantined", "acme", iter(ids), "not ours") == ids
        assert call("retry_quarantined", "acme", []) == call("discard_quarantined", "acme", [], "none") == []
    assert script.requests == [
        *(pb.RetryQuarantinedEventsRequest(company_id="acme", quarantine_ids=group) for group in groups),
        *(
            pb.DiscardQuarantinedEventsRequest(company_id="acme", quarantine_ids=group, reason="not ours")
            for group in groups
        ),
    ]


@both_clients
def test_a_discard_by_filter_is_called_until_there_is_no_more(is_async: bool) -> None:
    script = Script()
    script.answers = [
        pb.DiscardQuarantinedEventsResponse(quarantine_ids=["q-1", "q-2"], more=True),
        Refusal(),
        pb.DiscardQuarantinedEventsResponse(more=True),
        pb.DiscardQuarantinedEventsResponse(quarantine_ids=["q-3"]),
    ]
    with serving(script) as server:
        call = Caller(is_async=is_async, address=server.address)
        assert call("discard_quarantined", "acme", WHERE, "a scanner") == ["q-1", "q-2", "q-3"]
    request = pb.DiscardQuarantinedEventsRequest(company_id="acme", filter=FILTER, reason="a scanner")
    assert script.requests == [request] * 4


@both_clients
@pytest.mark.parametrize(
    ("method", "more"), [("retry_quarantined", ()), ("discard_quarantined", ("not ours",))], ids=["retry", "discard"]
)
def test_what_was_done_before_an_error_is_given(is_async: bool, method: str, more: tuple[str, ...]) -> None:
    script = Script()
    first: Any = pb.RetryQuarantinedEventsResponse(retried=[tried(1)], next_page_token="a")
    if more:
        first = pb.DiscardQuarantinedEventsResponse(quarantine_ids=["q-1"], more=True)
    script.answers = [first, Refusal(CODE.NOT_FOUND, "there is no q-2", "QUARANTINED_EVENT_NOT_FOUND")]
    received: list[Any] = []
    with serving(script) as server, pytest.raises(NotFound):
        Caller(is_async=is_async, address=server.address)(method, "acme", WHERE, *more, received=received)
    assert received == (["q-1"] if more else [tried(1)])


@both_clients
def test_conflicts_of_all_pages(is_async: bool) -> None:
    script = Script()
    one, other = EventConflict(event_id="e-1", payload=b"{}"), EventConflict(event_id="e-1", payload=b"[]")
    script.answers = [
        pb.ListEventConflictsResponse(conflicts=[one], next_page_token="a"),
        Refusal(),
        pb.ListEventConflictsResponse(conflicts=[other]),
        pb.ListEventConflictsResponse(),
    ]
    with serving(script) as server:
        call = Caller(is_async=is_async, address=server.address)
        assert call("list_conflicts", "acme", "e-1", page_size=1) == [one, other]
        assert call("list_conflicts", "acme") == []
    assert script.requests == [
        *(
            pb.ListEventConflictsRequest(company_id="acme", event_id="e-1", page_size=1, page_token=token)
            for token in ("", "a", "a")
        ),
        pb.ListEventConflictsRequest(company_id="acme"),
    ]


@both_clients
def test_a_reason_that_there_is_not(is_async: bool) -> None:
    script = Script()
    with serving(script) as server:
        call = Caller(is_async=is_async, address=server.address)
        for method, more in (("list_quarantined", ()), ("retry_quarantined", ()), ("discard_quarantined", ("odd",))):
            with pytest.raises(ValueError, match=r"reason is one of PAYLOAD_EMPTY, .*, not 'ODD'"):
                call(method, "acme", QuarantineFilter(reason="ODD"), *more)
    assert script.requests == []


def test_every_reason_has_a_name() -> None:
    assert len(REASONS) == len(OutcomeReason.values()) - 1
    for name in REASONS:
        assert reason_name(OutcomeReason.Value(f"OUTCOME_REASON_{name}")) == name
    # One that this client does not know yet.
    result = pb.IngestResult.FromString(b"\x30\x63")
    assert reason_name(result.reason) == "99"
