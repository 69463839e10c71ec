"""Exports: what is whole is given on, and nothing else passes for whole."""

import hashlib
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline.client import ExportOptions, ExportProgress, ExportSummary, Filter, IncompleteExport
from hookline.client.export import ExportJob
from hookline.client.export_request import stream_request
from hookline.client.files import WholeFile
from hookline.client.retry import Service
from hookline.export.v1.export_service_pb2 import ExportEventsRequest, ExportEventsResponse
from tests.unit.scripted import Caller, Refusal, Script, export_stream, serving

both_clients = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
PIECES = [b'id,name\n1,"a\nb"\n2,"c', b'""\n"\n3', b",d\n"]
CSV = b"".join(PIECES)
WHOLE = export_stream(PIECES, 3)
SUMMARY = ExportSummary(3, len(CSV), hashlib.sha256(CSV).hexdigest())


def csv(where: Filter | None = None, limit: int = 0) -> ExportEventsRequest:
    return stream_request("acme", "csv", where, ExportOptions(limit=limit))


def check(messages: list[ExportEventsResponse], request: ExportEventsRequest | None = None) -> ExportSummary:
    job = ExportJob(csv() if request is None else request, Service("", 0, 0))
    job.next_request()
    for message in messages:
        job.take(message)
    return job.finish()


def changed(number: int, change: Callable[[Any], object]) -> list[ExportEventsResponse]:
    """The stream with one message changed."""
    messages = [ExportEventsResponse.FromString(message.SerializeToString()) for message in WHOLE]
    change(messages[number])
    return messages


def test_what_is_whole_passes() -> None:
    assert check(WHOLE) == SUMMARY
    assert check(WHOLE, csv(limit=3)) == SUMMARY
    assert check(WHOLE, csv(Filter(types=["a"]))) == SUMMARY
    assert check(export_stream([], 0), stream_request("acme", "ndjson", None, {})).rows == 0


FAULTS: dict[str, list[ExportEventsResponse]] = {
    "nothing": [],
    "no trailer": WHOLE[:-1],
    "no header": WHOLE[1:],
    "two headers": [WHOLE[0], *WHOLE],
    "no chunk where one is due": [WHOLE[0], *WHOLE[2:]],
    "a chunk twice": [*WHOLE[:2], *WHOLE[1:]],
    "chunks out of order": [WHOLE[0], WHOLE[2], WHOLE[1], *WHOLE[3:]],
    "the last chunk is missing": [*WHOLE[:-2], WHOLE[-1]],
    "something after the trailer": [*WHOLE, WHOLE[-1]],
    "an empty message": [*WHOLE[:-1], ExportEventsResponse(), WHOLE[-1]],
    "other data": changed(2, lambda message: setattr(message.chunk, "data", b'""\n"\n4')),
    "wrong bytes": changed(2, lambda message: setattr(message.chunk, "bytes", 7)),
    "wrong digest": changed(1, lambda message: setattr(message.chunk, "digest", bytes(32))),
    "wrong rows in trailer": changed(4, lambda message: setattr(message.trailer, "rows", 2)),
    "wrong bytes in trailer": changed(4, lambda message: setattr(message.trailer, "bytes", 2)),
    "wrong digest in trailer": changed(4, lambda message: setattr(message.trailer, "digest", bytes(32))),
    "wrong hash in trailer": changed(4, lambda message: setattr(message.trailer, "sha256", bytes(32))),
    "more rows than announced": changed(0, lambda message: setattr(message.header, "max_rows", 2)),
    "fewer rows than announced": changed(0, lambda message: setattr(message.header, "max_rows", 4)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults(fault: str) -> None:
    with pytest.raises(IncompleteExport):
        check(FAULTS[fault])


def test_rows_are_counted_in_the_data() -> None:
    filtered = csv(Filter(types=["a"]))
    short = changed(4, lambda message: setattr(message.trailer, "rows", 2))
    with pytest.raises(IncompleteExport, match="3 rows came of 2"):
        check(short, filtered)
    with pytest.raises(IncompleteExport, match="no more than 2"):
        check(WHOLE, csv(limit=2))


@given(
    cells=st.lists(st.text(st.sampled_from('a"\n,'), max_size=6), max_size=12),
    cuts=st.lists(st.integers(0, 200), max_size=8),
)
def test_rows_of_any_csv_cut_anywhere(cells: list[str], cuts: list[int]) -> None:
    rows = ["title", *('"' + cell.replace('"', '""') + '"' for cell in cells)]
    data = ("\n".join(rows) + "\n").encode()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)]
    assert check(export_stream(pieces, len(cells)), csv(Filter(types=["a"]))).rows == len(cells)


@both_clients
def test_a_whole_export(is_async: bool) -> None:
    script = Script()
    script.answers = [WHOLE]
    seen: list[ExportProgress] = []
    with serving(script) as server:
        pieces = Caller(is_async=is_async, address=server.address)(
            "export", "acme", "csv", limit=3, order="newest_first", progress=seen.append
        )
    assert pieces == PIECES
    assert script.requests == [stream_request("acme", "csv", None, ExportOptions(limit=3, order="newest_first"))]
    assert seen[-1] == ExportProgress(3, 3, len(CSV))


@both_clients
def test_an_export_that_has_not_begun_is_tried_again(is_async: bool) -> None:
    script = Script()
    script.answers = [[Refusal()], [Refusal()], WHOLE]
    with serving(script) as server:
        assert Caller(is_async=is_async, address=server.address)("export", "acme", "csv") == PIECES


@both_clients
def test_to_a_file(is_async: bool, tmp_path: Path) -> None:
    script = Script()
    script.answers = [WHOLE, WHOLE]
    real, link = tmp_path / "real.csv", tmp_path / "link.csv"
    real.touch()
    link.symlink_to(real)
    mask = os.umask(0o027)
    try:
        with serving(script) as server:
            call = Caller(is_async=is_async, address=server.address)
            assert call("export_to_file", "acme", "csv", tmp_path / "new.csv") == SUMMARY
            assert call("export_to_file", "acme", "csv", str(link)) == SUMMARY
    finally:
        os.umask(mask)
    assert (tmp_path / "new.csv").read_bytes() == real.read_bytes() == CSV
    assert (tmp_path / "new.csv").stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()
    assert len(list(tmp_path.iterdir())) == 3


def test_what_is_no_regular_file_is_written_to() -> None:
    with WholeFile("/dev/null") as file:
        file.write(b"x")
        file.commit()
    assert Path("/dev/null").is_char_device()


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        WholeFile(tmp_path / "no" / "events.csv")


@both_clients
def test_arguments_are_refused_before_any_call(is_async: bool) -> None:
    call = Caller(is_async=is_async, address="127.0.0.1:1")
    with pytest.raises(ValueError, match="format is one of csv, json, ndjson"):
        call("export", "acme", "xlsx")
    with pytest.raises(ValueError, match="order is one of"):
        call("list", "acme", order="up")
