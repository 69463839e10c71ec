"""ExportService: header, chunks, trailer."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing

from hookline.export.v1 import export_service_pb2 as pb
from hookline.export.v1 import export_service_pb2_grpc
from services.export import conversion, export_request, store
from services.export.chunker import Boundary, ChangedError, Chunk, Chunker, Position
from services.export.export_request import ExportRequest
from services.export.filters import Filter
from services.export.page_store import Page
from services.export.reader import ExportReader
from services.export.resuming import Begun, ResumeTokens
from services.export.store import Mark, Span
from services.export.turns import Turns
from shared import audit, db
from shared.audit import Action
from shared.errors import ExportNotResumable
from shared.interceptors import Context
from shared.limits import Limiter


class ExportServicer(export_service_pb2_grpc.ExportServiceServicer):
    """See protos/hookline/export/v1/export_service.proto."""

    def __init__(self, pool: db.Pool, turns: Turns, tokens: ResumeTokens, limiter: Limiter) -> None:
        self._limiter = limiter
        self._pool = pool
        self._turns = turns
        self._tokens = tokens

    async def ExportEvents(
        self, request: pb.ExportEventsRequest, context: Context
    ) -> AsyncIterator[pb.ExportEventsResponse]:
        asked = export_request.read(request)
        with self._limiter.exporting(asked.company_id):
            async with aclosing(self._exported(asked)) as messages:
                async for message in messages:
                    yield message

    async def _exported(self, asked: ExportRequest) -> AsyncGenerator[pb.ExportEventsResponse, None]:
        resumed = self._tokens.decode(asked.resume_token, asked.identity) if asked.resume_token else None
        mark, part = await self._mark(asked, resumed)
        position = resumed[1] if resumed else None
        boundary = position.boundary if position else Boundary(mark.last_sequence if asked.newest_first else 0)
        reader = ExportReader(
            self._pool,
            self._turns,
            asked.company_id,
            asked.format,
            mark,
            asked.filter,
            part,
            boundary,
            newest_first=asked.newest_first,
            limit=asked.limit,
        )
        chunker = Chunker(asked.format, position or Position(boundary))
        try:
            async with aclosing(reader.pages()) as pages:
                begun, read = await self._first(pages, asked, mark, resumed[0] if resumed else None)
                yield pb.ExportEventsResponse(
                    header=pb.ExportHeader(
                        columns=[column.name for column in asked.format.columns],
                        media_type=asked.format.media_type,
                        last_sequence=mark.last_sequence,
                        last_change=mark.last_change,
                        max_rows=min(asked.limit or mark.last_sequence, mark.last_sequence),
                        resumed_after=chunker.position.number,
                    )
                )
                while read:
                    page, at = read
                    async for message in self._messages(asked, begun, chunker, chunker.add(page.data, page.rows, at)):
                        yield message
                    read = await anext(pages, None)
            async for message in self._messages(asked, begun, chunker, chunker.finish()):
                yield message
        except ChangedError:
            # Erased since the mark was looked at, or another log.
            raise ExportNotResumable("log_changed") from None
        last = chunker.position
        yield pb.ExportEventsResponse(
            trailer=pb.ExportTrailer(rows=chunker.rows, bytes=last.size, digest=last.digest, sha256=chunker.sha256)
        )

    async def _mark(self, asked: ExportRequest, resumed: tuple[Begun, Position] | None) -> tuple[Mark, Span]:
        """The export's mark, and the part of the log up to it that the filter's times leave."""
        async with db.acquired(self._pool) as connection:
            await conversion.check_zone(connection, asked.format.time_zone)
            mark = now = await store.mark(connection, asked.company_id)
            if resumed is not None:
                mark = resumed[0].mark
                if mark.last_change > now.last_change:
                    raise ExportNotResumable("log_changed")
                if mark.erasure_epoch != now.erasure_epoch:
                    raise ExportNotResumable("erased")
            whole = Span(0, mark.last_sequence)
            return mark, await store.received_part(connection, asked.company_id, whole, asked.filter)

    async def _first(
        self,
        pages: AsyncGenerator[tuple[Page, int], None],
        asked: ExportRequest,
        mark: Mark,
        resumed: Begun | None,
    ) -> tuple[Begun, tuple[Page, int] | None]:
        """The first page, if there is one. What has begun is written down before anything goes out: it may have been
        read, whether or not it comes to its end. That waits for the disk, and pages are read meanwhile."""
        beginning = asyncio.create_task(self._begin(asked, mark, resumed))
        try:
            read = await anext(pages, None)
            return await beginning, read
        finally:
            beginning.cancel()
            await asyncio.gather(beginning, return_exceptions=True)

    async def _begin(self, asked: ExportRequest, mark: Mark, resumed: Begun | None) -> Begun:
        async with db.acquired(self._pool) as connection:
            begun = Begun(mark, await store.event_id_at(connection, asked.company_id, mark.last_sequence))
            if resumed is not None and resumed != begun:
                raise ExportNotResumable("log_changed")
            await audit.record_alone(
                connection,
                asked.company_id,
                Action.EVENTS_EXPORTED,
                format=asked.format.kind.name,
                resumed=resumed is not None,
                filtered=asked.filter != Filter(),
                last_sequence=mark.last_sequence,
            )
        return begun

    async def _messages(
        self, asked: ExportRequest, begun: Begun, chunker: Chunker, chunks: Iterable[Chunk]
    ) -> AsyncIterator[pb.ExportEventsResponse]:
        for chunk in chunks:
            data = chunk.data
            if asked.compression:
                # Off the event loop: other calls go on meanwhile.
                data = await asyncio.to_thread(asked.compression, data)
            yield pb.ExportEventsResponse(
                chunk=pb.ExportChunk(
                    data=data,
                    number=chunk.position.number,
                    bytes=chunk.position.size,
                    digest=chunk.position.digest,
                    rows_read=chunker.rows,
                    resume_token=self._tokens.encode(asked.identity, begun, chunk.position),
                )
            )
