"""What a file is beside its rows: columns, beginning, end, chunks and digests. Pure rules."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

CHUNK_BYTES = 256 * 1024

CSV_COLUMNS = (
    "event_id",
    "type",
    "customer_name",
    "product_name",
    "total",
    "currency",
    "source",
    "status",
    "occurred_time",
)
JSON_COLUMNS = (
    "event_id",
    "sequence",
    "type",
    "platform_type",
    "platform",
    "source",
    "dedup_key",
    "customer_name",
    "product_name",
    "total",
    "currency",
    "status",
    "status_error",
    "occurred_time",
    "received_time",
    "payload",
)


@dataclass(frozen=True)
class Format:
    """A file format. `before_row` stands in front of each row; where it is not empty, `start` replaces the first one:
    a JSON array's rows all begin with a comma, and its first with a bracket instead."""

    columns: Sequence[str]
    media_type: str
    is_json: bool
    usual_row_bytes: int
    """A guess, for the first page; later ones go by what came."""
    start: bytes = b""
    before_row: str = ""
    end: bytes = b""


CSV = Format(
    CSV_COLUMNS,
    "text/csv; charset=utf-8",
    is_json=False,
    usual_row_bytes=200,
    start=",".join(CSV_COLUMNS).encode() + b"\n",
)
JSON = Format(
    JSON_COLUMNS, "application/json", is_json=True, usual_row_bytes=175, start=b"[", before_row=",", end=b"]\n"
)
NDJSON = Format(JSON_COLUMNS, "application/x-ndjson", is_json=True, usual_row_bytes=1000)


@dataclass(frozen=True)
class Chunk:
    """A piece of the file; `size` counts all pieces up to this one. `digest` is SHA-256(the digest before ‖ data)."""

    data: bytes
    number: int
    size: int
    digest: bytes


class Chunker:
    """Cuts a file into chunks: all of the same size but the last, wherever the bytes come from, so that a file has the
    same digests however its rows were read."""

    def __init__(self, file_format: Format) -> None:
        self._format = file_format
        self._buffer = bytearray(file_format.start)
        self._skip = len(file_format.before_row)
        self._sha256 = hashlib.sha256()
        self.number = 0
        self.size = 0
        self.digest = b""

    @property
    def sha256(self) -> bytes:
        """SHA-256 of all chunks so far, as one file."""
        return self._sha256.digest()

    def add(self, pieces: Sequence[bytes]) -> Iterator[Chunk]:
        """Takes rows; gives the chunks that are full."""
        for piece in pieces:
            self._buffer += piece[self._skip :]
            self._skip = 0
            while len(self._buffer) >= CHUNK_BYTES:
                yield self._cut()

    def finish(self) -> Iterator[Chunk]:
        """Takes the end of the file; gives the last chunks."""
        self._buffer += self._format.end
        while self._buffer:
            yield self._cut()

    def _cut(self) -> Chunk:
        data = bytes(self._buffer[:CHUNK_BYTES])
        del self._buffer[:CHUNK_BYTES]
        self.number += 1
        self.size += len(data)
        digest = hashlib.sha256(self.digest)
        digest.update(data)
        self.digest = digest.digest()
        self._sha256.update(data)
        return Chunk(data, self.number, self.size, self.digest)
