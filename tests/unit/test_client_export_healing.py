"""Exports whose streams break: they heal to the very same file, or say that they can't. The client for ordinary code
against a channel that plays the server message by message; both clients against scripted servers."""

import gzip
import hashlib
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import grpc_testing
import pytest
import zstandard
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.client import (
    Client,
    ExportSummary,
    HooklineError,
    IncompleteExport,
    InvalidRequest,
    ServerDefect,
    Unavailable,
)
from hookline.client.export import MAX_BARREN_STREAMS
from hookline.export.v1 import export_service_pb2 as pb
from tests.unit.scripted import Answer, Caller, Refusal, Script, export_stream, serving

CODE = grpc.StatusCode
PIECES = [b'id,name\n1,"a\nb"\n2,"c', b'""\n"\n3', b",d\n", b"4,e\n"]
CSV = b"".join(PIECES)
WHOLE = export_stream(PIECES, 4)
SUMMARY = ExportSummary(4, len(CSV), hashlib.sha256(CSV).hexdigest())
ERASED = Refusal(
    CODE.FAILED_PRECONDITION, "events were erased since it began", "EXPORT_NOT_RESUMABLE", {"cause": "erased"}
)
FOREIGN = Refusal(CODE.INVALID_ARGUMENT, "no such token", "INVALID_RESUME_TOKEN")
METHOD = pb.DESCRIPTOR.services_by_name["ExportService"].methods_by_name["ExportEvents"]
both_clients = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hookline.client.retry.FIRST_DELAY", 0.001)


def rest(after: int) -> list[pb.ExportEventsResponse]:
    return export_stream(PIECES, 4, after=after)


def changed(messages: Sequence[Message], number: int, change: Callable[[Any], object]) -> list[Any]:
    copies = [pb.ExportEventsResponse.FromString(message.SerializeToString()) for message in messages]
    change(copies[number])
    return copies


class Stage:
    """A channel without a network: the test plays each stream as the client opens it."""

    def __init__(self, channel: grpc_testing.Channel) -> None:
        self._channel, self._client = channel, Client()
        self._taken: SimpleQueue[object] = SimpleQueue()
        self.tokens: list[str] = []
        self.received: list[bytes] = []

    def export(self) -> "Future[None]":
        """Exports, all the while."""
        outcome: Future[None] = Future()
        # Ends with the process, should it wait for a stream that never comes.
        threading.Thread(target=self._receive, args=[outcome], daemon=True).start()
        return outcome

    def _receive(self, outcome: "Future[None]") -> None:
        try:
            for piece in self._client.export("acme", "csv", progress=self._taken.put):
                self.received.append(piece)
        except BaseException as error:
            outcome.set_exception(error)
        else:
            outcome.set_result(None)

    def stream(self, messages: Sequence[Message], code: grpc.StatusCode = CODE.OK) -> None:
        """Plays the next stream."""
        _, request, rpc = self._channel.take_unary_stream(METHOD)
        self.tokens.append(request.resume_token)
        while not self._taken.empty():
            self._taken.get()
        rpc.send_initial_metadata(())
        for message in messages:
            rpc.send_response(message)
        if code is not CODE.OK:
            # This channel forgets what was not taken when it ends in an error.
            for _ in messages:
                self._taken.get(timeout=20)
        rpc.terminate((), code, "")


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    channel = grpc_testing.channel([pb.DESCRIPTOR.services_by_name["ExportService"]], grpc_testing.strict_real_time())
    monkeypatch.setattr("hookline.client.blocking.grpc.insecure_channel", lambda *_: channel)
    return Stage(channel)


ENDS = [CODE.OK, CODE.UNAVAILABLE, CODE.CANCELLED, CODE.INTERNAL, CODE.UNKNOWN]


@pytest.mark.parametrize("end", ENDS, ids=lambda code: code.name)
@pytest.mark.parametrize("length", range(1, len(WHOLE)))
def test_a_stream_cut_at_any_message_goes_on_there(stage: Stage, length: int, end: grpc.StatusCode) -> None:
    outcome = stage.export()
    stage.stream(WHOLE[:length], end)
    stage.stream(rest(length - 1))
    outcome.result(20)
    assert stage.received == PIECES
    assert stage.tokens == ["", f"after {length - 1}" if length > 1 else ""]


@pytest.mark.parametrize("length", range(2, len(WHOLE)))
def test_a_stream_cut_again_and_again_at_each_message(stage: Stage, length: int) -> None:
    """At first the whole is cut, then each rest after one more chunk."""
    outcome = stage.export()
    stage.stream(WHOLE[:length], CODE.UNAVAILABLE)
    for after in range(length - 1, len(PIECES)):
        stage.stream(rest(after)[:2], CODE.UNAVAILABLE)
    stage.stream(rest(len(PIECES)))
    outcome.result(20)
    assert stage.received == PIECES


FAULTS: dict[str, tuple[list[pb.ExportEventsResponse], int]] = {
    "other data": (changed(WHOLE, 2, lambda message: setattr(message.chunk, "data", b'""\n"\n4')), 1),
    "wrong digest": (changed(WHOLE, 1, lambda message: setattr(message.chunk, "digest", bytes(32))), 0),
    "wrong size": (changed(WHOLE, 3, lambda message: setattr(message.chunk, "bytes", 7)), 2),
    "a chunk left out": ([*WHOLE[:2], *WHOLE[3:]], 1),
    "a chunk twice": ([*WHOLE[:3], *WHOLE[2:]], 2),
    "no header": (WHOLE[1:], 0),
    "a second header": ([*WHOLE[:3], WHOLE[0], *WHOLE[3:]], 2),
    "an empty message": ([*WHOLE[:4], pb.ExportEventsResponse(), *WHOLE[4:]], 3),
    "no trailer": (WHOLE[:-1], 4),
    "wrong hash in the trailer": (changed(WHOLE, -1, lambda message: setattr(message.trailer, "sha256", b"")), 4),
    "wrong rows in the trailer": (changed(WHOLE, -1, lambda message: setattr(message.trailer, "rows", 3)), 4),
    "wrong digest in the trailer": (changed(WHOLE, -1, lambda message: setattr(message.trailer, "digest", b"")), 4),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_right_is_asked_for_again(stage: Stage, fault: str) -> None:
    messages, good = FAULTS[fault]
    outcome = stage.export()
    stage.stream(messages)
    stage.stream(rest(good))
    outcome.result(20)
    assert stage.received == PIECES
    assert stage.tokens[1:] == [f"after {good}" if good else ""]


def test_what_stays_wrong_is_given_up(stage: Stage) -> None:
    outcome = stage.export()
    stage.stream(changed(WHOLE, 3, lambda message: setattr(message.chunk, "data", b"x")))
    for _ in range(MAX_BARREN_STREAMS):
        stage.stream(changed(rest(2), 1, lambda message: setattr(message.chunk, "data", b"x")))
    with pytest.raises(IncompleteExport, match="bytes have come"):
        outcome.result(20)
    assert stage.received == PIECES[:2]
    assert stage.tokens == ["", *["after 2"] * MAX_BARREN_STREAMS]


OTHER_FILES: dict[str, Callable[[Any], object]] = {
    "goes on elsewhere": lambda message: setattr(message.header, "resumed_after", 1),
    "is of another moment": lambda message: setattr(message.header, "last_sequence", 9),
    "has other statuses": lambda message: setattr(message.header, "last_change", 9),
    "has other columns": lambda message: message.header.columns.append("payload"),
    "is of another kind": lambda message: setattr(message.header, "media_type", "text/plain"),
}


@pytest.mark.parametrize("what", OTHER_FILES)
def test_a_stream_that_goes_on_with_another_file(stage: Stage, what: str) -> None:
    outcome = stage.export()
    stage.stream(WHOLE[:3], CODE.UNAVAILABLE)
    stage.stream(changed(rest(2), 0, OTHER_FILES[what]))
    stage.stream(rest(2))
    outcome.result(20)
    assert stage.received == PIECES


@pytest.mark.parametrize("code", [CODE.INVALID_ARGUMENT, CODE.PERMISSION_DENIED, CODE.INTERNAL, CODE.UNKNOWN])
def test_what_will_not_get_better_is_not_asked_for_again(stage: Stage, code: grpc.StatusCode) -> None:
    outcome = stage.export()
    stage.stream([], code)
    with pytest.raises(HooklineError) as caught:
        outcome.result(20)
    assert caught.value.code is code


@contextmanager
def scripted(*answers: Sequence[Answer]) -> Iterator[tuple[Script, str]]:
    script = Script()
    script.answers = list(answers)
    with serving(script) as server:
        yield script, server.address


@both_clients
@pytest.mark.parametrize("end", [None, Refusal(), Refusal(CODE.ABORTED, "slow", "READER_STALLED")])
def test_both_clients_heal_everywhere(is_async: bool, end: Refusal | None, tmp_path: Path) -> None:
    for length in range(1, len(WHOLE)):
        first: list[Answer] = [*WHOLE[:length], *([end] if end else [])]
        with scripted(first, rest(length - 1), first, rest(length - 1)) as (script, address):
            call = Caller(is_async=is_async, address=address)
            assert call("export", "acme", "csv") == PIECES
            assert call("export_to_file", "acme", "csv", tmp_path / "events.csv") == SUMMARY
        assert (tmp_path / "events.csv").read_bytes() == CSV
        assert [path.name for path in tmp_path.iterdir()] == ["events.csv"]
        assert [request.resume_token for request in script.requests] == [  # type: ignore[attr-defined]
            "",
            f"after {length - 1}" if length > 1 else "",
        ] * 2


@both_clients
def test_what_can_not_be_healed_leaves_the_file_as_it_was(is_async: bool, tmp_path: Path) -> None:
    target = tmp_path / "events.csv"
    target.write_bytes(b"as it was")
    broken: list[Answer] = [*rest(2)[:1], Refusal(CODE.INTERNAL, "a defect", "INTERNAL")]
    firsts: list[list[Answer]] = [[*WHOLE[:3], Refusal()], [*WHOLE[:3]]]
    for first in firsts:
        with scripted(first, broken) as (_, address), pytest.raises(ServerDefect):
            Caller(is_async=is_async, address=address)("export_to_file", "acme", "csv", target)
    with scripted([*WHOLE[:3], Refusal()]) as (_, address), pytest.raises(Unavailable):
        Caller(is_async=is_async, address=address, patience=0)("export_to_file", "acme", "csv", target)
    assert target.read_bytes() == b"as it was"
    assert [path.name for path in tmp_path.iterdir()] == ["events.csv"]


@both_clients
@pytest.mark.parametrize("refusal", [ERASED, FOREIGN], ids=["erased", "no longer good"])
def test_a_token_that_is_refused(is_async: bool, refusal: Refusal, tmp_path: Path) -> None:
    """A file begins anew by itself; pieces that the caller has can't be taken back."""
    fresh = export_stream([b"id,name\n", b"9,z\n"], 1)
    with scripted([*WHOLE[:3], Refusal()], [refusal], fresh) as (script, address):
        call = Caller(is_async=is_async, address=address)
        assert call("export_to_file", "acme", "csv", tmp_path / "events.csv").rows == 1
        assert [request.resume_token for request in script.requests] == ["", "after 2", ""]  # type: ignore[attr-defined]
        assert (tmp_path / "events.csv").read_bytes() == b"id,name\n9,z\n"
        script.answers = [[*WHOLE[:3], Refusal()], [refusal]]
        received: list[bytes] = []
        with pytest.raises(IncompleteExport, match="the server does not go on with it") as caught:
            call("export", "acme", "csv", received=received)
        assert received == PIECES[:2]
        assert (caught.value.reason, caught.value.metadata) == (refusal.reason, refusal.metadata)


@both_clients
def test_a_token_refused_for_ever(is_async: bool, tmp_path: Path) -> None:
    answers: list[Sequence[Answer]] = [[*WHOLE[:3], Refusal()], [ERASED]] * (MAX_BARREN_STREAMS + 1)
    with scripted(*answers) as (script, address), pytest.raises(IncompleteExport):
        Caller(is_async=is_async, address=address)("export_to_file", "acme", "csv", tmp_path / "events.csv")
    assert script.answers == []
    assert list(tmp_path.iterdir()) == []


@both_clients
def test_a_pipe_can_not_begin_anew(is_async: bool) -> None:
    with scripted([*WHOLE[:3], Refusal()], [ERASED]) as (_, address), pytest.raises(IncompleteExport):
        Caller(is_async=is_async, address=address)("export_to_file", "acme", "csv", "/dev/null")


@both_clients
def test_a_request_that_is_refused_is_not_taken_for_a_token_refused(is_async: bool, tmp_path: Path) -> None:
    with scripted([ERASED]) as (_, address), pytest.raises(InvalidRequest):
        Caller(is_async=is_async, address=address)("export_to_file", "acme", "csv", tmp_path / "events.csv")


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@both_clients
@pytest.mark.parametrize("packing", PACKERS)
def test_compressed_on_the_way(is_async: bool, packing: str) -> None:
    pack = PACKERS[packing]
    packed, tail = export_stream(PIECES, 4, pack=pack), export_stream(PIECES, 4, after=2, pack=pack)
    damaged = changed(packed, 3, lambda message: setattr(message.chunk, "data", pack(b"x")[:-3]))
    with scripted(damaged, tail) as (script, address):
        assert Caller(is_async=is_async, address=address)("export", "acme", "csv", compression=packing) == PIECES
    assert {pb.Compression.Name(one.compression) for one in script.requests} == {  # type: ignore[attr-defined]
        f"COMPRESSION_{packing.upper()}"
    }


class Cutting(Script):
    """Goes on from whatever token comes, and cuts each stream after as many messages as it is told."""

    def __init__(self, pieces: list[bytes], cuts: list[int]) -> None:
        super().__init__()
        self._pieces, self._cuts = pieces, cuts

    def ExportEvents(self, request: pb.ExportEventsRequest, context: grpc.ServicerContext) -> Iterator[Any]:
        after = int(request.resume_token.removeprefix("after ") or 0)
        messages = export_stream(self._pieces, 1, after=after)
        if not self._cuts:
            yield from messages
            return
        # A stream that brings nothing new is one of those of which only so many may be.
        yield from messages[: max(2, self._cuts.pop())]
        Refusal().raise_in(context)


@settings(max_examples=30)
@given(
    is_async=st.booleans(),
    seed=st.integers(0, 2**32),
    cuts=st.lists(st.integers(0, 9), max_size=12),
    count=st.integers(1, 30),
)
def test_a_file_cut_anywhere_is_the_same_file(is_async: bool, seed: int, cuts: list[int], count: int) -> None:
    made = random.Random(seed)
    pieces = [made.randbytes(made.randrange(1, 5000)).replace(b"\n", b"") or b"x" for _ in range(count)]
    pieces[-1] += b"\n"
    script = Cutting(pieces, cuts)
    with serving(script) as server:
        assert Caller(is_async=is_async, address=server.address)("export", "acme", "ndjson") == pieces
