"""How chunks are compressed: each by itself, so that any of them can be read alone and all of them put end to end."""

import gzip as gzip_module
from collections.abc import Callable

import zstandard

Compress = Callable[[bytes], bytes]


def gzip(data: bytes) -> bytes:
    """A gzip member, without a time: the same data gives the same bytes."""
    return gzip_module.compress(data, compresslevel=6, mtime=0)


def zstd(data: bytes) -> bytes:
    """A Zstandard frame."""
    # A compressor is not to be shared between threads, and costs less than what it does.
    return zstandard.ZstdCompressor(level=3).compress(data)
