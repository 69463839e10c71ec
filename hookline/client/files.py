"""Files that are there whole or not at all. Knows no transport."""

import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from hookline.client.export import ExportSummary


class Target(Protocol):
    """What an export to a file is written to. Leaving the block without `finish` leaves what was there before."""

    @property
    def can_begin_anew(self) -> bool:
        """Whether what was written can be taken back."""
        ...

    def begin_anew(self) -> None:
        """Takes back what was written."""
        ...

    def write(self, data: bytes) -> None:
        """Appends the next piece of the stream."""
        ...

    def finish(self, summary: ExportSummary) -> ExportSummary:
        """Makes the file durable, and then visible. Takes what the stream comes to, gives what the file comes to."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class WholeFile:
    """A file that appears under its name only when it is complete: written beside it, synced to disk, then renamed.

    Leaving the block without `commit` removes what was written and leaves what was there before. Through a symbolic
    link the file behind it is replaced. What is no regular file, such as a pipe, can't be renamed over and is written
    to directly. Raises OSError.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path).resolve()
        direct = is_special(self._path)
        self._beside: Path | None = None if direct else self._path.with_name(f".hookline-{secrets.token_hex(8)}.part")
        self._file: BinaryIO = self._path.open("wb") if self._beside is None else self._beside.open("xb")

    @property
    def can_begin_anew(self) -> bool:
        """Whether what was written can be taken back: not out of a pipe."""
        return self._beside is not None

    def begin_anew(self) -> None:
        """Takes back what was written."""
        self._file.seek(0)
        self._file.truncate()

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
        sync_folder(self._path)

    def finish(self, summary: ExportSummary) -> ExportSummary:
        """Commits; the file is the stream itself."""
        self.commit()
        return summary

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


def is_special(path: Path) -> bool:
    """Whether there is something that is no regular file, such as a pipe."""
    return path.exists() and not path.is_file()


def sync_folder(path: Path) -> None:
    """Makes a new name of a file durable: the name lies in the folder."""
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
