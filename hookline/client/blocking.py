"""The client for ordinary code. Only waiting, sending and receiving: everything else is shared with `aio`."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Protocol, Self

import grpc

from hookline.client import requests
from hookline.client.authorization import Token, authorized, token_or_environment
from hookline.client.blocking_alerts import AlertCalls
from hookline.client.blocking_audit import AuditCalls
from hookline.client.blocking_endpoints import EndpointCalls
from hookline.client.blocking_export import ExportCalls
from hookline.client.blocking_platforms import PlatformCalls
from hookline.client.blocking_privacy import PrivacyCalls
from hookline.client.blocking_quarantine import QuarantineCalls
from hookline.client.blocking_queries import QueryCalls
from hookline.client.blocking_sync import SyncCalls
from hookline.client.errors import Unavailable
from hookline.client.ingest import Batch, Batcher, IngestJob, IngestSummary
from hookline.client.retry import BrokenStream, Retry
from hookline.client.security import File, SecureChannel, Tls, tls_or_environment
from hookline.export.v1.audit_service_pb2_grpc import AuditServiceStub
from hookline.export.v1.event_query_service_pb2_grpc import EventQueryServiceStub
from hookline.export.v1.export_service_pb2_grpc import ExportServiceStub
from hookline.ingest.v1.endpoint_service_pb2_grpc import EndpointServiceStub
from hookline.ingest.v1.ingest_service_pb2 import (
    IncomingEvent,
    IngestEventRequest,
    IngestEventStreamRequest,
    IngestEventStreamResponse,
    IngestResult,
    MarkEventsRequest,
    MarkEventsResponse,
)
from hookline.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub
from hookline.ingest.v1.privacy_service_pb2_grpc import PrivacyServiceStub
from hookline.sync.v1.alert_service_pb2_grpc import AlertServiceStub
from hookline.sync.v1.sync_service_pb2_grpc import SyncServiceStub


class _AckStream(Protocol):
    def __next__(self) -> IngestEventStreamResponse: ...
    def cancel(self) -> object: ...


class Client(
    AlertCalls,
    AuditCalls,
    EndpointCalls,
    ExportCalls,
    PlatformCalls,
    PrivacyCalls,
    QuarantineCalls,
    QueryCalls,
    SyncCalls,
):
    """Talks to Hookline. A context manager; threads may share one. Use `AsyncClient` under asyncio.

    `ingest`, `export` and `sync` are addresses, "host:port"; else HOOKLINE_INGEST_ADDRESS, HOOKLINE_EXPORT_ADDRESS and
    HOOKLINE_SYNC_ADDRESS say where, else 127.0.0.1:50051, :50053 and :50052. Nothing connects before the first call.

    `timeout`: seconds that one call, or the acknowledgement of one batch, may take. `patience`: seconds that a call is
    tried again, after the first failure without anything getting better; `connect_patience` the same for as long as
    nothing has ever answered, by default as `patience`.

    `token`: what every call proves with who it is, or what gives one for each call; else HOOKLINE_TOKEN. Where the
    servers ask for none, it is not looked at.

    `tls`: whether to connect by TLS. `ca` is a file with the CAs to trust in place of public ones; `certificate` and
    `key` are files for servers that ask for a client's certificate. Each of them turns TLS on. Else HOOKLINE_TLS,
    HOOKLINE_TLS_CA, HOOKLINE_TLS_CERTIFICATE and HOOKLINE_TLS_KEY say it. The files are PEM, and are read again when
    they change; OSError tells of one that can't be read. What fails of TLS is TlsFailed.

    Every method raises HooklineError: Unavailable when patience is over, InvalidRequest and the others at once.
    """

    def __init__(
        self,
        ingest: str | None = None,
        export: str | None = None,
        sync: str | None = None,
        *,
        timeout: float = 60,
        patience: float = 60,
        connect_patience: float | None = None,
        token: Token | None = None,
        tls: bool | None = None,
        ca: File | None = None,
        certificate: File | None = None,
        key: File | None = None,
    ) -> None:
        self._timeout = timeout
        services = requests.services(ingest, export, sync, patience, connect_patience)
        self._ingest_service, self._export_service, self._sync_service = services
        secured = tls_or_environment(tls, ca, certificate, key)
        self._channels = [_channel(service.address, secured) for service in services]
        token = token_or_environment(token)
        ingest_channel, export_channel, sync_channel = (authorized(channel, token) for channel in self._channels)
        self._ingest_stub = IngestServiceStub(ingest_channel)
        self._endpoint_stub = EndpointServiceStub(ingest_channel)
        self._privacy_stub = PrivacyServiceStub(ingest_channel)
        self._query_stub = EventQueryServiceStub(export_channel)
        self._export_stub = ExportServiceStub(export_channel)
        self._audit_stub = AuditServiceStub(export_channel)
        self._sync_stub = SyncServiceStub(sync_channel)
        self._alert_stub = AlertServiceStub(sync_channel)

    def close(self) -> None:
        """Closes the connections; calls under way end with an error."""
        for channels in self._channels:
            for channel in channels if isinstance(channels, SecureChannel) else [channels]:
                channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ingest(
        self,
        company: str,
        payload: bytes,
        platform: str = "",
        source: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        query: str = "",
    ) -> IngestResult:
        """Stores one event; see the result's outcome for what became of it.

        `headers` and `query` are those of the HTTP request that brought the payload: some platforms say in one what
        happened, and most sign in one. A signature that comes along is verified where the company has a secret.

        An event that a first attempt stored without the answer getting through is a DUPLICATE in the result.
        """
        event = requests.incoming_event(payload, platform, source, headers, query)
        request = IngestEventRequest(company_id=company, event=event)
        return self._call(self._ingest_service, self._ingest_stub.IngestEvent, request).result

    def ingest_many(
        self,
        company: str,
        events: Iterable[bytes | IncomingEvent],
        platform: str = "",
        source: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        query: str = "",
        batch_size: int = 500,
        progress: Callable[[IngestSummary], object] | None = None,
        on_result: Callable[[int, IngestResult], object] | None = None,
    ) -> IngestSummary:
        """Stores events in batches over one stream, at most 8 batches ahead of the acknowledgements; takes from
        `events` only as fast as they are stored, and waits for a batch to fill up.

        An event is its payload, with what else is given here; or an IncomingEvent, which is sent as it is.

        A broken stream is opened again, and what was not acknowledged is sent again: nothing is lost, and what had
        been stored is counted as a duplicate. `progress` gets the counts so far after each acknowledgement,
        `on_result` each event's position, counted from 0, and what became of it.
        When it raises, what was acknowledged is stored, and sending all of `events` again is safe.
        """
        common = requests.incoming_event(b"", platform, source, headers, query)
        batches = _cut(Batcher(company, common, batch_size), events)
        job, retry = IngestJob(on_result), Retry(self._ingest_service)
        while True:
            outbox: SimpleQueue[IngestEventStreamRequest | None] = SimpleQueue()
            call = self._ingest_stub.IngestEventStream(_until_none(outbox))
            try:
                while _fill(job, batches, outbox):
                    job.acknowledge(self._next(call))
                    retry.progressed()
                    if progress:
                        progress(job.summary)
                outbox.put(None)
                # Everything is stored: this only lets the call end well, rather than be cancelled.
                with suppress(BrokenStream, Unavailable):
                    self._next(call)
                return job.summary
            except BrokenStream as broken:
                job.stream_broke()
                delay = retry.delay_after(broken.error)
            finally:
                # gRPC's own thread waits at the outbox; and a call that is done is not harmed by being cancelled.
                outbox.put(None)
                call.cancel()
            time.sleep(delay)

    def mark(
        self, company: str, marks: Iterable[MarkEventsRequest.Mark]
    ) -> Sequence[MarkEventsResponse.MarkOutcome.ValueType]:
        """Notes what has been done with events, at most 10,000; gives an outcome for each mark, in order."""
        request = MarkEventsRequest(company_id=company, marks=marks)
        return self._call(self._ingest_service, self._ingest_stub.MarkEvents, request).outcomes

    def _next(self, call: _AckStream) -> IngestEventStreamResponse:
        """Waits for the next acknowledgement. gRPC has no time limit on that, so that a timer cancels the call."""
        silent = threading.Event()

        def give_up() -> None:
            silent.set()
            call.cancel()

        timer = threading.Timer(self._timeout, give_up)
        timer.daemon = True
        timer.start()
        try:
            return next(call)
        except StopIteration:
            raise BrokenStream(self._ingest_service.ended_early()) from None
        except grpc.RpcError as error:
            if silent.is_set():
                raise self._ingest_service.silent(self._timeout) from error
            raise BrokenStream(self._ingest_service.error(error)) from error
        finally:
            timer.cancel()


def _channel(address: str, tls: Tls | None) -> Any:
    options = requests.channel_options(address)
    if tls is None:
        return grpc.insecure_channel(address, options)
    return SecureChannel(tls, lambda credentials: grpc.secure_channel(address, credentials, options))


def _cut(batcher: Batcher, events: Iterable[bytes | IncomingEvent]) -> Iterator[Batch]:
    for event in events:
        if batch := batcher.add(event):
            yield batch
    if batch := batcher.rest():
        yield batch


def _fill(job: IngestJob, batches: Iterator[Batch], outbox: SimpleQueue[IngestEventStreamRequest | None]) -> bool:
    """Sends what may be sent; says whether anything is still to be acknowledged."""
    while job.has_room and (batch := job.again() or next(batches, None)):
        if job.send(batch):
            outbox.put(batch.request)
    return job.is_waiting


def _until_none(outbox: SimpleQueue[IngestEventStreamRequest | None]) -> Iterator[IngestEventStreamRequest]:
    while (request := outbox.get()) is not None:
        yield request
