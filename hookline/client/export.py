"""Exports, without the transport: proof that what came is whole, and how to ask for the rest when a stream breaks."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from hookline.client.errors import HooklineError, IncompleteExport
from hookline.client.retry import Retry, Service
from hookline.client.unpacking import unpacking
from hookline.export.v1.export_service_pb2 import (
    ExportChunk,
    ExportEventsRequest,
    ExportEventsResponse,
    ExportFormat,
    ExportHeader,
    ExportTrailer,
)

MAX_BARREN_STREAMS = 5
"""So many streams in a row may begin and bring nothing new: what is wrong then is not the line."""
_TOKEN_REFUSED = ("EXPORT_NOT_RESUMABLE", "INVALID_RESUME_TOKEN")
_CUT_ON_THE_WAY = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
"""As what a stream may end that a proxy cut, or a connection that broke: without a reason of ours."""


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


class Content:
    """What has come of an export's file, over all streams: the header, the chunks' number, size and running digest,
    and the token that goes on after them."""

    def __init__(self, request: ExportEventsRequest) -> None:
        self._is_csv = request.format == ExportFormat.EXPORT_FORMAT_CSV
        self.clear()

    def clear(self) -> None:
        """Forgets everything."""
        self.header: ExportHeader | None = None
        self.number = self.bytes = 0
        self.digest = b""
        self.token = ""
        self._sha256 = hashlib.sha256()
        self._lines = _Lines(quoted=self._is_csv)

    def digest_with(self, data: bytes) -> bytes:
        """What the running digest is after this chunk."""
        digest = hashlib.sha256(self.digest)
        digest.update(data)
        return digest.digest()

    def add(self, data: bytes, digest: bytes, token: str) -> None:
        """Takes the next chunk, the running digest with it, and the token that goes on after it."""
        self.number += 1
        self.bytes += len(data)
        self.digest = digest
        self.token = token
        self._sha256.update(data)
        self._lines.feed(data)

    @property
    def sha256(self) -> bytes:
        """Of all that came."""
        return self._sha256.digest()

    @property
    def rows(self) -> int:
        """The rows in it, counted. Not for a JSON array, whose layout is not looked into."""
        return self._lines.count - self._is_csv


class ExportJob:
    """The state of one export over however many streams it takes. Checks each message as it comes: order, chunks'
    numbers, sizes, the running digest, and at the end rows, bytes and digests against what really came.

    `content` is what is there already, of a process before. `begin_anew` takes back what was given on; without it, what
    was given on is the caller's for good. Rows are counted in the data of CSV and NDJSON; those of JSON are only held
    against the header. Does not check that the data is well-formed. Raises MissingPackage.
    """

    def __init__(
        self,
        request: ExportEventsRequest,
        service: Service,
        content: Content | None = None,
        begin_anew: Callable[[], object] | None = None,
    ) -> None:
        self._request = request
        self._service = service
        self._retry = Retry(service)
        self._unpack = unpacking(request.compression)
        self._content = content or Content(request)
        self._take_back = begin_anew
        self._barren = self._rows_read = self._times_anew = 0
        self._header: ExportHeader | None = None
        self._summary: ExportSummary | None = None

    @property
    def is_done(self) -> bool:
        """Whether the trailer has come and has proved everything."""
        return self._summary is not None

    @property
    def progress(self) -> ExportProgress:
        """How far it is."""
        return ExportProgress(self._rows_read, self._header.max_rows if self._header else 0, self._content.bytes)

    def next_request(self) -> ExportEventsRequest:
        """What to ask for on a stream that is to be opened: all, or the rest."""
        self._header = None
        self._request.resume_token = self._content.token
        return self._request

    def take(self, message: ExportEventsResponse) -> bytes:
        """Takes the next message; gives the piece of the file that it brings, empty for header and trailer. Raises
        IncompleteExport for what is not right."""
        part = message.WhichOneof("part")
        self._service.reached = True
        _require(self._summary is None, "Something came after the trailer.")
        _require((self._header is None) == (part == "header"), "The header is not the first message, once.")
        if part == "header":
            self._take_header(message.header)
        elif part == "chunk":
            return self._take_chunk(message.chunk)
        elif part == "trailer" and self._header is not None:
            self._summary = self._proof(message.trailer, self._header)
        else:
            raise IncompleteExport("A message of an unknown kind came.")
        return b""

    def finish(self) -> ExportSummary:
        """To be called when the stream has ended well: a stream without a trailer is not complete."""
        if self._summary is None:
            raise IncompleteExport("The export ended without its trailer: what came is not the whole file.")
        return self._summary

    def broke(self, cause: grpc.RpcError | IncompleteExport) -> float:
        """Notes that a stream has broken, or brought what is not right. Gives the seconds to wait before the next one
        is opened; raises the error that ends the export."""
        error = cause if isinstance(cause, HooklineError) else self._service.error(cause)
        if error.reason in _TOKEN_REFUSED and self._content.token:
            self._begin_anew(error)
            return 0
        if self._header or isinstance(error, IncompleteExport):
            self._barren += 1
            if self._barren > MAX_BARREN_STREAMS:
                raise error
        is_cut = error.code in _CUT_ON_THE_WAY and not error.reason and self._header is not None
        return self._retry.delay_after(error, may_pass=isinstance(error, IncompleteExport) or is_cut)

    def _begin_anew(self, error: HooklineError) -> None:
        self._times_anew += 1
        if self._take_back is None or self._times_anew > MAX_BARREN_STREAMS:
            raise IncompleteExport(
                f"The export broke off, and the server does not go on with it: {error.message}",
                code=error.code,
                reason=error.reason,
                metadata=error.metadata,
            )
        self._take_back()
        self._content.clear()

    def _take_header(self, header: ExportHeader) -> None:
        _require(
            header.resumed_after == self._content.number,
            f"The stream goes on after chunk {header.resumed_after}, not after {self._content.number}.",
        )
        if before := self._content.header:
            is_same = (header.columns, header.media_type, header.last_sequence, header.last_change) == (
                before.columns,
                before.media_type,
                before.last_sequence,
                before.last_change,
            )
            _require(is_same, "The stream goes on with another file than the one before.")
        self._header = self._content.header = header

    def _take_chunk(self, chunk: ExportChunk) -> bytes:
        content = self._content
        number = content.number + 1
        _require(chunk.number == number, f"Chunk {chunk.number} came where {number} was to come.")
        data = self._unpack(chunk.data)
        size = content.bytes + len(data)
        _require(chunk.bytes == size, f"{size} bytes have come where {chunk.bytes} were sent.")
        digest = content.digest_with(data)
        _require(chunk.digest == digest, f"Chunk {number} is not what was sent: its digest differs.")
        content.add(data, digest, chunk.resume_token)
        self._rows_read = chunk.rows_read
        self._barren = 0
        self._retry.progressed()
        return data

    def _proof(self, trailer: ExportTrailer, header: ExportHeader) -> ExportSummary:
        content = self._content
        _require(trailer.bytes == content.bytes, f"{content.bytes} bytes came of {trailer.bytes}.")
        _require(trailer.digest == content.digest, "The digest of the last chunk is not the trailer's.")
        # A stream that was resumed can't tell it; its digest proves every chunk since the first.
        if trailer.sha256 or not header.resumed_after:
            _require(trailer.sha256 == content.sha256, "The SHA-256 of what came is not the trailer's.")
        bound = min(header.max_rows, self._request.limit or header.max_rows)
        _require(trailer.rows <= bound, f"The trailer counts {trailer.rows} rows; no more than {bound} were to come.")
        if not self._request.HasField("filter"):
            _require(trailer.rows == bound, f"The trailer counts {trailer.rows} rows of {bound}.")
        if self._request.format != ExportFormat.EXPORT_FORMAT_JSON:
            _require(trailer.rows == content.rows, f"{content.rows} rows came of {trailer.rows}.")
        self._rows_read = trailer.rows
        return ExportSummary(trailer.rows, trailer.bytes, content.sha256.hex())


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
        # Most data holds no quote, and to see so takes less than to split it.
        if not self._quoted or b'"' not in data:
            if not self._inside:
                self.count += data.count(b"\n")
            return
        pieces = data.split(b'"')
        self.count += b"".join(pieces[self._inside :: 2]).count(b"\n")
        self._inside ^= len(pieces) % 2 == 0
