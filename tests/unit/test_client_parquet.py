"""Parquet out of a stream that is cut anywhere, breaks and begins anew."""

import gc
import itertools
import json
import tempfile
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.client import ServerDefect
from hookline.client import parquet as making
from hookline.client.export import Content, ExportSummary
from hookline.client.export_request import stream_request
from hookline.client.parquet import ParquetFile
from hookline.export.v1.export_service_pb2 import ExportEventsResponse, ExportHeader
from tests.unit.scripted import Answer, Caller, Refusal, Script, export_stream, serving

CODE = grpc.StatusCode
COLUMNS = ["sequence", "total", "customer_name", "payload.a"]
PIECES = [
    b'{"sequence": 1, "total": "1.50", "customer_na',
    b'me": "Zo\\u00eb", "payload.a": {"b": 9007199254740993}}\n{"sequence": 2, "total": null, ',
    b'"customer_name": "", "payload.a": "\\"x"}\n',
]
ROWS = [
    {"sequence": 1, "total": Decimal("1.50"), "customer_name": "Zoë", "payload.a": '{"b": 9007199254740993}'},
    {"sequence": 2, "total": None, "customer_name": "", "payload.a": '"x'},
]
both_clients = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hookline.client.retry.FIRST_DELAY", 0.001)


def stream(pieces: Sequence[bytes] = PIECES, rows: int = 2, after: int = 0) -> list[ExportEventsResponse]:
    messages = export_stream(pieces, rows, after=after)
    messages[0].header.columns.extend(COLUMNS)
    return messages


@both_clients
def test_a_broken_stream_heals_and_a_token_refused_begins_anew(is_async: bool, tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    refused = Refusal(CODE.FAILED_PRECONDITION, "erased", "EXPORT_NOT_RESUMABLE", {"cause": "erased"})
    lost: list[Answer] = [*stream([PIECES[0], b'me": "gone", "payload.a": null}\n'], 1)[:3], Refusal()]
    script = Script()
    script.answers = [lost, [refused], [*stream()[:2], Refusal()], stream(after=1)]
    with serving(script) as server:
        summary = Caller(is_async=is_async, address=server.address)("export_to_file", "acme", "parquet", path)
    gc.collect()
    assert pq.read_table(path).to_pylist() == ROWS
    assert (summary.rows, summary.bytes) == (2, path.stat().st_size)
    assert [request.resume_token for request in script.requests] == ["", "after 2", "", "after 1"]  # type: ignore[attr-defined]


@both_clients
@pytest.mark.parametrize("length", [0, 1, 2, 3])
def test_what_fails_leaves_nothing(
    is_async: bool, length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "BATCH_BYTES", 1)
    script = Script()
    script.answers = [[*stream()[:length], Refusal(CODE.INTERNAL, "a defect", "INTERNAL")]]
    with serving(script) as server, pytest.raises(ServerDefect):
        Caller(is_async=is_async, address=server.address)("export_to_file", "acme", "parquet", tmp_path / "x")
    # A writer that was given up writes its footer when it is cleared away: nowhere.
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_regular_file() -> None:
    script = Script()
    script.answers = [stream()]
    with serving(script) as server:
        call = Caller(is_async=False, address=server.address)
        assert call("export_to_file", "acme", "parquet", "/dev/null").rows == 2


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
rows = st.fixed_dictionaries(
    {
        "sequence": st.integers(1, 2**63 - 1),
        "total": st.none() | st.decimals(-(10**17), 10**17, places=18, allow_nan=False, allow_infinity=False),
        "customer_name": st.none() | text,
        "payload.a": st.none() | text,
    }
)


def written(total: Decimal | None) -> str | None:
    return None if total is None else f"{total:f}"


@settings(max_examples=40)
@given(rows=st.lists(rows, max_size=12), cuts=st.lists(st.integers(0, 2000), max_size=8))
def test_any_rows_cut_anywhere(rows: list[dict[str, Any]], cuts: list[int]) -> None:
    lines = [json.dumps(row | {"total": written(row["total"])}) + "\n" for row in rows]
    data = "".join(lines).encode()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    content = Content(stream_request("acme", "ndjson", None, {}))
    content.header = ExportHeader(columns=COLUMNS)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr(making, "BATCH_BYTES", 1)
        patched.setattr(making, "ROW_GROUP_BYTES", 500)
        path = Path(folder) / "events.parquet"
        with ParquetFile(path, content) as file:
            for start, end in itertools.pairwise(edges):
                file.write(data[start:end])
            file.finish(ExportSummary(len(rows), len(data), ""))
        assert pq.read_table(path).to_pylist() == rows
