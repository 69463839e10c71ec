"""Cuts a file into chunks of one size, with running digests, and knows for each where to begin again. Pure rules."""

import hashlib
import zlib
from collections import deque
from collections.abc import Iterator, Sequence

import msgspec

from services.export.formats import Format

CHUNK_BYTES = 256 * 1024


class Boundary(msgspec.Struct, frozen=True, array_like=True):
    """A place between two pages: where the log has been read to, and what the file had come to."""

    at: int
    """The sequence that the next page begins after (oldest first) or at (newest first)."""
    rows: int = 0
    size: int = 0
    """Bytes of the file. 0 while there is no row, whatever the file begins with."""


class ChangedError(Exception):
    """The log does not come to the bytes any more that were sent of it."""


class Position(msgspec.Struct, frozen=True, array_like=True):
    """All that it takes to go on after a chunk: the last boundary before its end, and what was sent."""

    boundary: Boundary
    number: int = 0
    size: int = 0
    digest: bytes = b""
    checksum: int = 0
    """CRC-32 of the bytes from the boundary on."""


class Chunk(msgspec.Struct, frozen=True):
    """A piece of the file. `position` is the one after it; its digest is SHA-256(the digest before ‖ data)."""

    data: bytes
    position: Position


class Chunker:
    """Makes chunks out of pages: all of the same size but the last, wherever the bytes come from, so that a file has
    the same digests however its rows were read. Begins after `position`: what was sent of the rows behind its boundary
    is taken again, and dropped. Raises ChangedError where that is not what was sent."""

    def __init__(self, file_format: Format, position: Position) -> None:
        boundary = position.boundary
        self._format = file_format
        self._sha256 = hashlib.sha256() if position.number == 0 else None
        self._position = position
        self._boundaries = deque([boundary])
        self.rows = boundary.rows
        # Of the file, including what is still in the buffer.
        self._made = boundary.size
        self._drop = position.size - boundary.size
        # Of what was dropped, and of what was sent from the last boundary in it on.
        self._dropped = self._checksum = 0
        self._pieces: deque[bytes | memoryview] = deque()
        self._held = 0
        self._skip = 0
        if boundary.rows == 0:
            self._append(file_format.start)
            self._skip = len(file_format.before_row)

    @property
    def position(self) -> Position:
        """After the last chunk."""
        return self._position

    @property
    def sha256(self) -> bytes:
        """SHA-256 of all chunks so far, as one file. Empty when it did not begin with the first."""
        return self._sha256.digest() if self._sha256 else b""

    def add(self, pieces: Sequence[bytes], rows: int, at: int) -> Iterator[Chunk]:
        """Takes a page's rows, after which the log has been read to `at`; gives the chunks that are full."""
        for piece in pieces:
            self._append(memoryview(piece)[self._skip :] if self._skip else piece)
            self._skip = 0
        self.rows += rows
        boundary = Boundary(at, self.rows, self._made if self.rows else 0)
        if self._boundaries[-1].size < boundary.size <= self._position.size:
            self._checksum = 0
        self._boundaries.append(boundary)
        while self._held >= CHUNK_BYTES:
            yield self._cut()

    def finish(self) -> Iterator[Chunk]:
        """Takes the end of the file; gives the last chunks."""
        self._append(self._format.end)
        if self._drop:
            raise ChangedError
        while self._held:
            yield self._cut()

    def _append(self, data: bytes | memoryview) -> None:
        self._made += len(data)
        if self._drop:
            whole = memoryview(data)
            dropped, data = whole[: self._drop], whole[self._drop :]
            self._drop -= len(dropped)
            self._dropped = zlib.crc32(dropped, self._dropped)
            self._checksum = zlib.crc32(dropped, self._checksum)
            if not self._drop and self._dropped != self._position.checksum:
                raise ChangedError
        if data:
            self._pieces.append(data)
            self._held += len(data)

    def _take(self) -> bytes:
        """The next chunk's bytes, copied once: a piece that is cut in two is so as a view."""
        taken: list[bytes | memoryview] = []
        left = CHUNK_BYTES
        while left and self._pieces:
            piece = self._pieces.popleft()
            if len(piece) > left:
                self._pieces.appendleft(memoryview(piece)[left:])
                piece = memoryview(piece)[:left]
            taken.append(piece)
            left -= len(piece)
        self._held -= CHUNK_BYTES - left
        return b"".join(taken)

    def _cut(self) -> Chunk:
        data = self._take()
        before = self._position
        size = before.size + len(data)
        while len(self._boundaries) > 1 and self._boundaries[1].size <= size:
            self._boundaries.popleft()
        boundary = self._boundaries[0]
        if boundary.size > before.size:
            self._checksum = zlib.crc32(memoryview(data)[boundary.size - before.size :])
        else:
            self._checksum = zlib.crc32(data, self._checksum)
        digest = hashlib.sha256(before.digest)
        digest.update(data)
        if self._sha256:
            self._sha256.update(data)
        self._position = Position(boundary, before.number + 1, size, digest.digest(), self._checksum)
        return Chunk(data, self._position)
