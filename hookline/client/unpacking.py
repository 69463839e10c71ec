"""Undoes the compression of an export's chunks, each by itself, and never to more than a chunk may be."""

import importlib
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from hookline.client.errors import IncompleteExport, MissingPackage
from hookline.export.v1.export_service_pb2 import Compression

MAX_CHUNK_BYTES = 256 * 1024
_AS_GZIP = 31

Unpack = Callable[[bytes], bytes]


def unpacking(compression: Compression.ValueType) -> Unpack:
    """What undoes that compression; it raises IncompleteExport for what is damaged or comes to too much. Raises
    MissingPackage where zstandard is needed and not installed."""
    return _MAKERS[compression]()


def _nothing() -> Unpack:
    return lambda data: data


def _gzip() -> Unpack:
    def unpack(data: bytes) -> bytes:
        member = zlib.decompressobj(_AS_GZIP)
        try:
            plain = member.decompress(data, MAX_CHUNK_BYTES + 1)
        except zlib.error:
            raise _damaged() from None
        if not member.eof or member.unused_data or len(plain) > MAX_CHUNK_BYTES:
            raise _damaged()
        return plain

    return unpack


def _zstd() -> Unpack:
    zstandard = package("zstandard", "zstd")

    def unpack(data: bytes) -> bytes:
        try:
            # The library believes what a frame says of its own size, however much that is: it is asked before.
            if zstandard.frame_content_size(data) > MAX_CHUNK_BYTES:
                raise _damaged()
            frame = zstandard.ZstdDecompressor()
            plain: bytes = frame.decompress(data, max_output_size=MAX_CHUNK_BYTES, allow_extra_data=False)
        except zstandard.ZstdError:
            raise _damaged() from None
        return plain

    return unpack


def package(name: str, extra: str) -> Any:
    """A package that only some need: imported when it is. Raises MissingPackage."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingPackage(name, extra) from None


def _damaged() -> IncompleteExport:
    return IncompleteExport("A chunk came damaged: it can't be unpacked.")


_MAKERS: Mapping[Compression.ValueType, Callable[[], Unpack]] = {
    Compression.COMPRESSION_UNSPECIFIED: _nothing,
    Compression.COMPRESSION_GZIP: _gzip,
    Compression.COMPRESSION_ZSTD: _zstd,
}
