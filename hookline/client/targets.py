"""Which kind of file an export goes to."""

import os

from hookline.client.export import Content
from hookline.client.export_request import FileFormat, identity
from hookline.client.files import Target, WholeFile
from hookline.client.parquet import ParquetFile
from hookline.client.unfinished import UnfinishedFile
from hookline.export.v1.export_service_pb2 import ExportEventsRequest


def open_target(
    path: str | os.PathLike[str],
    name: FileFormat,
    request: ExportEventsRequest,
    content: Content,
    *,
    resume: bool,
) -> Target:
    """Opens the file. With `resume`, `content` is filled with what a process before has left. Raises OSError, and
    ValueError for what can't be resumed."""
    if name == "parquet":
        return ParquetFile(path, content)
    return UnfinishedFile(path, identity(request), content) if resume else WholeFile(path)
