"""Proof that an export is whole, and a file that is there whole or not at all. Knows no transport."""

import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from hookline.client.errors import IncompleteExport
from hookline.export.v1.export_service_pb2 import (
    ExportChunk,
    ExportEventsRequest,
    ExportEventsResponse,
    ExportFormat,
    ExportHeader,
    ExportTrailer,
)


@dataclass(frozen=True)
class ExportProgress:
    """How far an export is. `rows` is what the server had read, not exact; no more than `max_rows` will come."""

    rows: int
    max_rows: int
    bytes: int


@dataclass(frozen=True)
class ExportSummary:
    """A complete export: its events, its size in bytes, and the SHA-256 of the whole file in hexadecimal."""

    rows: int
    bytes: int
    sha256: str


class ExportCheck:
    """Checks a stream of export messages as it comes: order, chunk numbers, sizes, the running digest, and at the end
    rows, bytes and both digests against what really came. The first fault raises IncompleteExport.

    Rows are counted in the data of CSV and NDJSON; the layout of JSON is not looked into, its rows are only held
    against the header. Does not check that the data is well-formed.
    """

    def __init__(self, request: ExportEventsRequest) -> None:
        self._request = request
        self._lines = _Lines(quoted=request.format == ExportFormat.EXPORT_FORMAT_CSV)
        self._header: ExportHeader | None = None
        self._number = self._bytes = self._rows_read = 0
        self._digest = b""
        self._sha256 = hashlib.sha256()
        self.summary: ExportSummary | None = None

    @property
    def started(self) -> bool:
        """Whether anything has come."""
        return self._header is not None

    @property
    def progress(self) -> ExportProgress:
        """How far it is."""
        return ExportProgress(self._rows_read, self._header.max_rows if self._header else 0, self._bytes)

    def take(self, message: ExportEventsResponse) -> bytes:
        """Takes the next message; gives the piece of the file that it brings, empty for header and trailer."""
        part = message.WhichOneof("part")
        _require(self.summary is None, "Something came after the trailer.")
        _require((self._header is None) == (part == "header"), "The header is not the first message, once.")
        if part == "header":
            self._header = message.header
        elif part == "chunk":
            self._take_chunk(message.chunk)
            return message.chunk.data
        elif part == "trailer" and self._header is not None:
            self.summary = self._proof(message.trailer, self._header)
        else:
            raise IncompleteExport("A message of an unknown kind came.")
        return b""

    def finish(self) -> ExportSummary:
        """To be called when the stream has ended well: a stream without a trailer is not complete."""
        if self.summary is None:
            raise IncompleteExport("The export ended without its trailer: what came is not the whole file.")
        return self.summary

    def _take_chunk(self, chunk: ExportChunk) -> None:
        _require(chunk.number == self._number + 1, f"Chunk {chunk.number} came where {self._number + 1} was to come.")
        self._number = chunk.number
        # Once: each look at the field copies it.
        data = chunk.data
        self._bytes += len(data)
        _require(chunk.bytes == self._bytes, f"{self._bytes} bytes have come where {chunk.bytes} were sent.")
        digest = hashlib.sha256(self._digest)
        digest.update(data)
        self._digest = digest.digest()
        _require(chunk.digest == self._digest, f"Chunk {chunk.number} is not what was sent: its digest differs.")
        self._sha256.update(data)
        self._lines.feed(data)
        self._rows_read = chunk.rows_read

    def _proof(self, trailer: ExportTrailer, header: ExportHeader) -> ExportSummary:
        _require(trailer.bytes == self._bytes, f"{self._bytes} bytes came of {trailer.bytes}.")
        _require(trailer.digest == self._digest, "The digest of the last chunk is not the trailer's.")
        _require(trailer.sha256 == self._sha256.digest(), "The SHA-256 of what came is not the trailer's.")
        bound = min(header.max_rows, self._request.limit or header.max_rows)
        _require(trailer.rows <= bound, f"The trailer counts {trailer.rows} rows; no more than {bound} were to come.")
        if not self._request.HasField("filter"):
            _require(trailer.rows == bound, f"The trailer counts {trailer.rows} rows of {bound}.")
        if self._request.format != ExportFormat.EXPORT_FORMAT_JSON:
            has_titles = self._request.format == ExportFormat.EXPORT_FORMAT_CSV
            rows = self._lines.count - has_titles
            _require(trailer.rows == rows, f"{rows} rows came of {trailer.rows}.")
        self._rows_read = trailer.rows
        return ExportSummary(trailer.rows, trailer.bytes, trailer.sha256.hex())


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise IncompleteExport(otherwise)


class _Lines:
    """Counts ends of lines; in CSV not those inside quotes (a doubled quote toggles twice)."""

    def __init__(self, *, quoted: bool) -> None:
        self._quoted = quoted
        self._inside = False
        self.count = 0

    def feed(self, data: bytes) -> None:
        if not self._quoted:
            self.count += data.count(b"\n")
            return
        pieces = data.split(b'"')
        self.count += b"".join(pieces[self._inside :: 2]).count(b"\n")
        self._inside ^= len(pieces) % 2 == 0


class WholeFile:
    """A file that appears under its name only when it is complete: written beside it, synced to disk, then renamed.

    Leaving the block without `commit` removes what was written and leaves what was there before. Through a symbolic
    link the file behind it is replaced. What is no regular file, such as a pipe, can't be renamed over and is written
    to directly. Raises OSError.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path).resolve()
        direct = self._path.exists() and not self._path.is_file()
        self._beside: Path | None = None if direct else self._path.with_name(f".hookline-{secrets.token_hex(8)}.part")
        self._file: BinaryIO = self._path.open("wb") if self._beside is None else self._beside.open("xb")

    def write(self, data: bytes) -> None:
        """Appends."""
        self._file.write(data)

    def commit(self) -> None:
        """Makes the file durable, and then visible."""
        self._file.flush()
        if self._beside is None:
            return
        os.fsync(self._file.fileno())
        self._file.close()
        self._beside.replace(self._path)
        self._beside = None
        if os.name == "posix":
            # The rename itself lies in the directory.
            directory = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        finally:
            if self._beside is not None:
                self._beside.unlink(missing_ok=True)
