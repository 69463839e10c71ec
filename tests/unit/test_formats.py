"""Chunks: the same file in the same pieces, however its rows came."""

import hashlib
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.export.formats import CHUNK_BYTES, CSV, JSON, NDJSON, Chunk, Chunker, Format

FORMATS = {"csv": CSV, "json": JSON, "ndjson": NDJSON}


def chunks_of(file_format: Format, pages: Sequence[Sequence[bytes]]) -> tuple[list[Chunk], Chunker]:
    chunker = Chunker(file_format)
    chunks = [chunk for page in pages for chunk in chunker.add(page)]
    return [*chunks, *chunker.finish()], chunker


def file_of(file_format: Format, rows: bytes) -> bytes:
    return file_format.start + rows[len(file_format.before_row) :] + file_format.end


# A few bytes or several chunks; rows of JSON arrays begin with a comma each.
rows = st.lists(
    st.builds(
        lambda size, byte: b"," + bytes([byte]) * size,
        st.sampled_from([0, 1, 7, 262_143, 600_000]),
        st.integers(0, 255),
    ),
    max_size=5,
).map(b"".join)


@settings(max_examples=60)
@given(st.sampled_from(sorted(FORMATS)), rows, st.lists(st.integers(0, 10**6), max_size=8))
def test_the_pieces_make_up_the_file_however_the_rows_came(name: str, data: bytes, cuts: list[int]) -> None:
    file_format = FORMATS[name]
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    pieces = [data[start:end] for start, end in pairwise(places)]
    chunks, chunker = chunks_of(file_format, [pieces])
    # Page by page, and an empty page between.
    again, _ = chunks_of(file_format, [[piece] for piece in pieces] + [[]])
    assert chunks == again
    expected = file_of(file_format, data)
    assert b"".join(chunk.data for chunk in chunks) == expected
    assert all(len(chunk.data) == CHUNK_BYTES for chunk in chunks[:-1])
    assert all(0 < len(chunk.data) <= CHUNK_BYTES for chunk in chunks)
    digest, size = b"", 0
    for number, chunk in enumerate(chunks, 1):
        digest = hashlib.sha256(digest + chunk.data).digest()
        size += len(chunk.data)
        assert (chunk.number, chunk.size, chunk.digest) == (number, size, digest)
    assert (chunker.number, chunker.size, chunker.digest) == (len(chunks), size, digest)
    assert chunker.sha256 == hashlib.sha256(expected).digest()


@pytest.mark.parametrize(("name", "expected"), [("json", b"[]\n"), ("ndjson", b"")])
def test_a_file_without_rows(name: str, expected: bytes) -> None:
    chunks, chunker = chunks_of(FORMATS[name], [])
    assert b"".join(chunk.data for chunk in chunks) == expected
    assert chunker.sha256 == hashlib.sha256(expected).digest()
    assert chunker.number == len(chunks) == (1 if expected else 0)


def test_a_csv_file_without_rows_has_its_titles() -> None:
    chunks, _ = chunks_of(CSV, [[], [b""]])
    assert [chunk.data for chunk in chunks] == [",".join(CSV.columns).encode() + b"\n"]
