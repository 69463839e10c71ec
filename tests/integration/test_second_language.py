"""A client in Go, with stubs that Go's own generators make from protos/, gets the very file that Python's gets."""

import asyncio
import hashlib
import subprocess
from pathlib import Path

import pytest

from hookline.export.v1 import export_service_pb2 as pb
from tests.exports import exported
from tests.go_client import CannotBuildError, build
from tests.in_process import Exporting, Ingesting
from tests.samples import grapfy, send


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program tests/go_client/main.go, compiled."""
    try:
        return build(tmp_path_factory.mktemp("go"))
    except CannotBuildError as error:
        pytest.skip(str(error))


async def test_go_gets_the_same_file(client: Path, ingest: Ingesting, export: Exporting) -> None:
    events = [grapfy(number, customer={"name": f'"Zoë" 🦩 {number}'}, x="é" * (number % 700)) for number in range(2000)]
    await send(ingest.stub, "acme", events)
    for name in ("CSV", "JSON", "NDJSON"):
        expected = await exported(export.export, "acme", pb.ExportFormat.Value(f"EXPORT_FORMAT_{name}"))
        told = f"{hashlib.sha256(expected.data).hexdigest()} 2000 {expected.chunks}\n"
        for arguments in ((), ("resume",)):
            process = await asyncio.create_subprocess_exec(
                client, export.address, "acme", name, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            out, problem = await process.communicate()
            assert (out.decode(), problem.decode()) == (told, ""), name
