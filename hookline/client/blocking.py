"""The client for ordinary code. Only waiting, sending and receiving: everything else is shared with `aio`."""

import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Protocol, Self

import grpc

from hookline.client import requests
from hookline.client.blocking_endpoints import EndpointCalls
from hookline.client.blocking_platforms import PlatformCalls
from hookline.client.blocking_quarantine import QuarantineCalls
from hookline.client.blocking_sync import SyncCalls
from hookline.client.errors import Unavailable
from hookline.client.export import ExportCheck, ExportProgress, ExportSummary, WholeFile
from hookline.client.ingest import Batch, Batcher, IngestJob, IngestSummary
from hookline.client.requests import Filter, Format, Order
from hookline.client.retry import BrokenStream, Retry
from hookline.events.v1.events_pb2 import Event
from hookline.export.v1.event_query_service_pb2 import GetEventRequest, ListEventsResponse
from hookline.export.v1.event_query_service_pb2_grpc import EventQueryServiceStub
from hookline.export.v1.export_service_pb2 import ExportEventsRequest
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
from hookline.sync.v1.sync_service_pb2_grpc import SyncServiceStub


class _AckStream(Protocol):
    def __next__(self) -> IngestEventStreamResponse: ...
    def cancel(self) -> object: ...


class Client(EndpointCalls, PlatformCalls, QuarantineCalls, SyncCalls):
    """Talks to Hookline. A context manager; threads may share one. Use `AsyncClient` under asyncio.

    `ingest`, `export` and `sync` are addresses, "host:port"; else HOOKLINE_INGEST_ADDRESS, HOOKLINE_EXPORT_ADDRESS and
    HOOKLINE_SYNC_ADDRESS say where, else 127.0.0.1:50051, :50053 and :50052. Nothing connects before the first call.
    There is no TLS yet.

    `timeout`: seconds that one call, or the acknowledgement of one batch, may take. `patience`: seconds that a call is
    tried again, after the first failure without anything getting better; `connect_patience` the same for as long as
    nothing has ever answered, by default as `patience`.

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
    ) -> None:
        self._timeout = timeout
        services = requests.services(ingest, export, sync, patience, connect_patience)
        self._ingest_service, self._export_service, self._sync_service = services
        self._channels = [
            grpc.insecure_channel(service.address, requests.channel_options(service.address)) for service in services
        ]
        self._ingest_stub = IngestServiceStub(self._channels[0])
        self._endpoint_stub = EndpointServiceStub(self._channels[0])
        self._query_stub = EventQueryServiceStub(self._channels[1])
        self._export_stub = ExportServiceStub(self._channels[1])
        self._sync_stub = SyncServiceStub(self._channels[2])

    def close(self) -> None:
        """Closes the connections; calls under way end with an error."""
        for channel in self._channels:
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
    ) -> IngestSummary:
        """Stores events in batches over one stream, at most 8 batches ahead of the acknowledgements; takes from
        `events` only as fast as they are stored, and waits for a batch to fill up.

        An event is its payload, with what else is given here; or an IncomingEvent, which is sent as it is.

        A broken stream is opened again, and what was not acknowledged is sent again: nothing is lost, and what had
        been stored is counted as a duplicate. `progress` gets the counts so far after each acknowledgement.
        When it raises, what was acknowledged is stored, and sending all of `events` again is safe.
        """
        common = requests.incoming_event(b"", platform, source, headers, query)
        batches = _cut(Batcher(company, common, batch_size), events)
        job, retry = IngestJob(), Retry(self._ingest_service)
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

    def get(self, company: str, event_id: str) -> Event:
        """Gives an event with its payload. Raises NotFound when the company has none of that id."""
        request = GetEventRequest(company_id=company, event_id=event_id)
        return self._call(self._export_service, self._query_stub.GetEvent, request).event

    def list_page(
        self,
        company: str,
        where: Filter | None = None,
        *,
        page_size: int = 0,
        page_token: str = "",
        order: Order | None = None,
        full: bool = False,
    ) -> ListEventsResponse:
        """Gives one page and the token of the next; a page may be empty and still have a next one.

        Newest first by default, 100 to a page, at most 1,000. `full` brings the payloads.
        """
        request = requests.list_events(company, where, page_size, page_token, order, full)
        return self._call(self._export_service, self._query_stub.ListEvents, request)

    def list(
        self,
        company: str,
        where: Filter | None = None,
        *,
        page_size: int = 0,
        order: Order | None = None,
        full: bool = False,
    ) -> Iterator[Event]:
        """Goes through the events of all pages, asking for each page when it is needed; see `list_page`."""
        request = requests.list_events(company, where, page_size, "", order, full)
        return self._items(self._export_service, self._query_stub.ListEvents, request, lambda page: page.events)

    def mark(
        self, company: str, marks: Iterable[MarkEventsRequest.Mark]
    ) -> Sequence[MarkEventsResponse.MarkOutcome.ValueType]:
        """Notes what has been done with events, at most 10,000; gives an outcome for each mark, in order."""
        request = MarkEventsRequest(company_id=company, marks=marks)
        return self._call(self._ingest_service, self._ingest_stub.MarkEvents, request).outcomes

    def export(
        self,
        company: str,
        format: Format,  # noqa: A002
        where: Filter | None = None,
        *,
        limit: int = 0,
        order: Order | None = None,
        progress: Callable[[ExportProgress], object] | None = None,
    ) -> Iterator[bytes]:
        """Gives the file piece by piece, each one checked. Only when the iterator ends without an error is it whole.

        Raises IncompleteExport when something is missing or not what was sent; an error of the server as its own kind.
        Tried again only for as long as nothing has come. `limit` 0 is no limit. There is no time limit.
        """
        request = requests.export_events(company, format, where, limit, order)
        return self._export(request, ExportCheck(request), progress)

    def export_to_file(
        self,
        company: str,
        format: Format,  # noqa: A002
        path: str | os.PathLike[str],
        where: Filter | None = None,
        *,
        limit: int = 0,
        order: Order | None = None,
        progress: Callable[[ExportProgress], object] | None = None,
    ) -> ExportSummary:
        """Exports to a file that is there whole or not at all: after an error `path` is as it was before.

        What is no regular file, such as a pipe, is written to directly. Raises OSError too.
        """
        request = requests.export_events(company, format, where, limit, order)
        check = ExportCheck(request)
        with WholeFile(path) as file:
            for piece in self._export(request, check, progress):
                file.write(piece)
            file.commit()
        return check.finish()

    def _export(
        self, request: ExportEventsRequest, check: ExportCheck, progress: Callable[[ExportProgress], object] | None
    ) -> Generator[bytes, None, None]:
        retry = Retry(self._export_service)
        while True:
            call = self._export_stub.ExportEvents(request)
            try:
                for message in call:
                    retry.progressed()
                    piece = check.take(message)
                    if progress:
                        progress(check.progress)
                    if piece:
                        yield piece
                check.finish()
            except grpc.RpcError as error:
                if check.started:
                    raise self._export_service.error(error) from error
                delay = retry.delay_after(error)
            else:
                return
            finally:
                call.cancel()
            time.sleep(delay)

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
