"""ExportService: header, chunks, trailer."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing

from hookline.export.v1 import export_service_pb2 as pb
from hookline.export.v1 import export_service_pb2_grpc
from services.export import conversion, export_request, store
from services.export.chunker import Boundary, Chunk, Chunker, Position
from services.export.export_request import ExportRequest
from services.export.filters import Filter
from services.export.reader import ExportReader
from services.export.resuming import ResumeTokens
from services.export.store import Mark
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
        mark, position = await self._begin(asked)
        boundary = position.boundary if position else Boundary(mark.last_sequence if asked.newest_first else 0)
        reader = ExportReader(
            self._pool,
            self._turns,
            asked.company_id,
            asked.format,
            mark,
            asked.filter,
            boundary,
            newest_first=asked.newest_first,
            limit=asked.limit,
        )
        chunker = Chunker(asked.format, position or Position(boundary))
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
        async with aclosing(reader.pages()) as pages:
            async for page, at in pages:
                async for message in self._messages(asked, mark, chunker, chunker.add(page.data, page.rows, at)):
                    yield message
        async for message in self._messages(asked, mark, chunker, chunker.finish()):
            yield message
        last = chunker.position
        yield pb.ExportEventsResponse(
            trailer=pb.ExportTrailer(rows=chunker.rows, bytes=last.size, digest=last.digest, sha256=chunker.sha256)
        )

    async def _begin(self, asked: ExportRequest) -> tuple[Mark, Position | None]:
        """The export's mark, and where it stood if it is resumed."""
        resumed = self._tokens.decode(asked.resume_token, asked.identity) if asked.resume_token else None
        async with db.acquired(self._pool) as connection:
            await conversion.check_zone(connection, asked.format.time_zone)
            now = await store.mark(connection, asked.company_id)
            if resumed is None:
                mark, position = now, None
            else:
                mark, position = resumed
                if mark.erasure_epoch != now.erasure_epoch:
                    raise ExportNotResumable("erased")
            # Before the first byte: what has begun may have been read, whether or not it comes to its end.
            await audit.record_alone(
                connection,
                asked.company_id,
                Action.EVENTS_EXPORTED,
                format=asked.format.kind.name,
                resumed=position is not None,
                filtered=asked.filter != Filter(),
                last_sequence=mark.last_sequence,
            )
        return mark, position

    async def _messages(
        self, asked: ExportRequest, mark: Mark, chunker: Chunker, chunks: Iterable[Chunk]
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
                    resume_token=self._tokens.encode(asked.identity, mark, chunk.position),
                )
            )
