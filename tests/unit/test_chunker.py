"""Chunks: the same file in the same pieces, however its rows came, and from wherever it is gone on with."""

import hashlib
import zlib
from collections.abc import Sequence
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.export.chunker import CHUNK_BYTES, Boundary, ChangedError, Chunk, Chunker, Position
from services.export.formats import EXCEL, EXCEL_PTBR, Format, csv_format, json_format, ndjson_format

FORMATS = {"csv": csv_format(), "json": json_format(), "ndjson": ndjson_format()}
START = Position(Boundary(0))
# Rows, each a page's piece: a few bytes or several chunks; those of JSON arrays begin with a comma each.
ROWS = st.lists(
    st.builds(
        lambda size, byte: b"," + bytes([byte]) * size,
        st.sampled_from([0, 1, 7, 262_143, 262_144, 600_000]),
        st.integers(0, 255),
    ),
    max_size=6,
)


def pages_of(rows: Sequence[bytes], cuts: Sequence[int]) -> list[tuple[list[bytes], int, int]]:
    """The rows in pages cut at these places, some of them empty: pieces, rows, and where the log has been read to."""
    places = sorted({0, len(rows), *(cut % (len(rows) + 1) for cut in cuts)})
    pages = [(list(rows[start:end]), end - start, end) for start, end in pairwise(places)]
    return [page for one in pages for page in (one, ([], 0, one[2]))]


def chunks_of(
    file_format: Format, pages: Sequence[tuple[list[bytes], int, int]], position: Position = START
) -> tuple[list[Chunk], Chunker]:
    chunker = Chunker(file_format, position)
    chunks = [chunk for page in pages for chunk in chunker.add(*page)]
    return [*chunks, *chunker.finish()], chunker


def file_of(file_format: Format, rows: bytes) -> bytes:
    return file_format.start + rows[len(file_format.before_row) :] + file_format.end


@settings(max_examples=60)
@given(st.sampled_from(sorted(FORMATS)), ROWS, st.lists(st.integers(0, 10), max_size=4))
def test_the_pieces_make_up_the_file_however_the_rows_came(name: str, rows: list[bytes], cuts: list[int]) -> None:
    file_format = FORMATS[name]
    chunks, chunker = chunks_of(file_format, pages_of(rows, cuts))
    other, _ = chunks_of(file_format, pages_of(rows, []))
    expected = file_of(file_format, b"".join(rows))
    assert b"".join(chunk.data for chunk in chunks) == expected
    assert all(len(chunk.data) == CHUNK_BYTES for chunk in chunks[:-1])
    assert all(0 < len(chunk.data) <= CHUNK_BYTES for chunk in chunks)
    digest = b""
    sizes = list(accumulate(len(chunk.data) for chunk in chunks))
    for number, (chunk, size) in enumerate(zip(chunks, sizes, strict=True), 1):
        digest = hashlib.sha256(digest + chunk.data).digest()
        position = chunk.position
        assert (position.number, position.size, position.digest) == (number, size, digest)
        assert position.boundary.size <= size
        assert position.checksum == zlib.crc32(expected[position.boundary.size : size])
        assert (other[number - 1].data, other[number - 1].position.digest) == (chunk.data, digest)
    assert (chunker.position.digest, chunker.rows) == (digest, len(rows))
    assert chunker.sha256 == hashlib.sha256(expected).digest()


@settings(max_examples=100)
@given(
    st.sampled_from(sorted(FORMATS)),
    ROWS,
    st.lists(st.integers(0, 10), max_size=4),
    st.lists(st.integers(0, 10), max_size=4),
    st.integers(0, 50),
)
def test_gone_on_with_after_any_chunk_the_rest_is_the_same(
    name: str, rows: list[bytes], cuts: list[int], other_cuts: list[int], choice: int
) -> None:
    file_format = FORMATS[name]
    whole, chunker = chunks_of(file_format, pages_of(rows, cuts))
    if not whole:
        return
    broken_after = choice % len(whole)
    position = whole[broken_after].position
    # Only what the log has behind the boundary is read again, in pages of another cut.
    left = [(p, n, at + position.boundary.at) for p, n, at in pages_of(rows[position.boundary.at :], other_cuts)]
    rest, resumed = chunks_of(file_format, left, position)
    assert [chunk.data for chunk in rest] == [chunk.data for chunk in whole[broken_after + 1 :]]
    assert [chunk.position.digest for chunk in rest] == [chunk.position.digest for chunk in whole[broken_after + 1 :]]
    assert (resumed.rows, resumed.position.size) == (chunker.rows, chunker.position.size)
    assert resumed.position.digest == chunker.position.digest
    # And it could be broken off again.
    expected = file_of(file_format, b"".join(rows))
    for chunk in rest:
        boundary, size = chunk.position.boundary, chunk.position.size
        assert chunk.position.checksum == zlib.crc32(expected[boundary.size : size])
    assert resumed.sha256 == b""


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "changed", [b",a", b"," + b"b" * 300_000, b"," + b"a" * 100_000 + b"b" + b"a" * 199_999, b"," + b"a" * 150_000, b""]
)
def test_rows_that_are_not_those_that_were_sent(name: str, changed: bytes) -> None:
    file_format = FORMATS[name]
    # The rows before the boundary are not looked at again.
    sent, changed_since = ([([b",first" * 100_000], 1, 1), ([row], 1, 2)] for row in (b"," + b"a" * 300_000, changed))
    chunks, _ = chunks_of(file_format, sent)
    position = chunks[2].position
    assert position.boundary.at == 1
    chunks_of(file_format, sent[1:], position)
    with pytest.raises(ChangedError):
        chunks_of(file_format, changed_since[1:], position)


@pytest.mark.parametrize(("name", "expected"), [("json", b"[]\n"), ("ndjson", b"")])
def test_a_file_without_rows(name: str, expected: bytes) -> None:
    chunks, chunker = chunks_of(FORMATS[name], [])
    assert b"".join(chunk.data for chunk in chunks) == expected
    assert chunker.sha256 == hashlib.sha256(expected).digest()
    assert chunker.position.number == len(chunks) == (1 if expected else 0)


def test_a_csv_file_without_rows_has_its_titles() -> None:
    usual = csv_format()
    chunks, _ = chunks_of(usual, [([], 0, 0), ([b""], 0, 5)])
    assert [chunk.data for chunk in chunks] == [",".join(column.name for column in usual.columns).encode() + b"\n"]


def test_titles_by_dialect_and_language() -> None:
    names = ["customer_name", "total", 'payload.a"b;c', "payload.x,y"]
    assert csv_format(names).start.decode() == 'customer_name,total,"payload.a""b;c","payload.x,y"\n'
    excel = csv_format(names, EXCEL, portuguese=True).start
    assert excel.decode() == '\ufeffCliente,Total,"payload.a""b;c","payload.x,y"\n'
    assert csv_format(names, EXCEL_PTBR).start.decode() == '\ufeffcustomer_name;total;"payload.a""b;c";payload.x,y\n'
