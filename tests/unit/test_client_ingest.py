"""Ingest of many events: batches, what is counted, and streams that break."""

import itertools
import threading
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.client import AsyncClient, IngestSummary, Problem, ServerDefect, Unavailable
from hookline.client.ingest import MAX_BATCH_BYTES, MAX_PAYLOAD_BYTES, WINDOW, Batch, Batcher, IngestJob
from hookline.client.requests import MAX_MESSAGE_BYTES
from hookline.ingest.v1.ingest_service_pb2 import (
    IncomingEvent,
    IngestEventRequest,
    IngestEventResponse,
    IngestEventStreamRequest,
    IngestEventStreamResponse,
    IngestResult,
    Outcome,
)
from tests.unit.scripted import Caller, Cut, Refusal, Script, restarting, serving

both_clients = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


def cut(sizes: list[int], batch_size: int) -> list[Batch]:
    batcher = Batcher("acme", IncomingEvent(platform="grapfy", source="shop"), batch_size)
    batches = [batcher.add(bytes(size)) for size in sizes]
    return [batch for batch in (*batches, batcher.rest()) if batch]


@given(
    # Around the limit, so that both limits cut.
    sizes=st.lists(st.one_of(st.integers(0, 50), st.integers(MAX_BATCH_BYTES // 3, MAX_BATCH_BYTES + 9)), max_size=20),
    batch_size=st.integers(1, 12),
)
def test_batches_keep_order_and_limits(sizes: list[int], batch_size: int) -> None:
    batches = cut(sizes, batch_size)
    cut_sizes = [[len(event.payload) for event in batch.request.events] for batch in batches]
    assert [size for batch in cut_sizes for size in batch] == sizes
    assert [batch.request.batch_number for batch in batches] == list(range(1, len(batches) + 1))
    firsts = [sum(len(batch) for batch in cut_sizes[:number]) for number in range(len(batches))]
    assert [batch.first for batch in batches] == firsts
    # All of an event counts, not its payload alone.
    event_sizes = [[event.ByteSize() for event in batch.request.events] for batch in batches]
    for sizes_of_batch in event_sizes:
        assert 1 <= len(sizes_of_batch) <= batch_size
        assert sum(sizes_of_batch) <= MAX_BATCH_BYTES or len(sizes_of_batch) == 1
    # None is smaller than it need be.
    for sizes_of_batch, following in itertools.pairwise(event_sizes):
        assert len(sizes_of_batch) == batch_size or sum(sizes_of_batch) + following[0] > MAX_BATCH_BYTES


def test_events_are_sent_as_they_are() -> None:
    (batch,) = cut([3], 10)
    event = IncomingEvent(platform="grapfy", source="shop", payload=bytes(3))
    assert batch.request == IngestEventStreamRequest(company_id="acme", batch_number=1, events=[event])


HEADERS = {"X-Topic": "orders/paid"}
COMMON = IncomingEvent(platform="shopify", source="shop", headers=HEADERS, query="a=b")
OWN = IncomingEvent(platform="kiwify", payload=b"2", query="signature=1")


@both_clients
def test_an_event_comes_with_its_headers_and_query(is_async: bool) -> None:
    script = Script()
    script.answers = [IngestEventResponse(result=IngestResult(outcome=Outcome.OUTCOME_ACCEPTED))]
    with serving(script) as server:
        call = Caller(is_async=is_async, address=server.address)
        call("ingest", "acme", b"1", "shopify", "shop", headers=HEADERS, query="a=b")
        summary = call("ingest_many", "acme", [b"1", OWN, b"3"], "shopify", "shop", headers=HEADERS, query="a=b")
    assert summary == IngestSummary(accepted=3)

    def as_common(payload: bytes) -> IncomingEvent:
        event = IncomingEvent(payload=payload)
        event.MergeFrom(COMMON)
        return event

    assert script.requests == [IngestEventRequest(company_id="acme", event=as_common(b"1"))]
    # One that is an event already is sent as it is.
    assert [list(batch.events) for batch in script.batches] == [[as_common(b"1"), OWN, as_common(b"3")]]


@both_clients
def test_headers_that_no_message_can_hold(is_async: bool) -> None:
    script = Script()
    huge = IncomingEvent(payload=b"2", headers={"x": "y" * (MAX_MESSAGE_BYTES + 1)})
    with serving(script) as server:
        summary = Caller(is_async=is_async, address=server.address)("ingest_many", "acme", [b"1", huge, b"3"])
    assert (summary.accepted, summary.rejected, script.stored) == (2, 1, [b"1", b"3"])


@pytest.mark.parametrize("size", [0, -1, 10_001])
def test_a_batch_size_that_the_server_would_refuse(size: int) -> None:
    with pytest.raises(ValueError, match="10,000"):
        Batcher("acme", IncomingEvent(), size)


def test_acknowledgements_must_be_those_of_the_oldest_batch() -> None:
    accepted = IngestResult(outcome=Outcome.OUTCOME_ACCEPTED)
    for number, results in ((2, [accepted]), (1, []), (1, [accepted, accepted])):
        job = IngestJob()
        for batch in cut([1, 1], 1):
            job.send(batch)
        with pytest.raises(ServerDefect, match="batch 1 with 1 was next"):
            job.acknowledge(IngestEventStreamResponse(batch_number=number, results=results))
    with pytest.raises(ServerDefect, match="does not know"):
        IngestSummary().count(0, IngestResult())


@both_clients
def test_counts(is_async: bool) -> None:
    script = Script()
    payloads = [b"1", b"2", b"not json", b"2", b"3", b"not json"]
    seen: list[int] = []
    told: dict[int, str] = {}
    with serving(script) as server:
        summary = Caller(is_async=is_async, address=server.address)(
            "ingest_many",
            "acme",
            iter(payloads),
            "grapfy",
            "shop",
            batch_size=2,
            progress=lambda so_far: seen.append(so_far.total),
            on_result=lambda position, result: told.update({position: Outcome.Name(result.outcome)}),
        )
    problems = [Problem(position, "JSON_MALFORMED", "the payload is not JSON") for position in (2, 5)]
    assert summary == IngestSummary(accepted=3, duplicates=1, quarantined=2, problems=problems)
    assert seen == [2, 4, 6]
    fates = ["ACCEPTED", "ACCEPTED", "QUARANTINED", "DUPLICATE", "ACCEPTED", "QUARANTINED"]
    assert told == {position: f"OUTCOME_{fate}" for position, fate in enumerate(fates)}
    assert script.stored == [b"1", b"2", b"3"]
    assert {batch.company_id for batch in script.batches} == {"acme"}


@both_clients
def test_nothing_to_send(is_async: bool) -> None:
    with serving(Script()) as server:
        assert Caller(is_async=is_async, address=server.address)("ingest_many", "acme", []) == IngestSummary()


@both_clients
def test_only_the_first_problems_are_kept(is_async: bool) -> None:
    with serving(Script()) as server:
        summary = Caller(is_async=is_async, address=server.address)("ingest_many", "acme", [b"not json"] * 250)
    assert summary.quarantined == 250
    assert [problem.position for problem in summary.problems] == list(range(100))


@both_clients
def test_what_no_message_can_hold_does_not_fail_its_neighbours(is_async: bool) -> None:
    script = Script()
    with serving(script) as server:
        payloads = [b"1", bytes(MAX_PAYLOAD_BYTES + 1), bytes(MAX_PAYLOAD_BYTES), b"2"]
        summary = Caller(is_async=is_async, address=server.address)("ingest_many", "acme", payloads)
    assert (summary.accepted, summary.rejected) == (3, 1)
    assert [(problem.position, problem.reason) for problem in summary.problems] == [(1, "PAYLOAD_TOO_LARGE")]
    assert len(script.stored) == 3


BUSY = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", "INGEST_QUEUE_FULL", retry_seconds=0.01)


@both_clients
@pytest.mark.parametrize("ending", [Refusal(), None, BUSY], ids=["UNAVAILABLE", "OK", "queue full"])
def test_broken_streams_lose_nothing(is_async: bool, ending: Refusal | None) -> None:
    script = Script()
    payloads = [b"%d" % number for number in range(100)]
    script.cuts = [Cut(3, ending), Cut(1, ending), Cut(5, ending)]
    with serving(script) as server:
        summary = Caller(is_async=is_async, address=server.address)("ingest_many", "acme", payloads, batch_size=5)
    assert script.stored == payloads
    assert not script.cuts
    assert summary.total == 100
    # Those batches were stored without a word: once sent again, they are duplicates.
    assert summary == IngestSummary(accepted=85, duplicates=15)
    assert summary.problems == []


@both_clients
def test_a_server_that_is_killed_and_restarted(is_async: bool) -> None:
    script = Script()
    payloads = [b"%d" % number for number in range(200)]
    with serving(script) as server, restarting(script, server, at_batch=7):
        summary = Caller(is_async=is_async, address=server.address)("ingest_many", "acme", payloads, batch_size=5)
    assert sorted(script.stored) == sorted(payloads)
    assert summary.total == 200


@both_clients
def test_patience_ends(is_async: bool) -> None:
    script = Script()
    script.cuts = [Cut(0) for _ in range(100)]
    with serving(script) as server, pytest.raises(Unavailable) as caught:
        Caller(is_async=is_async, address=server.address, patience=0.2)("ingest_many", "acme", [b"1"])
    assert caught.value.reason == "DATABASE_UNAVAILABLE"
    assert 1 < 100 - len(script.cuts) < 10


@both_clients
def test_a_silent_server_is_given_up(is_async: bool) -> None:
    script = Script()
    released = threading.Event()
    script.before_batch = lambda _count: released.wait(20)
    with serving(script) as server:
        with pytest.raises(Unavailable, match=r"has acknowledged nothing for 0\.1 s\."):
            Caller(is_async=is_async, address=server.address, timeout=0.1)("ingest_many", "acme", [b"1"])
        released.set()


@both_clients
def test_payloads_are_taken_only_as_fast_as_they_are_stored(is_async: bool) -> None:
    script = Script()
    ahead: list[int] = []
    acknowledged = 0

    def payloads() -> Iterator[bytes]:
        for number in range(100):
            ahead.append(number - acknowledged)
            yield b"%d" % number

    def progress(so_far: IngestSummary) -> None:
        nonlocal acknowledged
        acknowledged = so_far.total

    with serving(script) as server:
        Caller(is_async=is_async, address=server.address)(
            "ingest_many", "acme", payloads(), batch_size=1, progress=progress
        )
    assert max(ahead) == WINDOW


@both_clients
def test_errors_of_the_caller_s_own_are_not_taken_for_ours(is_async: bool) -> None:
    class Theirs(grpc.RpcError):
        pass

    def payloads() -> Iterator[bytes]:
        yield b"1"
        raise Theirs

    with serving(Script()) as server, pytest.raises(Theirs):
        Caller(is_async=is_async, address=server.address)("ingest_many", "acme", payloads(), batch_size=1)


async def test_payloads_may_come_asynchronously() -> None:
    async def payloads() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"%d" % number

    script = Script()
    with serving(script) as server:
        async with AsyncClient(server.address) as client:
            summary = await client.ingest_many("acme", payloads())
    assert summary == IngestSummary(accepted=3)
    assert script.stored == [b"0", b"1", b"2"]
