"""Generates the stubs in hookline/ from the .proto files beside this one.

`--check` changes nothing and fails when the committed stubs are not those that the .proto files give.
"""

import argparse
import filecmp
import shutil
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
ROOT = PROTOS.parent
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")


def generate(target: Path) -> None:
    """Writes the stubs of every .proto file under `target`."""
    protos = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    services = [proto for proto in protos if proto.endswith("_service.proto")]
    beside_python = Path(sys.executable).parent
    plugins = [f"--plugin=protoc-gen-{name}={beside_python / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    paths = [f"--proto_path={PROTOS}", f"--proto_path={files('grpc_tools') / '_proto'}"]
    messages = [f"--python_out={target}", f"--mypy_out={target}", *protos]
    stubs = [f"--grpc_python_out={target}", f"--mypy_grpc_out={target}", *services]
    for outputs in (messages, stubs):
        if protoc.main(["protoc", *plugins, *paths, *outputs]) != 0:
            sys.exit("protoc failed; see above")


def _make_package(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for package in (folder, folder.parent):
        (package / "__init__.py").touch()


def generated_files(root: Path) -> set[Path]:
    """The stubs under `root`/hookline, relative to `root`."""
    return {path.relative_to(root) for pattern in GENERATED for path in (root / "hookline").rglob(pattern)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh, committed = generated_files(Path(folder)), generated_files(ROOT)
        wrong = sorted(
            path
            for path in fresh | committed
            if path not in fresh
            or path not in committed
            or not filecmp.cmp(Path(folder) / path, ROOT / path, shallow=False)
        )
        if check and wrong:
            sys.exit("not what the .proto files give (run `make protos`): " + ", ".join(map(str, wrong)))
        # Only what has changed: whoever imports the others meanwhile finds them.
        for path in set(wrong) - fresh:
            (ROOT / path).unlink()
        for path in fresh.intersection(wrong):
            _make_package(ROOT / path.parent)
            shutil.copyfile(Path(folder) / path, ROOT / path)


if __name__ == "__main__":
    main()
