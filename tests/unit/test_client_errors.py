"""Each kind of error over a real socket, by both clients, unary calls and streams."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from hookline.client import (
    HooklineError,
    InvalidRequest,
    MissingPackage,
    NotFound,
    PermissionDenied,
    ServerDefect,
    TlsFailed,
    Unavailable,
    Unreachable,
    Violation,
)
from tests.unit.scripted import Caller, Cut, Refusal, Script, serving

CODE = grpc.StatusCode
KINDS: dict[grpc.StatusCode, type[HooklineError]] = {
    CODE.INVALID_ARGUMENT: InvalidRequest,
    CODE.FAILED_PRECONDITION: InvalidRequest,
    CODE.OUT_OF_RANGE: InvalidRequest,
    CODE.ALREADY_EXISTS: InvalidRequest,
    CODE.NOT_FOUND: NotFound,
    CODE.PERMISSION_DENIED: PermissionDenied,
    CODE.UNAUTHENTICATED: PermissionDenied,
    CODE.UNAVAILABLE: Unavailable,
    CODE.RESOURCE_EXHAUSTED: Unavailable,
    CODE.DEADLINE_EXCEEDED: Unavailable,
    CODE.ABORTED: Unavailable,
    CODE.CANCELLED: Unavailable,
    CODE.INTERNAL: ServerDefect,
    CODE.UNKNOWN: ServerDefect,
    CODE.UNIMPLEMENTED: ServerDefect,
    CODE.DATA_LOSS: ServerDefect,
}


def test_every_status_has_a_kind() -> None:
    assert set(KINDS) == set(CODE) - {CODE.OK}


def told(error: HooklineError) -> tuple[object, ...]:
    """All that an error tells."""
    return (
        type(error),
        str(error),
        error.code,
        error.reason,
        error.violations,
        error.retry_delay,
        error.metadata,
    )


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_errors_arrive_as_they_were_sent(is_async: bool) -> None:
    script = Script()
    with serving(script) as server:
        call = Caller(is_async=is_async, address=server.address, patience=0)
        for code, kind in KINDS.items():
            refusal = Refusal(
                code,
                f"{code.name}: what is wrong, naïvely",
                "SOME_REASON",
                {"event_id": "7"},
                [("marks[3].status", "is missing"), ("company_id", "is malformed")],
                retry_seconds=2.5,
            )
            expected = (
                kind,
                f"{code.name}: what is wrong, naïvely",
                code,
                "SOME_REASON",
                (Violation("marks[3].status", "is missing"), Violation("company_id", "is malformed")),
                2.5,
                {"event_id": "7"},
            )
            script.answers = [refusal, [refusal]]
            for method, arguments in (("get", ("acme", "7")), ("export", ("acme", "csv"))):
                with pytest.raises(HooklineError) as caught:
                    call(method, *arguments)
                assert told(caught.value) == expected
                assert isinstance(caught.value.__cause__, grpc.RpcError)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_errors_on_an_ingest_stream(is_async: bool) -> None:
    script = Script()
    with serving(script) as server:
        call = Caller(is_async=is_async, address=server.address)
        from_server = Refusal(CODE.INVALID_ARGUMENT, "company_id: is malformed", "INVALID_FIELD")
        script.cuts = [Cut(0, from_server)]
        with pytest.raises(InvalidRequest) as caught:
            call("ingest_many", "ac/me", [b"{}"])
        assert (caught.value.reason, str(caught.value)) == ("INVALID_FIELD", "company_id: is malformed")


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_what_grpc_itself_says_becomes_a_sentence(is_async: bool) -> None:
    script = Script()
    with serving(script) as server:
        call = Caller(is_async=is_async, address=server.address, patience=0)
        sentences = {
            CODE.DEADLINE_EXCEEDED: f"{server.address} did not answer in time.",
            CODE.CANCELLED: f"{server.address} broke off the call.",
            CODE.INTERNAL: f"{server.address} answered INTERNAL: odd.",
        }
        for code, sentence in sentences.items():
            script.answers = [Refusal(code, "odd", reason="")]
            with pytest.raises(HooklineError) as caught:
                call("get", "acme", "7")
            assert (str(caught.value), caught.value.reason, caught.value.violations) == (sentence, "", ())
    with pytest.raises(Unreachable) as nobody:
        call("get", "acme", "7")
    assert str(nobody.value) == f"Nothing answers at {server.address}."
    assert nobody.value.address == server.address


def test_a_server_without_the_service() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        with pytest.raises(ServerDefect, match="does not know this call"):
            Caller(is_async=False, address=address)("get", "acme", "7")
    finally:
        server.stop(0).wait()


def test_errors_can_be_pickled() -> None:
    for error in (
        Unreachable("a:1"),
        TlsFailed("a:1", "it speaks no TLS", untrusted=True),
        MissingPackage("pyarrow", "parquet"),
        NotFound("gone", code=CODE.NOT_FOUND, violations=[Violation("a", "b")]),
    ):
        assert told(pickle.loads(pickle.dumps(error))) == told(error)
