"""Tools that know nothing of Hookline, and learn from the service's reflection what it can do, export whole files."""

import asyncio
import json
import shutil
import sys
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from hookline.export.v1 import export_service_pb2 as pb
from tests.exports import check, exported
from tests.in_process import Exporting, Ingesting
from tests.samples import grapfy, send

METHOD = "hookline.export.v1.ExportService/ExportEvents"
BUF = Path(sys.executable).with_name("buf")
TOOLS = {
    "buf curl": (str(BUF), "curl", "--protocol", "grpc", "--http2-prior-knowledge", "-d", "{request}", "http://{url}"),
    "grpcurl": ("grpcurl", "-plaintext", "-d", "{request}", "{address}", METHOD),
}


def messages(text: str) -> Iterator[Any]:
    """The JSON values of a text, one after the other."""
    decoder = json.JSONDecoder()
    while text := text.lstrip():
        value, end = decoder.raw_decode(text)
        yield value
        text = text[end:]


@pytest.mark.parametrize("tool", TOOLS)
async def test_a_tool_exports_the_very_same_file(tool: str, ingest: Ingesting, export: Exporting) -> None:
    if tool == "grpcurl" and shutil.which("grpcurl") is None:
        pytest.skip("grpcurl is not installed")
    await send(ingest.stub, "acme", [grapfy(number, customer={"name": f'"Zoë" 🦩 {number}'}) for number in range(2000)])
    for name in ("CSV", "JSON"):
        expected = await exported(export.export, "acme", pb.ExportFormat.Value(f"EXPORT_FORMAT_{name}"))
        told = {
            "{request}": json.dumps({"company_id": "acme", "format": f"EXPORT_FORMAT_{name}"}),
            "{address}": export.address,
            "http://{url}": f"http://{export.address}/{METHOD}",
        }
        process = await asyncio.create_subprocess_exec(
            *(told.get(argument, argument) for argument in TOOLS[tool]), stdout=PIPE, stderr=PIPE
        )
        async with asyncio.timeout(60):
            out, problem = await process.communicate()
        assert process.returncode == 0, problem
        parts = [json_format.ParseDict(message, pb.ExportEventsResponse()) for message in messages(out.decode())]
        file = check(parts)
        assert file.chunks > 1
        assert (file.data, file.trailer) == (expected.data, expected.trailer)
