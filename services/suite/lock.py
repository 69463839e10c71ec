"""One process at a time: a lock on a file, which the kernel releases when its holder dies, however it dies."""

import fcntl
import os
from pathlib import Path

from shared.errors import OperatorError


class FileLock:
    """Holds `path` exclusively from its making until `release()`. The file stays, with the last holder's pid in it.

    Raises OperatorError, which names the other process, when `path` is held already, be it by this very process. The
    file must not be deleted: two processes could then each hold one of that name.
    """

    def __init__(self, path: Path) -> None:
        # O_NOFOLLOW: root must not write where someone else's link leads.
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._descriptor, 20).decode(errors="replace").strip()
            os.close(self._descriptor)
            raise OperatorError(
                f"{path.parent} is in use by {f'process {holder}' if holder else 'another process'}; "
                "stop that one, or name another folder with HOOKLINE_DATA_DIR."
            ) from None
        os.truncate(self._descriptor, 0)
        os.write(self._descriptor, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        os.close(self._descriptor)
