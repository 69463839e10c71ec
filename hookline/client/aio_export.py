"""The part of the client for asyncio that gets exports. Each method is documented in `blocking_export`."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Unpack

import grpc

from hookline.client import export_request
from hookline.client.aio_calls import Calls
from hookline.client.errors import IncompleteExport
from hookline.client.export import Content, ExportJob, ExportProgress, ExportSummary
from hookline.client.export_request import ExportOptions, FileFormat, Format
from hookline.client.requests import Filter
from hookline.client.retry import Service
from hookline.client.targets import open_target

if TYPE_CHECKING:
    # The name is in the type stubs only.
    from hookline.export.v1.export_service_pb2_grpc import ExportServiceAsyncStub


class ExportCalls(Calls):
    """What `AsyncClient` does with exports."""

    _export_service: Service
    _export_stub: "ExportServiceAsyncStub"

    def export(
        self,
        company: str,
        format: Format,  # noqa: A002
        where: Filter | None = None,
        *,
        progress: Callable[[ExportProgress], object] | None = None,
        **options: Unpack[ExportOptions],
    ) -> AsyncGenerator[bytes, None]:
        """Gives the file piece by piece, each one checked: see `Client.export`."""
        request = export_request.stream_request(company, format, where, options)
        return self._pieces(ExportJob(request, self._export_service), progress)

    async def export_to_file(
        self,
        company: str,
        format: FileFormat,  # noqa: A002
        path: str | os.PathLike[str],
        where: Filter | None = None,
        *,
        resume: bool = False,
        progress: Callable[[ExportProgress], object] | None = None,
        **options: Unpack[ExportOptions],
    ) -> ExportSummary:
        """Exports to a file that is there whole or not at all: see `Client.export_to_file`."""
        request = export_request.file_request(company, format, where, options, resume=resume)
        content = Content(request)
        with await asyncio.to_thread(open_target, path, format, request, content, resume=resume) as target:
            begin_anew = target.begin_anew if target.can_begin_anew else None
            job = ExportJob(request, self._export_service, content, begin_anew)
            async with aclosing(self._pieces(job, progress)) as pieces:
                async for piece in pieces:
                    await asyncio.to_thread(target.write, piece)
            return await asyncio.to_thread(target.finish, job.finish())

    async def _pieces(
        self, job: ExportJob, progress: Callable[[ExportProgress], object] | None
    ) -> AsyncGenerator[bytes, None]:
        while True:
            call = self._export_stub.ExportEvents(job.next_request())
            try:
                async for message in call:
                    piece = job.take(message)
                    if progress:
                        progress(job.progress)
                    if piece:
                        yield piece
                job.finish()
            except (grpc.RpcError, IncompleteExport) as error:
                if job.is_done:
                    return
                delay = job.broke(error)
            else:
                return
            finally:
                call.cancel()
            await asyncio.sleep(delay)
