"""The errors that reach people: callers (over gRPC) and the operator (one sentence).

Code anywhere below the edge raises one of these; `shared.interceptors` alone turns them into google.rpc.Status.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import grpc
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from hookline.events.v1.error_reason_pb2 import ErrorReason

DOMAIN = "hookline"


class OperatorError(Exception):
    """A mistake in how Hookline is set up. Its text is one plain sentence; the process ends with it, non-zero."""


class HooklineError(Exception):
    """What a caller is told. Its text is meant for the caller: it holds no personal data and no internals."""

    code: ClassVar[grpc.StatusCode]
    reason: ClassVar[ErrorReason.ValueType]

    def __init__(self, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.message = message
        self.metadata: Mapping[str, str] = metadata

    def details(self) -> list[Message]:
        """The google.rpc details: always an ErrorInfo, and what the kind of error adds to it."""
        name = ErrorReason.Name(self.reason).removeprefix("ERROR_REASON_")
        return [error_details_pb2.ErrorInfo(reason=name, domain=DOMAIN, metadata=self.metadata)]

    def to_status(self) -> status_pb2.Status:
        """The error in wire form."""
        packed = []
        for detail in self.details():
            packed.append(any_pb2.Any())
            packed[-1].Pack(detail)
        return status_pb2.Status(code=self.code.value[0], message=self.message, details=packed)


@dataclass(frozen=True)
class Violation:
    """One field of a request and what is wrong with it. `field` is a path such as "marks[3].status"."""

    field: str
    description: str


class InvalidField(HooklineError):
    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = ErrorReason.ERROR_REASON_INVALID_FIELD

    def __init__(self, *violations: Violation) -> None:
        super().__init__("; ".join(f"{violation.field}: {violation.description}" for violation in violations))
        self.violations: Sequence[Violation] = violations

    def details(self) -> list[Message]:
        fields = [
            error_details_pb2.BadRequest.FieldViolation(field=violation.field, description=violation.description)
            for violation in self.violations
        ]
        return [*super().details(), error_details_pb2.BadRequest(field_violations=fields)]


def _retry_info(seconds: float) -> error_details_pb2.RetryInfo:
    delay = Duration()
    # Not a millisecond too early.
    delay.FromMilliseconds(math.ceil(seconds * 1000))
    return error_details_pb2.RetryInfo(retry_delay=delay)


class MalformedMessage(HooklineError):
    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = ErrorReason.ERROR_REASON_MALFORMED_MESSAGE


class InvalidPageToken(HooklineError):
    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = ErrorReason.ERROR_REASON_INVALID_PAGE_TOKEN

    def __init__(self) -> None:
        super().__init__("page_token: not one that this method gave for the same request")

    def details(self) -> list[Message]:
        violation = error_details_pb2.BadRequest.FieldViolation(field="page_token", description=self.message)
        return [*super().details(), error_details_pb2.BadRequest(field_violations=[violation])]


class EventNotFound(HooklineError):
    code = grpc.StatusCode.NOT_FOUND
    reason = ErrorReason.ERROR_REASON_EVENT_NOT_FOUND


class IngestQueueFull(HooklineError):
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = ErrorReason.ERROR_REASON_INGEST_QUEUE_FULL

    def __init__(self, retry_seconds: float) -> None:
        super().__init__("more events are waiting to be committed than the service holds; try again shortly")
        self.retry_seconds = retry_seconds

    def details(self) -> list[Message]:
        return [*super().details(), _retry_info(self.retry_seconds)]


class DatabaseUnavailable(HooklineError):
    code = grpc.StatusCode.UNAVAILABLE
    reason = ErrorReason.ERROR_REASON_DATABASE_UNAVAILABLE

    def __init__(self) -> None:
        super().__init__("the database can't be reached just now; try again")


class ServerStopping(HooklineError):
    code = grpc.StatusCode.UNAVAILABLE
    reason = ErrorReason.ERROR_REASON_SERVER_STOPPING

    def __init__(self) -> None:
        super().__init__("this server is stopping; try again")


class DeadlineExceeded(HooklineError):
    code = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = ErrorReason.ERROR_REASON_DEADLINE_EXCEEDED


class MethodNotFound(HooklineError):
    code = grpc.StatusCode.UNIMPLEMENTED
    reason = ErrorReason.ERROR_REASON_METHOD_NOT_FOUND


class InvalidResumeToken(HooklineError):
    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = ErrorReason.ERROR_REASON_INVALID_RESUME_TOKEN

    def __init__(self) -> None:
        super().__init__("resume_token: not one that this method gave for the same request")

    def details(self) -> list[Message]:
        violation = error_details_pb2.BadRequest.FieldViolation(field="resume_token", description=self.message)
        return [*super().details(), error_details_pb2.BadRequest(field_violations=[violation])]


class ExportNotResumable(HooklineError):
    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = ErrorReason.ERROR_REASON_EXPORT_NOT_RESUMABLE
    _WHY: ClassVar = {
        "erased": "events were erased since it began",
        "format_changed": "the server writes the format in another way now",
        "log_changed": "the events are no longer those that it began with",
    }

    def __init__(self, cause: str) -> None:
        super().__init__(f"the export can't go on: {self._WHY[cause]}; start over", cause=cause)


class ReaderStalled(HooklineError):
    code = grpc.StatusCode.ABORTED
    reason = ErrorReason.ERROR_REASON_READER_STALLED

    def __init__(self, seconds: float) -> None:
        super().__init__(f"nothing was taken for {seconds:g} seconds", seconds=f"{seconds:g}")


class SequenceOutOfRange(HooklineError):
    code = grpc.StatusCode.OUT_OF_RANGE
    reason = ErrorReason.ERROR_REASON_SEQUENCE_OUT_OF_RANGE

    def __init__(self, last_sequence: int) -> None:
        super().__init__(
            f"after_sequence: the company's last event is {last_sequence}", last_sequence=str(last_sequence)
        )


class SourceNotFound(HooklineError):
    code = grpc.StatusCode.NOT_FOUND
    reason = ErrorReason.ERROR_REASON_SOURCE_NOT_FOUND

    def __init__(self, source: str) -> None:
        super().__init__(f"the company has no source named {source}", source=source)


class SourceExists(HooklineError):
    code = grpc.StatusCode.ALREADY_EXISTS
    reason = ErrorReason.ERROR_REASON_SOURCE_EXISTS

    def __init__(self, source: str) -> None:
        super().__init__(f"the company has a source named {source} already", source=source)


class ScheduleNotFound(HooklineError):
    code = grpc.StatusCode.NOT_FOUND
    reason = ErrorReason.ERROR_REASON_SCHEDULE_NOT_FOUND

    def __init__(self, source: str) -> None:
        super().__init__(f"{source} has no schedule; start one first", source=source)


class SyncRunActive(HooklineError):
    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = ErrorReason.ERROR_REASON_SYNC_RUN_ACTIVE

    def __init__(self, source: str) -> None:
        super().__init__(f"a run of {source} is active, or waits behind one; cancel them all first", source=source)


class SyncQueueFull(HooklineError):
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = ErrorReason.ERROR_REASON_SYNC_QUEUE_FULL

    def __init__(self, source: str, most: int) -> None:
        super().__init__(f"{most} runs of {source} are queued already; wait for one, or cancel one", source=source)


class SyncRunNotFound(HooklineError):
    code = grpc.StatusCode.NOT_FOUND
    reason = ErrorReason.ERROR_REASON_SYNC_RUN_NOT_FOUND

    def __init__(self, run_id: str) -> None:
        super().__init__("the company has no such run", run_id=run_id)


class EndpointNotFound(HooklineError):
    code = grpc.StatusCode.NOT_FOUND
    reason = ErrorReason.ERROR_REASON_ENDPOINT_NOT_FOUND

    def __init__(self, endpoint_id: str) -> None:
        super().__init__("the company has no such endpoint, or it was revoked", endpoint_id=endpoint_id)


class PlatformMappingNotFound(HooklineError):
    code = grpc.StatusCode.NOT_FOUND
    reason = ErrorReason.ERROR_REASON_PLATFORM_MAPPING_NOT_FOUND

    def __init__(self, platform: str) -> None:
        super().__init__(f"the company has no mapping of its own named {platform}", platform=platform)


class QuarantinedEventNotFound(HooklineError):
    code = grpc.StatusCode.NOT_FOUND
    reason = ErrorReason.ERROR_REASON_QUARANTINED_EVENT_NOT_FOUND

    def __init__(self, quarantine_id: str) -> None:
        super().__init__("the company has nothing of that id in quarantine", quarantine_id=quarantine_id)


class SigningSecretNotFound(HooklineError):
    code = grpc.StatusCode.NOT_FOUND
    reason = ErrorReason.ERROR_REASON_SIGNING_SECRET_NOT_FOUND

    def __init__(self, source: str) -> None:
        super().__init__(f"the company has no signing secret for {source}", source=source)


class AlertChannelNotFound(HooklineError):
    code = grpc.StatusCode.NOT_FOUND
    reason = ErrorReason.ERROR_REASON_ALERT_CHANNEL_NOT_FOUND

    def __init__(self, channel: str) -> None:
        super().__init__(f"the company has no alert channel named {channel}", channel=channel)


class AlertChannelExists(HooklineError):
    code = grpc.StatusCode.ALREADY_EXISTS
    reason = ErrorReason.ERROR_REASON_ALERT_CHANNEL_EXISTS

    def __init__(self, channel: str) -> None:
        super().__init__(f"the company has an alert channel named {channel} already", channel=channel)


class AlertChannelsFull(HooklineError):
    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = ErrorReason.ERROR_REASON_ALERT_CHANNELS_FULL

    def __init__(self, most: int) -> None:
        super().__init__(f"the company has {most} alert channels already; remove one first", most=str(most))


class MailNotSetUp(HooklineError):
    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = ErrorReason.ERROR_REASON_MAIL_NOT_SET_UP

    def __init__(self) -> None:
        super().__init__("this server has no mail server to send by; the operator sets HOOKLINE_SMTP_URL")


class Unauthenticated(HooklineError):
    code = grpc.StatusCode.UNAUTHENTICATED
    reason = ErrorReason.ERROR_REASON_UNAUTHENTICATED


class WrongCompany(HooklineError):
    code = grpc.StatusCode.PERMISSION_DENIED
    reason = ErrorReason.ERROR_REASON_WRONG_COMPANY

    def __init__(self) -> None:
        super().__init__("company_id: the token is another company's")


class ScopeMissing(HooklineError):
    code = grpc.StatusCode.PERMISSION_DENIED
    reason = ErrorReason.ERROR_REASON_SCOPE_MISSING

    def __init__(self, scope: str) -> None:
        super().__init__(f"the token lacks the scope {scope}", scope=scope)


class LimitReached(HooklineError):
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = ErrorReason.ERROR_REASON_LIMIT_REACHED
    _WHAT: ClassVar = {
        "requests": "requests a second",
        "events": "events a second",
        "bytes": "bytes a second",
        "exports": "exports at once",
        "alert_tests": "tests of alert channels",
    }

    def __init__(self, limit: str, retry_seconds: float) -> None:
        super().__init__(f"the company's limit of {self._WHAT[limit]} is reached; try again shortly", limit=limit)
        self.retry_seconds = retry_seconds

    def details(self) -> list[Message]:
        return [*super().details(), _retry_info(self.retry_seconds)]


class InternalError(HooklineError):
    code = grpc.StatusCode.INTERNAL
    reason = ErrorReason.ERROR_REASON_INTERNAL

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"a defect of Hookline; the operator finds it in the log under request id {request_id}",
            request_id=request_id,
        )
