"""The part of the client for ordinary code that gets exports."""

import os
import time
from collections.abc import Callable, Generator, Iterator
from typing import Unpack

import grpc

from hookline.client import export_request
from hookline.client.blocking_calls import Calls
from hookline.client.errors import IncompleteExport
from hookline.client.export import Content, ExportJob, ExportProgress, ExportSummary
from hookline.client.export_request import ExportOptions, FileFormat, Format
from hookline.client.requests import Filter
from hookline.client.retry import Service
from hookline.client.targets import open_target
from hookline.export.v1.export_service_pb2_grpc import ExportServiceStub


class ExportCalls(Calls):
    """What `Client` does with exports."""

    _export_service: Service
    _export_stub: ExportServiceStub

    def export(
        self,
        company: str,
        format: Format,  # noqa: A002
        where: Filter | None = None,
        *,
        progress: Callable[[ExportProgress], object] | None = None,
        **options: Unpack[ExportOptions],
    ) -> Iterator[bytes]:
        """Gives the file piece by piece, each one checked. Only when the iterator ends without an error is it whole.
        For `options` see ExportOptions. There is no time limit.

        A stream that breaks, or brings what is not right, is asked for again from the last good piece on, with the
        client's patience; the file is the same to the last byte. Raises IncompleteExport when something stays missing
        or wrong, and when the server can't go on, of reason EXPORT_NOT_RESUMABLE: then it has to start over.
        """
        request = export_request.stream_request(company, format, where, options)
        return self._pieces(ExportJob(request, self._export_service), progress)

    def export_to_file(
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
        """Exports to a file that is there whole or not at all: after an error `path` is as it was before. See `export`
        for what is done about broken streams; where the server can't go on, the file begins anew by itself.

        `resume` keeps what has come beside the file when this fails or the process is killed, as NAME.part and
        NAME.part.json; the same call again goes on from there. Another call's rest, or a damaged one, is written anew.

        "parquet" is made here, of typed columns (see ParquetFile), and can't be resumed by another process. What is no
        regular file, such as a pipe, is written to directly. Raises OSError too, and MissingPackage.
        """
        request = export_request.file_request(company, format, where, options, resume=resume)
        content = Content(request)
        with open_target(path, format, request, content, resume=resume) as target:
            begin_anew = target.begin_anew if target.can_begin_anew else None
            job = ExportJob(request, self._export_service, content, begin_anew)
            for piece in self._pieces(job, progress):
                target.write(piece)
            return target.finish(job.finish())

    def _pieces(
        self, job: ExportJob, progress: Callable[[ExportProgress], object] | None
    ) -> Generator[bytes, None, None]:
        while True:
            call = self._export_stub.ExportEvents(job.next_request())
            try:
                for message in call:
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
            time.sleep(delay)
