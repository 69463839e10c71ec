"""A client in Go, with stubs that Go's own generators make from protos/.

`python -m tests.go_client` fetches the modules that it takes and compiles all of it, which takes a minute or two the
first time. From then on a test uses what was kept, in seconds and without the network.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MODULE = "hookline.test/client"
PROTOS = {"hookline/events/v1/events.proto": "eventsv1", "hookline/export/v1/export_service.proto": "exportv1"}
GO = shutil.which("go", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/go/bin")))
_KEPT = Path(tempfile.gettempdir()) / "hookline-go"


class CannotBuildError(Exception):
    """Go is not there, or modules are not; the text says what to do."""


def build(folder: Path, *, download: bool = False) -> Path:
    """Compiles the client in an empty folder; gives the program. Modules come over the network only with `download`.
    Raises CannotBuildError, and AssertionError when the client does not compile."""
    if GO is None:
        raise CannotBuildError("Go is neither on the PATH nor in /usr/local/go/bin")
    for name in ("main.go", "go.mod", "go.sum"):
        shutil.copy(HERE / name, folder)
    environment = os.environ | {
        "GOPATH": str(_KEPT / "path"),
        "GOCACHE": str(_KEPT / "build"),
        # What is kept can be removed like any other files.
        "GOFLAGS": "-modcacherw",
        "GOTOOLCHAIN": "local",
    }
    offline = {} if download else {"GOPROXY": "off"}
    try:
        _run([GO, "mod", "download"], folder, environment | offline)
    except AssertionError as error:
        first = str(error).strip().partition("\n")[0]
        raise CannotBuildError(
            f"Go's modules are not there; `python -m tests.go_client` fetches them ({first})"
        ) from None
    _run([GO, "build", "-o", "bin/", "tool"], folder, environment)
    mappings = [f"M{proto}={MODULE}/{package}" for proto, package in PROTOS.items()]
    command = [sys.executable, "-m", "grpc_tools.protoc"]
    command += [f"--proto_path={path}" for path in (ROOT / "protos", files("grpc_tools") / "_proto")]
    for generator in ("go", "go-grpc"):
        command += [f"--plugin={folder / 'bin' / f'protoc-gen-{generator}'}", f"--{generator}_out={folder}"]
        command += [f"--{generator}_opt={option}" for option in (f"module={MODULE}", *mappings)]
    _run([*command, *PROTOS], folder, environment)
    _run([GO, "build", "-o", "client", "."], folder, environment)
    return folder / "client"


def _run(command: list[str], folder: Path, environment: Mapping[str, str]) -> None:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr or f"{command} failed"
