"""Hookline's services as real gRPC servers in this process that do what a test's script says, and both clients to try
them with. Nothing here knows how the true services work inside."""

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from click.testing import CliRunner, Result
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from hookline.cli.app import cli
from hookline.client import AsyncClient, Client
from hookline.export.v1 import event_query_service_pb2_grpc, export_service_pb2_grpc
from hookline.export.v1.export_service_pb2 import (
    ExportChunk,
    ExportEventsResponse,
    ExportHeader,
    ExportTrailer,
)
from hookline.ingest.v1 import endpoint_service_pb2_grpc, ingest_service_pb2_grpc, privacy_service_pb2_grpc
from hookline.ingest.v1.ingest_service_pb2 import (
    IngestEventStreamRequest,
    IngestEventStreamResponse,
    IngestResult,
    Outcome,
    OutcomeReason,
)
from hookline.sync.v1 import alert_service_pb2_grpc, sync_service_pb2_grpc


@dataclass(frozen=True)
class Refusal:
    """An error status as a server sends it."""

    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    message: str = "the database can't be reached just now; try again"
    reason: str = "DATABASE_UNAVAILABLE"
    metadata: dict[str, str] = field(default_factory=dict)
    violations: Sequence[tuple[str, str]] = ()
    retry_seconds: float | None = None

    def raise_in(self, context: grpc.ServicerContext) -> None:
        """Ends the call with it."""
        details: list[Message] = []
        if self.reason:
            details.append(error_details_pb2.ErrorInfo(reason=self.reason, domain="hookline", metadata=self.metadata))
        if self.violations:
            fields = [error_details_pb2.BadRequest.FieldViolation(field=f, description=d) for f, d in self.violations]
            details.append(error_details_pb2.BadRequest(field_violations=fields))
        if self.retry_seconds is not None:
            delay = Duration()
            delay.FromMilliseconds(round(self.retry_seconds * 1000))
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        packed = []
        for detail in details:
            packed.append(any_pb2.Any())
            packed[-1].Pack(detail)
        status = status_pb2.Status(code=self.code.value[0], message=self.message, details=packed)
        if packed:
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(self.code, self.message)


@dataclass(frozen=True)
class Cut:
    """One ingest stream: `acks` batches are stored and acknowledged, one more is stored without a word, then it ends:
    with the refusal, or well where there is none."""

    acks: int
    refusal: Refusal | None = field(default_factory=Refusal)


Answer = Message | Refusal


class Script(
    ingest_service_pb2_grpc.IngestServiceServicer,
    endpoint_service_pb2_grpc.EndpointServiceServicer,
    privacy_service_pb2_grpc.PrivacyServiceServicer,
    event_query_service_pb2_grpc.EventQueryServiceServicer,
    export_service_pb2_grpc.ExportServiceServicer,
    sync_service_pb2_grpc.SyncServiceServicer,
    alert_service_pb2_grpc.AlertServiceServicer,
):
    """All services. Unary calls, exports and watches take their answers from `answers`, in order; ingest streams take
    their ends from `cuts`, and go well after those. `stored` are the payloads of the streams, in order of storing."""

    def __init__(self) -> None:
        self.requests: list[Message] = []
        self.answers: list[Answer | Sequence[Answer]] = []
        self.cuts: list[Cut] = []
        self.stored: list[bytes] = []
        self.batches: list[IngestEventStreamRequest] = []
        self.before_batch: Callable[[int], object] = lambda _count: None

    def _answer(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Refusal):
            answer.raise_in(context)
        return answer

    def _stream(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        for message in self._answer(request, context):
            if isinstance(message, Refusal):
                message.raise_in(context)
            yield message

    IngestEvent = _answer
    IngestEvents = _answer
    MarkEvents = _answer
    ListQuarantinedEvents = _answer
    GetQuarantinedEvent = _answer
    RetryQuarantinedEvents = _answer
    DiscardQuarantinedEvents = _answer
    ListEventConflicts = _answer
    ListPlatforms = _answer
    PutPlatformMapping = _answer
    DeletePlatformMapping = _answer
    PreviewMapping = _answer
    CreateEndpoint = _answer
    ListEndpoints = _answer
    RotateEndpoint = _answer
    RevokeEndpoint = _answer
    PutSigningSecret = _answer
    ListSigningSecrets = _answer
    DeleteSigningSecret = _answer
    GetEvent = _answer
    ListEvents = _answer
    CreateSource = _answer
    UpdateSource = _answer
    GetSource = _answer
    ListSources = _answer
    DeleteSource = _answer
    CheckSource = _answer
    StartSchedule = _answer
    PauseSchedule = _answer
    ResumeSchedule = _answer
    StopSchedule = _answer
    TriggerSync = _answer
    GetSyncStatus = _answer
    GetSyncRun = _answer
    ListSyncRuns = _answer
    CancelSyncRun = _answer
    ListSyncRunLog = _answer
    ListSyncDifferences = _answer
    ListAlerts = _answer
    CreateAlertChannel = _answer
    ListAlertChannels = _answer
    DeleteAlertChannel = _answer
    TestAlert = _answer
    SummarizeEvents = _answer
    EraseSubject = _stream
    ExportEvents = _stream
    WatchEvents = _stream
    WatchSyncRun = _stream

    def IngestEventStream(
        self, request_iterator: Iterator[IngestEventStreamRequest], context: grpc.ServicerContext
    ) -> Iterator[IngestEventStreamResponse]:
        cut = self.cuts.pop(0) if self.cuts else None
        for count, request in enumerate(request_iterator):
            self.before_batch(count)
            self.batches.append(request)
            results = [self._store(event.payload) for event in request.events]
            if cut and count == cut.acks:
                if cut.refusal:
                    cut.refusal.raise_in(context)
                return
            yield IngestEventStreamResponse(batch_number=request.batch_number, results=results)

    def _store(self, payload: bytes) -> IngestResult:
        if payload == b"not json":
            return IngestResult(
                outcome=Outcome.OUTCOME_QUARANTINED,
                quarantine_id="q",
                reason=OutcomeReason.OUTCOME_REASON_JSON_MALFORMED,
                message="the payload is not JSON",
            )
        if payload in self.stored:
            return IngestResult(outcome=Outcome.OUTCOME_DUPLICATE, event_id="first")
        self.stored.append(payload)
        return IngestResult(outcome=Outcome.OUTCOME_ACCEPTED, event_id="new", sequence=len(self.stored))


class Server:
    """Serves a script on a free port of this machine, or again on one that it had."""

    def __init__(self, script: Script, port: int = 0) -> None:
        self._server = grpc.server(
            ThreadPoolExecutor(4),
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 16 * 1024 * 1024 + 65536)],
        )
        ingest_service_pb2_grpc.add_IngestServiceServicer_to_server(script, self._server)
        endpoint_service_pb2_grpc.add_EndpointServiceServicer_to_server(script, self._server)
        privacy_service_pb2_grpc.add_PrivacyServiceServicer_to_server(script, self._server)
        event_query_service_pb2_grpc.add_EventQueryServiceServicer_to_server(script, self._server)
        export_service_pb2_grpc.add_ExportServiceServicer_to_server(script, self._server)
        sync_service_pb2_grpc.add_SyncServiceServicer_to_server(script, self._server)
        alert_service_pb2_grpc.add_AlertServiceServicer_to_server(script, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self.address = f"127.0.0.1:{self.port}"
        self._server.start()

    def stop(self) -> None:
        """Breaks all connections."""
        self._server.stop(0).wait()


@contextmanager
def serving(script: Script) -> Iterator[Server]:
    """A server of the script while the block runs."""
    server = Server(script)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def restarting(script: Script, server: Server, *, at_batch: int) -> Iterator[None]:
    """Kills the server when its stream comes to that batch, and starts another in its place."""
    reached, restarted = threading.Event(), threading.Event()
    successors: list[Server] = []

    def before_batch(count: int) -> None:
        if count == at_batch and not reached.is_set():
            reached.set()
            restarted.wait(20)

    def restart() -> None:
        reached.wait(20)
        # Not `stop`: that would wait for the handler, which waits for us.
        server._server.stop(0)
        restarted.set()
        server.stop()
        successors.append(Server(script, server.port))

    script.before_batch = before_batch
    thread = threading.Thread(target=restart)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        for successor in successors:
            successor.stop()


class Caller:
    """Calls a client's method by name, and reads to its end what it gives, into `received` where that is given: the
    same tests then hold both clients to the same behaviour."""

    def __init__(self, *, is_async: bool, address: str, **options: Any) -> None:
        self._is_async = is_async
        self._options = {"ingest": address, "export": address, "sync": address} | options

    def __call__(self, method: str, *arguments: Any, received: list[Any] | None = None, **options: Any) -> Any:
        received = [] if received is None else received
        if self._is_async:
            return asyncio.run(self._call_async(method, arguments, received, options))
        with Client(**self._options) as client:
            result = getattr(client, method)(*arguments, **options)
            if not isinstance(result, Iterator):
                return result
            for each in result:
                received.append(each)
            return received

    async def _call_async(
        self, method: str, arguments: Sequence[Any], received: list[Any], options: dict[str, Any]
    ) -> Any:
        async with AsyncClient(**self._options) as client:
            result = getattr(client, method)(*arguments, **options)
            if not isinstance(result, AsyncIterator):
                return await result
            # One by one, not by a comprehension: what came before an error counts.
            async for each in result:
                received.append(each)  # noqa: PERF401
            return received


@dataclass
class Shell:
    """Runs commands for the company acme against the script's server."""

    script: Script
    server: Server
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, stdin: bytes | None = None) -> Result:
        environment = {
            "HOOKLINE_COMPANY": "acme",
            "HOOKLINE_INGEST_ADDRESS": self.server.address,
            "HOOKLINE_EXPORT_ADDRESS": self.server.address,
            "HOOKLINE_SYNC_ADDRESS": self.server.address,
        }
        return CliRunner().invoke(cli, arguments, input=stdin, env=environment | self.environment)


def export_stream(
    pieces: Sequence[bytes], rows: int, *, after: int = 0, pack: Callable[[bytes], bytes] = bytes
) -> list[ExportEventsResponse]:
    """A faultless export of these pieces; with `after`, the rest of one that is resumed after so many chunks. The token
    of a chunk is "after 1" for the first."""
    messages = [ExportEventsResponse(header=ExportHeader(max_rows=rows, resumed_after=after))]
    digest, total = b"", 0
    for number, data in enumerate(pieces, 1):
        total += len(data)
        digest = hashlib.sha256(digest + data).digest()
        chunk = ExportChunk(
            data=pack(data),
            number=number,
            bytes=total,
            digest=digest,
            rows_read=rows,
            resume_token=f"after {number}",
        )
        if number > after:
            messages.append(ExportEventsResponse(chunk=chunk))
    whole = b"" if after else hashlib.sha256(b"".join(pieces)).digest()
    trailer = ExportTrailer(rows=rows, bytes=total, digest=digest, sha256=whole)
    return [*messages, ExportEventsResponse(trailer=trailer)]
