"""What can go wrong, as exceptions. `from_grpc` alone makes them out of what gRPC raises."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status


class Violation(NamedTuple):
    """One field of a request and what is wrong with it."""

    field: str
    description: str


class HooklineError(Exception):
    """A call failed. `str(error)` is one plain sentence; the gRPC error, if there was one, is the `__cause__`.

    `code` is the gRPC status, None when the client itself found the fault. `reason` is a name of
    hookline.events.v1.ErrorReason without its prefix, empty when it was not Hookline that answered. `retry_delay` is
    the time in seconds after which the server asks to try again, if it asks. `metadata` is the reason's own.
    """

    codes: ClassVar[frozenset[grpc.StatusCode]] = frozenset()

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode | None = None,
        reason: str = "",
        violations: Sequence[Violation] = (),
        retry_delay: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.violations = tuple(violations)
        self.retry_delay = retry_delay
        self.metadata = dict(metadata or {})


class InvalidRequest(HooklineError):
    """The request can't be answered as it is; `violations` name the fields. Sending it again will not help."""

    codes = frozenset(
        {
            grpc.StatusCode.INVALID_ARGUMENT,
            grpc.StatusCode.FAILED_PRECONDITION,
            grpc.StatusCode.OUT_OF_RANGE,
            grpc.StatusCode.ALREADY_EXISTS,
        }
    )


class NotFound(HooklineError):
    """The company has nothing of that id or name."""

    codes = frozenset({grpc.StatusCode.NOT_FOUND})


class PermissionDenied(HooklineError):
    """The caller may not do this, or did not say who it is."""

    codes = frozenset({grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED})


class Unavailable(HooklineError):
    """The service can't answer now, and did not within the client's patience. Later it may."""

    codes = frozenset(
        {
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.DEADLINE_EXCEEDED,
            grpc.StatusCode.ABORTED,
            grpc.StatusCode.CANCELLED,
        }
    )


class Unreachable(Unavailable):
    """Nothing has ever answered at the address: it is wrong, or Hookline does not run there."""

    codes = frozenset()

    def __init__(self, address: str) -> None:
        super().__init__(f"Nothing answers at {address}.", code=grpc.StatusCode.UNAVAILABLE)
        self.address = address

    def __reduce__(self) -> tuple[type["Unreachable"], tuple[str]]:
        return type(self), (self.address,)


class TlsFailed(Unavailable):
    """Whoever answers at the address did not prove to be the server, or speaks no TLS. Nothing was sent there."""

    codes = frozenset()

    def __init__(self, address: str, why: str, *, untrusted: bool = False) -> None:
        super().__init__(f"{address} is not trusted: {why}.", code=grpc.StatusCode.UNAVAILABLE)
        self.address = address
        self.why = why
        self.untrusted = untrusted

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), untrusted=self.untrusted), (self.address, self.why)


class ServerDefect(HooklineError):
    """The server is broken, or is not the one this client was made for."""

    codes = frozenset(
        {
            grpc.StatusCode.INTERNAL,
            grpc.StatusCode.UNKNOWN,
            grpc.StatusCode.UNIMPLEMENTED,
            grpc.StatusCode.DATA_LOSS,
        }
    )


class IncompleteExport(HooklineError):
    """What came is not the whole file: the trailer, a chunk, or the proof that they are right is missing."""


class MissingPackage(HooklineError):
    """Something here needs a package that is not installed; an extra of hookline brings it along."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"This needs the package {package}: `pip install {package.partition('.')[0]}` brings it, and so does the "
            f"extra [{extra}] of Hookline's wheel."
        )
        self.package, self.extra = package, extra

    def __reduce__(self) -> tuple[type["MissingPackage"], tuple[str, str]]:
        return type(self), (self.package, self.extra)


_BY_CODE = {code: kind for kind in HooklineError.__subclasses__() for code in kind.codes}


def from_grpc(error: grpc.RpcError, address: str, *, reached: bool) -> HooklineError:
    """Turns what gRPC raised, sync or aio, for a call to `address` into the error of its kind; the most specific wins.

    `reached` says whether anything has answered at the address before. What gRPC raised becomes the `__cause__`.
    """
    made = _from_status(error, address, reached)
    made.__cause__ = error
    return made


def _from_status(error: grpc.RpcError, address: str, reached: bool) -> HooklineError:
    code, details = error.code(), error.details() or ""
    info, bad_request, retry = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
    )
    _unpack(error, info, bad_request, retry)
    if not info.reason:
        if code is grpc.StatusCode.UNAVAILABLE and (failed := _tls_failed(details, address)):
            return failed
        if code is grpc.StatusCode.UNAVAILABLE and not reached and _was_shut(details):
            return Unavailable(
                f"{address} closes the connection without a word, as a server does that asks for TLS or for a client's "
                "certificate.",
                code=code,
            )
        if code is grpc.StatusCode.UNAVAILABLE and not reached:
            return Unreachable(address)
        details = _sentence(code, details, address)
    return _BY_CODE.get(code, ServerDefect)(
        details,
        code=code,
        reason=info.reason,
        violations=[Violation(each.field, each.description) for each in bad_request.field_violations],
        retry_delay=retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None,
        metadata=info.metadata,
    )


# What gRPC says in its text only: the words of BoringSSL and its own, in the order of looking.
_TLS_FAILURES: Sequence[tuple[str, str]] = (
    ("certificate has expired", "its certificate has expired"),
    ("certificate is not yet valid", "its certificate is not valid yet"),
    ("Hostname Verification Check failed", "its certificate is another host's"),
    ("unsupported certificate purpose", "its certificate is not one for servers"),
    ("WRONG_VERSION_NUMBER", "it speaks no TLS"),
    ("Tls handshake failed", "the TLS handshake fails"),
)
_UNTRUSTED = re.compile("unable to get (local )?issuer certificate|self[- ]signed certificate|unable to verify")


def _tls_failed(details: str, address: str) -> TlsFailed | None:
    if _UNTRUSTED.search(details):
        return TlsFailed(address, "its certificate is not of a CA that is trusted here", untrusted=True)
    why = next((why for words, why in _TLS_FAILURES if words in details), None)
    return None if why is None else TlsFailed(address, why)


def _was_shut(details: str) -> bool:
    """Whether something took the connection, and ended it."""
    return "Socket closed" in details or "Connection reset by peer" in details


def _unpack(error: grpc.RpcError, *into: Message) -> None:
    try:
        status: status_pb2.Status | None = rpc_status.from_call(error)
    except (ValueError, DecodeError):
        # Details that contradict the status are someone else's; the status itself still holds.
        return
    for detail in status.details if status else ():
        for message in into:
            if detail.Is(message.DESCRIPTOR):
                detail.Unpack(message)


def _sentence(code: grpc.StatusCode, details: str, address: str) -> str:
    """What to say when it is gRPC that speaks, or a stranger, and not Hookline."""
    match code:
        case grpc.StatusCode.UNAVAILABLE:
            return f"The connection to {address} is lost."
        case grpc.StatusCode.CANCELLED:
            return f"{address} broke off the call."
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"{address} did not answer in time."
        case grpc.StatusCode.UNIMPLEMENTED:
            return f"What answers at {address} does not know this call; is it the right service of Hookline?"
    return f"{address} answered {code.name}: {details or 'no details'}."
