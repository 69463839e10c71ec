"""An export's file that outlives the process: what has come stays beside it, with what it takes to go on."""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from hookline.client.export import Content, ExportSummary
from hookline.client.files import is_special, sync_folder
from hookline.client.unpacking import MAX_CHUNK_BYTES

if sys.platform != "win32":
    import fcntl

_VERSION = 1
_SAVE_SECONDS = 1.0
"""What a process that is killed has to fetch again."""


class UnfinishedFile:
    """A file that appears under its name only when it is complete, and that a later process can go on with.

    What has come lies beside it, under its name with ".part" after it, and how to go on in ".part.json". The part is
    synced to disk before the note is written that tells of it: the note never tells of more than there is. A note of
    another request, or one that the part does not bear out by the chunks' running digest, counts for nothing: then all
    of it begins anew. `content` is filled with what is there.

    Only one process at a time can write a file; for another this raises BlockingIOError. Raises OSError, and ValueError
    for what is no regular file.
    """

    def __init__(self, path: str | os.PathLike[str], request: str, content: Content) -> None:
        self._path = Path(path).resolve()
        if is_special(self._path):
            raise ValueError(f"{self._path} is no regular file: an export to it can't be resumed")
        self._part_path = self._path.with_name(f"{self._path.name}.part")
        self._note_path = self._path.with_name(f"{self._path.name}.part.json")
        self._request = request
        self._content = content
        self._chunks: list[list[int]] = []
        self._digest, self._token = b"", ""
        self._saved = -_SAVE_SECONDS
        self._part = _open_alone(self._part_path)
        try:
            self._restore()
            # The note must not be there before the part is.
            sync_folder(self._part_path)
        except BaseException:
            self._part.close()
            raise

    @property
    def can_begin_anew(self) -> bool:
        """Always."""
        return True

    def begin_anew(self) -> None:
        """Takes back what was written, also by a process before."""
        self._note_path.unlink(missing_ok=True)
        self._part.seek(0)
        self._part.truncate()
        self._chunks.clear()
        self._digest, self._token = b"", ""

    def write(self, data: bytes) -> None:
        """Appends a chunk."""
        self._part.write(data)
        self._count(len(data))
        # Only now: whatever interrupts us before, the note tells of no more than was written.
        self._digest, self._token = self._content.digest, self._content.token
        if time.monotonic() - self._saved >= _SAVE_SECONDS:
            self._save()

    def finish(self, summary: ExportSummary) -> ExportSummary:
        """Makes the file durable, and then visible."""
        self._part.flush()
        os.fsync(self._part.fileno())
        if sys.platform == "win32":
            # An open file can't be renamed there. Elsewhere it stays open: nobody else takes it for unfinished.
            self._part.close()
        self._part_path.replace(self._path)
        sync_folder(self._path)
        self._token = ""
        self._note_path.unlink(missing_ok=True)
        return summary

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self._token:
                self._save()
        finally:
            self._part.close()

    def _count(self, size: int) -> None:
        """Chunks are of one size but for a few: runs of them keep the note small."""
        if self._chunks and self._chunks[-1][0] == size:
            self._chunks[-1][1] += 1
        else:
            self._chunks.append([size, 1])

    def _save(self) -> None:
        self._part.flush()
        os.fsync(self._part.fileno())
        note = {
            "version": _VERSION,
            "request": self._request,
            "chunks": self._chunks,
            "digest": self._digest.hex(),
            "token": self._token,
        }
        fresh = self._note_path.with_name(f"{self._note_path.name}.new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(note, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._note_path)
        self._saved = time.monotonic()

    def _restore(self) -> None:
        try:
            note = json.loads(self._note_path.read_text(encoding="utf-8"))
            if (note["version"], note["request"]) == (_VERSION, self._request) and self._is_borne_out(note):
                return
        except (FileNotFoundError, ValueError, LookupError, TypeError):
            # No note, or not one of ours.
            pass
        self._content.clear()
        self.begin_anew()

    def _is_borne_out(self, note: dict[str, Any]) -> bool:
        """Reads the part as the note tells of it; leaves it ready for what comes next."""
        size = 0
        for size_of_one in _sizes(note["chunks"]):
            data = self._part.read(size_of_one)
            if len(data) != size_of_one:
                return False
            size += size_of_one
            self._content.add(data, self._content.digest_with(data), note["token"])
            self._count(size_of_one)
        self._digest, self._token = self._content.digest, note["token"]
        self._part.seek(size)
        self._part.truncate()
        return bool(self._token) and self._digest.hex() == note["digest"]


def _sizes(chunks: list[list[int]]) -> Iterator[int]:
    for size, count in chunks:
        if not 0 < size <= MAX_CHUNK_BYTES:
            raise ValueError("no chunk is of that size")
        for _ in range(count):
            yield size


def _open_alone(path: Path) -> BinaryIO:
    """Opens a file to read and write, made where there is none, as the only process that does."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        file = os.fdopen(descriptor, "r+b")
        try:
            if sys.platform != "win32":
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it may have finished just now: what we have open then is the complete file.
            if path.exists() and os.path.samestat(path.stat(), os.fstat(descriptor)):
                return file
        except BlockingIOError:
            file.close()
            raise BlockingIOError(None, "another export is writing this file", str(path)) from None
        except BaseException:
            file.close()
            raise
        file.close()
