"""Where the servers that are brought along have their sockets: in a folder that nobody but their user may enter, so
that they need no password."""

import hashlib
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from shared.errors import OperatorError

# sockaddr_un holds 108 bytes on Linux and 104 on macOS, the closing NUL included.
_LONGEST_PATH = 103


def short_hash(path: Path) -> str:
    """Tells a folder from others where its whole path would be too long."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]


def socket_folder(home: Path, name: str, user: int, group: int) -> Path:
    """The folder of the socket `name`, made if it is missing: in `home`, or a short one when that path is longer than
    a socket's may be. Raises OperatorError when there is no such folder, or it is not the user's alone."""
    folder = home / "socket"
    if len(os.fsencode(folder / name)) > _LONGEST_PATH:
        folder = Path(tempfile.gettempdir()) / f"hookline-{user}-{short_hash(home)}"
    if len(os.fsencode(folder / name)) > _LONGEST_PATH:
        raise OperatorError(
            f"{home} and {folder} are both too long for a socket; HOOKLINE_DATA_DIR names a shorter one."
        )
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        if user != os.geteuid():
            os.chown(folder, user, group)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user or found.st_mode & 0o077:
        # In a folder for everyone, someone else may have been there first.
        raise OperatorError(f"{folder} is not a private folder of user {user}; remove it.")
    return folder
