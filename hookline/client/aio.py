"""The client for asyncio. Only waiting, sending and receiving: everything else is shared with `blocking`, where
each method is documented."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

import grpc

from hookline.client import requests
from hookline.client.aio_alerts import AlertCalls
from hookline.client.aio_audit import AuditCalls
from hookline.client.aio_endpoints import EndpointCalls
from hookline.client.aio_export import ExportCalls
from hookline.client.aio_platforms import PlatformCalls
from hookline.client.aio_privacy import PrivacyCalls
from hookline.client.aio_quarantine import QuarantineCalls
from hookline.client.aio_queries import QueryCalls
from hookline.client.aio_sync import SyncCalls
from hookline.client.authorization import Token, authorized, token_or_environment
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

_Outbox = asyncio.Queue[IngestEventStreamRequest | None]


class AsyncClient(
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
    """Talks to Hookline; arguments, errors and all else are those of `Client`. An async context manager.

    To be made inside the event loop that uses it. An iterator that is not read to its end should be closed
    (`contextlib.aclosing`): only then does its call end at once.
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

    async def close(self) -> None:
        """Closes the connections; calls under way end with an error."""
        for channels in self._channels:
            for channel in channels if isinstance(channels, SecureChannel) else [channels]:
                await channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def ingest(
        self,
        company: str,
        payload: bytes,
        platform: str = "",
        source: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        query: str = "",
    ) -> IngestResult:
        """Stores one event: see `Client.ingest`."""
        event = requests.incoming_event(payload, platform, source, headers, query)
        request = IngestEventRequest(company_id=company, event=event)
        return (await self._call(self._ingest_service, self._ingest_stub.IngestEvent, request)).result

    async def ingest_many(
        self,
        company: str,
        events: Iterable[bytes | IncomingEvent] | AsyncIterable[bytes | IncomingEvent],
        platform: str = "",
        source: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        query: str = "",
        batch_size: int = 500,
        progress: Callable[[IngestSummary], object] | None = None,
        on_result: Callable[[int, IngestResult], object] | None = None,
    ) -> IngestSummary:
        """Stores events in batches over one stream: see `Client.ingest_many`. `events` may be asynchronous."""
        common = requests.incoming_event(b"", platform, source, headers, query)
        batches = _cut(Batcher(company, common, batch_size), events)
        job, retry = IngestJob(on_result), Retry(self._ingest_service)
        while True:
            outbox: _Outbox = asyncio.Queue()
            call = self._ingest_stub.IngestEventStream(_until_none(outbox))
            acknowledgements = aiter(call)
            try:
                while await _fill(job, batches, outbox):
                    job.acknowledge(await self._next(acknowledgements))
                    retry.progressed()
                    if progress:
                        progress(job.summary)
                outbox.put_nowait(None)
                # Everything is stored: this only lets the call end well, rather than be cancelled.
                with suppress(BrokenStream, Unavailable):
                    await self._next(acknowledgements)
                return job.summary
            except BrokenStream as broken:
                job.stream_broke()
                delay = retry.delay_after(broken.error)
            finally:
                # gRPC's own task waits at the outbox; and a call that is done is not harmed by being cancelled.
                outbox.put_nowait(None)
                call.cancel()
            await asyncio.sleep(delay)

    async def mark(
        self, company: str, marks: Iterable[MarkEventsRequest.Mark]
    ) -> Sequence[MarkEventsResponse.MarkOutcome.ValueType]:
        """Notes what has been done with events: see `Client.mark`."""
        request = MarkEventsRequest(company_id=company, marks=marks)
        return (await self._call(self._ingest_service, self._ingest_stub.MarkEvents, request)).outcomes

    async def _next(self, acknowledgements: AsyncIterator[IngestEventStreamResponse]) -> IngestEventStreamResponse:
        try:
            async with asyncio.timeout(self._timeout):
                return await anext(acknowledgements)
        except TimeoutError as error:
            raise self._ingest_service.silent(self._timeout) from error
        except StopAsyncIteration:
            raise BrokenStream(self._ingest_service.ended_early()) from None
        except grpc.RpcError as error:
            broken = self._ingest_service.error(error)
            if broken.code is grpc.StatusCode.INTERNAL and not broken.reason:
                # grpc/grpc#36066: when a server ends a stream that is being written to, its status may be replaced by
                # this one. Trying again brings it to light.
                broken = self._ingest_service.ended_early()
            raise BrokenStream(broken) from error


def _channel(address: str, tls: Tls | None) -> Any:
    options = requests.channel_options(address)
    if tls is None:
        return grpc.aio.insecure_channel(address, options)
    return SecureChannel(tls, lambda credentials: grpc.aio.secure_channel(address, credentials, options))


async def _cut(
    batcher: Batcher, events: Iterable[bytes | IncomingEvent] | AsyncIterable[bytes | IncomingEvent]
) -> AsyncGenerator[Batch, None]:
    if isinstance(events, AsyncIterable):
        async for event in events:
            if batch := batcher.add(event):
                yield batch
    else:
        for event in events:
            if batch := batcher.add(event):
                yield batch
    if batch := batcher.rest():
        yield batch


async def _fill(job: IngestJob, batches: AsyncIterator[Batch], outbox: _Outbox) -> bool:
    """Sends what may be sent; says whether anything is still to be acknowledged."""
    while job.has_room and (batch := job.again() or await anext(batches, None)):
        if job.send(batch):
            outbox.put_nowait(batch.request)
    return job.is_waiting


async def _until_none(outbox: _Outbox) -> AsyncIterator[IngestEventStreamRequest]:
    while (request := await outbox.get()) is not None:
        yield request
