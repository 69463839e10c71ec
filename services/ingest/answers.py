"""What the door says: from what became of a delivery to status, headers and JSON. Pure, no I/O."""

import math

import msgspec

from hookline.events.v1.error_reason_pb2 import ErrorReason
from services.ingest.committer import Outcome, Result
from services.ingest.mapping import Reason
from shared.errors import (
    DatabaseUnavailable,
    DeadlineExceeded,
    HooklineError,
    IngestQueueFull,
    LimitReached,
    ServerStopping,
)

Headers = tuple[tuple[bytes, bytes], ...]

_STATUSES = {Outcome.ACCEPTED: 200, Outcome.DUPLICATE: 200, Outcome.QUARANTINED: 202, Outcome.REJECTED: 400}
_REJECTED = {
    Reason.SIGNATURE_MISSING: 401,
    Reason.SIGNATURE_WRONG: 401,
    Reason.SIGNATURE_TOO_OLD: 401,
    Reason.PAYLOAD_TOO_LARGE: 413,
    Reason.HEADERS_TOO_LARGE: 431,
}
# HTTP asks for a challenge beside a 401. It names what platforms sign with, by no scheme that a browser knows.
_CHALLENGE: Headers = ((b"www-authenticate", b'Signature realm="hookline"'),)
_PASSING = (DatabaseUnavailable, DeadlineExceeded, IngestQueueFull, ServerStopping)


class Content(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of an answer. Names and reasons are in lower case; what does not apply is left out."""

    outcome: str
    """Of the contract's Outcome; or "unavailable": nothing is known to be stored, and trying again helps."""
    event_id: str = ""
    sequence: int = 0
    quarantine_id: str = ""
    reason: str = ""
    message: str = ""


class Answer(msgspec.Struct, frozen=True):
    """An answer, ready to be sent."""

    status: int
    outcome: str
    reason: str
    head: bytes
    """Its own headers, as lines."""
    body: bytes


_encode = msgspec.json.Encoder().encode


def answer(status: int, content: Content, headers: Headers = ()) -> Answer:
    """An answer of this status with this content."""
    body = _encode(content)
    head = b"content-length: %d\r\n" % len(body)
    for name, value in headers:
        head += b"%b: %b\r\n" % (name, value)
    return Answer(status, content.outcome, content.reason, head, body)


def of_result(result: Result) -> Answer:
    """What a sender is told about its delivery, once that is decided and, unless rejected, committed."""
    reason = result.reason
    if reason is None:
        return answer(
            _STATUSES[result.outcome],
            Content(result.outcome.name.lower(), event_id=result.event_id, sequence=result.sequence),
        )
    status = _REJECTED.get(reason, 400) if result.outcome is Outcome.REJECTED else _STATUSES[result.outcome]
    content = Content(
        result.outcome.name.lower(),
        quarantine_id=result.quarantine_id,
        reason=reason.lower(),
        message=result.message,
    )
    return answer(status, content, _CHALLENGE if status == 401 else ())


def of_error(error: HooklineError, request_id: str) -> Answer:
    """What a sender is told when its delivery could not be dealt with."""
    headers: Headers = ((b"x-request-id", request_id.encode("latin-1")),)
    reason = ErrorReason.Name(error.reason).removeprefix("ERROR_REASON_").lower()
    if isinstance(error, LimitReached):
        return _unavailable(429, reason, error.message, headers + _retry_after(math.ceil(error.retry_seconds)))
    if isinstance(error, _PASSING):
        seconds = math.ceil(error.retry_seconds) if isinstance(error, IngestQueueFull) else 1
        return _unavailable(503, reason, error.message, headers + _retry_after(seconds))
    return _unavailable(500, reason, error.message, headers)


def too_large(limit: int) -> Answer:
    """The body is larger than `limit` bytes; how large is not known."""
    return _rejected(413, Reason.PAYLOAD_TOO_LARGE.lower(), f"the payload is larger than {limit} bytes")


def not_allowed(methods: bytes) -> Answer:
    """The resource is there, for other methods."""
    return _rejected(405, "method_not_allowed", f"only {methods.decode()} here", ((b"allow", methods),))


def _rejected(status: int, reason: str, message: str, headers: Headers = ()) -> Answer:
    return answer(status, Content("rejected", reason=reason, message=message), headers)


def _unavailable(status: int, reason: str, message: str, headers: Headers = ()) -> Answer:
    return answer(status, Content("unavailable", reason=reason, message=message), headers)


def _retry_after(seconds: int) -> Headers:
    return ((b"retry-after", b"%d" % seconds),)


SERVING = answer(200, Content("serving"))
NOT_SERVING = _unavailable(503, "server_stopping", "this server is stopping; try again", _retry_after(1))
MALFORMED = _rejected(400, "http_malformed", "this is no HTTP request")
NOT_FOUND = _rejected(404, "not_found", "there is nothing here")
UNKNOWN = _rejected(404, "endpoint_unknown", "there is no such endpoint")
REVOKED = _rejected(410, "endpoint_revoked", "this endpoint was revoked")
ENCODED = _rejected(415, "content_encoding_unsupported", "the body must come as it is, without a Content-Encoding")
HEAD_TOO_LARGE = _rejected(431, Reason.HEADERS_TOO_LARGE.lower(), "the headers or the URL are too large")
TOO_SLOW = _unavailable(408, "request_timeout", "the request was not there in time; try again")
TOO_MANY = _unavailable(503, "too_many_connections", "too many connections; try again", _retry_after(1))
