"""ExportService: header, chunks, trailer."""

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing

from hookline.export.v1 import export_service_pb2 as pb
from hookline.export.v1 import export_service_pb2_grpc
from services.export import conversion, formats, store
from services.export.reader import ExportReader
from shared import db, requests
from shared.errors import InvalidField, Violation
from shared.interceptors import Context

_FORMATS = {
    pb.EXPORT_FORMAT_CSV: formats.CSV,
    pb.EXPORT_FORMAT_JSON: formats.JSON,
    pb.EXPORT_FORMAT_NDJSON: formats.NDJSON,
}


class ExportServicer(export_service_pb2_grpc.ExportServiceServicer):
    """See protos/hookline/export/v1/export_service.proto."""

    def __init__(self, pool: db.Pool) -> None:
        self._pool = pool

    async def ExportEvents(
        self, request: pb.ExportEventsRequest, context: Context
    ) -> AsyncIterator[pb.ExportEventsResponse]:
        company_id = requests.company(request.company_id)
        file_format = _FORMATS.get(request.format)
        if file_format is None:
            raise InvalidField(Violation("format", "must be CSV, JSON or NDJSON"))
        if request.limit < 0:
            raise InvalidField(Violation("limit", "can't be negative"))
        which = conversion.to_filter(request.filter)
        newest_first = conversion.is_newest_first(request.order, default=request.limit > 0)
        async with db.acquired(self._pool) as connection:
            mark = await store.mark(connection, company_id)
        limit = request.limit or None
        reader = ExportReader(self._pool, company_id, file_format, mark, which, newest_first=newest_first, limit=limit)
        yield pb.ExportEventsResponse(
            header=pb.ExportHeader(
                columns=file_format.columns,
                media_type=file_format.media_type,
                last_sequence=mark.last_sequence,
                last_change=mark.last_change,
                max_rows=min(limit or mark.last_sequence, mark.last_sequence),
            )
        )
        chunker, rows = formats.Chunker(file_format), 0
        async with aclosing(reader.pages()) as pages:
            async for page in pages:
                rows += page.rows
                for message in _messages(chunker.add(page.data), rows):
                    yield message
        for message in _messages(chunker.finish(), rows):
            yield message
        yield pb.ExportEventsResponse(
            trailer=pb.ExportTrailer(rows=rows, bytes=chunker.size, digest=chunker.digest, sha256=chunker.sha256)
        )


def _messages(chunks: Iterable[formats.Chunk], rows_read: int) -> Iterable[pb.ExportEventsResponse]:
    for chunk in chunks:
        yield pb.ExportEventsResponse(
            chunk=pb.ExportChunk(
                data=chunk.data, number=chunk.number, bytes=chunk.size, digest=chunk.digest, rows_read=rows_read
            )
        )
