"""Chunks that were compressed: whole, damaged, and such as would come to far too much."""

import builtins
import gzip
import importlib
import zlib
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from hookline.client import Client, FileFormat, IncompleteExport, MissingPackage
from hookline.client.unpacking import MAX_CHUNK_BYTES, unpacking
from hookline.export.v1.export_service_pb2 import COMPRESSION_GZIP, COMPRESSION_UNSPECIFIED, COMPRESSION_ZSTD

GZIP, ZSTD = unpacking(COMPRESSION_GZIP), unpacking(COMPRESSION_ZSTD)
zstd = zstandard.ZstdCompressor().compress


@given(st.binary(max_size=2000))
def test_what_was_packed(data: bytes) -> None:
    assert GZIP(gzip.compress(data)) == ZSTD(zstd(data)) == unpacking(COMPRESSION_UNSPECIFIED)(data) == data


def without_size(data: bytes) -> bytes:
    packer = zstandard.ZstdCompressor().compressobj()
    return packer.compress(data) + packer.flush()


def test_no_more_than_a_chunk_may_be() -> None:
    most, more = bytes(MAX_CHUNK_BYTES), bytes(MAX_CHUNK_BYTES + 1)
    assert GZIP(gzip.compress(most)) == ZSTD(zstd(most)) == ZSTD(without_size(most)) == most
    huge = bytes(100_000_000)
    for unpack, packed in [
        (GZIP, gzip.compress(more)),
        (GZIP, gzip.compress(huge)),
        (ZSTD, zstd(more)),
        (ZSTD, zstd(huge)),
        (ZSTD, without_size(more)),
        (ZSTD, without_size(huge)),
    ]:
        with pytest.raises(IncompleteExport, match="damaged"):
            unpack(packed)


@pytest.mark.parametrize("packed", [gzip.compress(b"data"), zstd(b"data")], ids=["gzip", "zstd"])
def test_damages(packed: bytes) -> None:
    unpack = ZSTD if packed == zstd(b"data") else GZIP
    for damaged in (b"", b"data", packed[:-1], packed[:5], packed + b"x", packed + packed, zlib.compress(b"data")):
        with pytest.raises(IncompleteExport, match="damaged"):
            unpack(damaged)


@pytest.mark.parametrize(("package", "extra"), [("zstandard", "zstd"), ("pyarrow", "parquet")])
def test_a_package_that_is_not_there(package: str, extra: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = importlib.import_module

    def without(name: str, *others: Any) -> Any:
        if name == package:
            raise builtins.ModuleNotFoundError(name)
        return real(name, *others)

    monkeypatch.setattr(importlib, "import_module", without)
    kind: FileFormat = "csv" if package == "zstandard" else "parquet"
    with Client(export="127.0.0.1:1") as client, pytest.raises(MissingPackage, match=rf"\[{extra}\]"):
        client.export_to_file("acme", kind, tmp_path / "events", compression="zstd")
    assert list(tmp_path.iterdir()) == []
