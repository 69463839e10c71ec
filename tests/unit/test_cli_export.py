"""`hookline export`, against scripted services: what it asks for, what it says, and what it leaves behind."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hookline.client.export import MAX_BARREN_STREAMS
from hookline.events.v1.events_pb2 import EventFilter, EventOrder
from hookline.export.v1.export_service_pb2 import (
    Compression,
    CsvDialect,
    ExportEventsRequest,
    ExportFormat,
    HeaderLanguage,
)
from tests.unit.scripted import Answer, Refusal, Script, Shell, export_stream, serving

CSV = [b"id,name\n1,a\n", b"2,b\n"]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hookline.client.retry.FIRST_DELAY", 0.001)


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def shell(script: Script) -> Iterator[Shell]:
    with serving(script) as server:
        yield Shell(script, server)


def test_export_to_a_file(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "events.CSV"
    shell.script.answers = [export_stream(CSV, 2), export_stream(CSV, 2)]
    result = shell("export", "-o", str(path))
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith(f"2 events, 16 bytes in {path}, SHA-256 ")
    assert path.read_bytes() == b"".join(CSV)
    result = shell("export", "-o", str(path), "--json")
    assert json.loads(result.stdout).items() >= {"path": str(path), "rows": 2, "bytes": 16}.items()
    assert shell.script.requests == 2 * [ExportEventsRequest(company_id="acme", format=ExportFormat.EXPORT_FORMAT_CSV)]


@pytest.mark.parametrize("output", [(), ("-o", "-")], ids=["by default", "asked for"])
def test_export_to_stdout(shell: Shell, output: tuple[str, ...]) -> None:
    shell.script.answers = [export_stream(CSV, 2)]
    result = shell("export", *output, "--format", "csv", "--limit", "2", "--newest-first", "--type", "a")
    assert (result.exit_code, result.stdout_bytes, result.stderr) == (0, b"".join(CSV), "")
    assert shell.script.requests == [
        ExportEventsRequest(
            company_id="acme",
            format=ExportFormat.EXPORT_FORMAT_CSV,
            filter=EventFilter(types=["a"]),
            limit=2,
            order=EventOrder.EVENT_ORDER_NEWEST_FIRST,
        )
    ]


def test_an_export_says_how_it_is_to_be_written(shell: Shell, tmp_path: Path) -> None:
    shell.script.answers = [export_stream(CSV, 2)]
    arguments = (
        "--dialect excel-ptbr --portuguese --time-zone America/Sao_Paulo --compression none --columns event_id,total "
        "--columns payload.utm.source --customer ana --platform grapfy"
    )
    quoted = '"payload.a,b", status'
    result = shell("export", "-o", str(tmp_path / "events.csv"), *arguments.split(), "--columns", quoted)
    assert result.exit_code == 0, result.stderr
    assert shell.script.requests == [
        ExportEventsRequest(
            company_id="acme",
            format=ExportFormat.EXPORT_FORMAT_CSV,
            csv_dialect=CsvDialect.CSV_DIALECT_EXCEL_PTBR,
            header_language=HeaderLanguage.HEADER_LANGUAGE_PORTUGUESE,
            time_zone="America/Sao_Paulo",
            columns=["event_id", "total", "payload.utm.source", "payload.a,b", "status"],
            compression=Compression.COMPRESSION_UNSPECIFIED,
            filter=EventFilter(customer="ana", platforms=["grapfy"]),
        )
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("-o events.xlsx", "Which format?"),
        ("-o events.json --dialect excel", "--dialect goes with CSV only"),
        ("-o events.parquet --portuguese", "--portuguese goes with CSV only"),
        ("-o events.parquet --resume", "--resume goes with CSV, JSON and NDJSON"),
        ("-o events.parquet --time-zone America/Sao_Paulo", "points in time"),
        ("--format parquet", "Parquet needs a file"),
        ("--format csv --resume", "--resume needs a file"),
        ("-o /dev/null --format csv --resume", "to a regular file"),
    ],
)
def test_what_does_not_go_together(shell: Shell, arguments: str, said: str) -> None:
    result = shell("export", *arguments.split())
    assert result.exit_code == 2
    assert said in result.stderr
    assert shell.script.requests == []


def test_a_connection_that_breaks_is_mended(shell: Shell, tmp_path: Path) -> None:
    rest = export_stream(CSV, 2, after=1)
    shell.script.answers = [[*export_stream(CSV, 2)[:2], Refusal()], rest] * 2
    result = shell("export", "--format", "csv")
    assert (result.exit_code, result.stdout_bytes, result.stderr) == (0, b"".join(CSV), "")
    assert shell("export", "-o", str(tmp_path / "events.csv")).exit_code == 0
    assert (tmp_path / "events.csv").read_bytes() == b"".join(CSV)


def test_an_export_that_fails_midway(shell: Shell, tmp_path: Path) -> None:
    whole = export_stream(CSV, 2)
    never_whole: list[Answer] = [*export_stream(CSV, 2, after=2)[:-1]]
    shell.script.answers = [whole[:-1], *[never_whole] * MAX_BARREN_STREAMS]
    result = shell("export", "--format", "csv")
    assert (result.exit_code, result.stdout_bytes) == (9, b"".join(CSV))
    assert result.stderr == "Error: The export ended without its trailer: what came is not the whole file.\n"
    shell.script.answers = [whole[:-1], *[never_whole] * MAX_BARREN_STREAMS]
    assert shell("export", "-o", str(tmp_path / "events.csv")).exit_code == 9
    shell.script.answers = [[*whole[:-1], Refusal()]]
    assert shell("export", "-o", str(tmp_path / "events.csv"), "--patience", "0").exit_code == 7
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_fails_midway_and_goes_on(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    shell.script.answers = [[*export_stream(CSV, 2)[:2], Refusal()]]
    result = shell("export", "-o", str(path), "--resume", "--patience", "0")
    assert result.exit_code == 7
    assert result.stderr.startswith(f"What has come stays in {path}.part: the same command goes on from there.\n")
    shell.script.answers = [export_stream(CSV, 2, after=1)]
    assert shell("export", "-o", str(path), "--resume").exit_code == 0
    assert path.read_bytes() == b"".join(CSV)
    assert [each.name for each in tmp_path.iterdir()] == ["events.csv"]


def test_a_file_that_another_export_writes(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    again: list[int] = []

    def at_once(request: object, context: object) -> Iterator[object]:
        again.append(shell("export", "-o", str(path), "--resume").exit_code)
        yield from export_stream(CSV, 2)

    shell.script.ExportEvents = at_once  # type: ignore[method-assign]
    with serving(shell.script) as server:
        assert Shell(shell.script, server)("export", "-o", str(path), "--resume").exit_code == 0
    assert again == [1]


def test_parquet(shell: Shell, tmp_path: Path) -> None:
    pieces = [b'{"sequence": 1, "payload": {"a": 12345', b"678901234567890.10}}\n"]
    stream, rest = export_stream(pieces, 1), export_stream(pieces, 1, after=1)
    for begun in (stream, rest):
        begun[0].header.columns.extend(["sequence", "payload"])
    shell.script.answers = [[*stream[:2], Refusal()], rest]
    path = tmp_path / "events.parquet"
    result = shell("export", "-o", str(path), "--json", "--columns", "sequence,payload")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["bytes"] == path.stat().st_size
    assert pq.read_table(path).to_pylist() == [{"sequence": 1, "payload": '{"a": 12345678901234567890.10}'}]
    assert shell.script.requests[0] == ExportEventsRequest(
        company_id="acme", format=ExportFormat.EXPORT_FORMAT_NDJSON, columns=["sequence", "payload"]
    )
