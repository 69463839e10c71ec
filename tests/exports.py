"""Exports as a caller sees them, with everything checked that a stream promises."""

import csv
import hashlib
import io
import json
from collections.abc import AsyncIterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from hookline.export.v1 import export_service_pb2 as pb

if TYPE_CHECKING:
    from hookline.export.v1.export_service_pb2_grpc import ExportServiceAsyncStub

CSV, JSON, NDJSON = pb.EXPORT_FORMAT_CSV, pb.EXPORT_FORMAT_JSON, pb.EXPORT_FORMAT_NDJSON
CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True)
class Exported:
    """A complete export."""

    header: pb.ExportHeader
    data: bytes
    chunks: int
    trailer: pb.ExportTrailer

    def csv(self) -> list[dict[str, str]]:
        """The rows of a CSV file by column."""
        # newline="": line ends inside of fields stay as they are.
        rows = list(csv.DictReader(io.StringIO(self.data.decode(), newline=""), strict=True))
        assert len(rows) == self.trailer.rows
        return rows

    def json(self) -> list[dict[str, Any]]:
        """The objects of a JSON or NDJSON file, numbers exact."""
        text = self.data.decode()
        if self.header.media_type == "application/json":
            objects = exact(text)
        else:
            assert not text or text.endswith("\n")
            objects = [exact(line) for line in text.split("\n")[:-1]]
        assert len(objects) == self.trailer.rows
        assert all(list(one) == list(self.header.columns) for one in objects)
        return list(objects)


def exact(text: str | bytes) -> Any:
    """Reads JSON with every number as it is written."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


async def exported(
    stub: "ExportServiceAsyncStub", company: str, file_format: pb.ExportFormat.ValueType, **request: Any
) -> Exported:
    """Exports, to the end."""
    return await read(stub.ExportEvents(pb.ExportEventsRequest(company_id=company, format=file_format, **request)))


async def read(stream: AsyncIterable[pb.ExportEventsResponse]) -> Exported:
    """Reads a stream to its end and checks each promise of the contract."""
    return check([part async for part in stream])


def check(parts: Sequence[pb.ExportEventsResponse]) -> Exported:
    kinds = [part.WhichOneof("part") for part in parts]
    assert kinds == ["header", *["chunk"] * (len(parts) - 2), "trailer"]
    header, trailer = parts[0].header, parts[-1].trailer
    data, digest = b"", b""
    for number, part in enumerate(parts[1:-1], 1):
        chunk = part.chunk
        assert 0 < len(chunk.data) <= CHUNK_BYTES
        data += chunk.data
        digest = hashlib.sha256(digest + chunk.data).digest()
        assert (chunk.number, chunk.bytes, chunk.digest) == (number, len(data), digest)
        assert chunk.rows_read <= trailer.rows
    assert (trailer.bytes, trailer.digest) == (len(data), digest)
    assert trailer.sha256 == hashlib.sha256(data).digest()
    assert trailer.rows <= header.max_rows
    return Exported(header, data, len(parts) - 2, trailer)
