"""Exports that go on where another process stopped: from what lies beside the file, and from nothing that is not so."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from hookline.client import ExportSummary, IncompleteExport, Unavailable
from hookline.client.export import Content
from hookline.client.export_request import stream_request
from hookline.client.unfinished import UnfinishedFile
from tests.unit.scripted import Answer, Caller, Refusal, Script, export_stream, serving

CODE = grpc.StatusCode
PIECES = [b'id,name\n1,"a\nb"\n2,"c', b'""\n"\n3', b",d\n", b"4,e\n"]
CSV = b"".join(PIECES)
WHOLE = export_stream(PIECES, 4)
SUMMARY = ExportSummary(4, len(CSV), hashlib.sha256(CSV).hexdigest())
both_clients = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


@pytest.fixture(autouse=True)
def _saves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hookline.client.unfinished._SAVE_SECONDS", 0.0)
    monkeypatch.setattr("hookline.client.retry.FIRST_DELAY", 0.001)


@contextmanager
def scripted(*answers: Sequence[Answer]) -> Iterator[tuple[Script, str]]:
    script = Script()
    script.answers = list(answers)
    with serving(script) as server:
        yield script, server.address


def tokens(script: Script) -> list[str]:
    return [request.resume_token for request in script.requests]  # type: ignore[attr-defined]


def leave(target: Path, chunks: int, *, is_async: bool = False) -> None:
    """An export that breaks after so many chunks."""
    with scripted([*WHOLE[: chunks + 1], Refusal()]) as (_, address):
        call = Caller(is_async=is_async, address=address, patience=0)
        with pytest.raises(Unavailable):
            call("export_to_file", "acme", "csv", target, resume=True)


def go_on(target: Path, *answers: Sequence[Answer], is_async: bool = False, **options: Any) -> list[str]:
    """Does it again, to the end; gives the tokens that were sent."""
    with scripted(*answers) as (script, address):
        call = Caller(is_async=is_async, address=address)
        assert call("export_to_file", "acme", "csv", target, resume=True, **options) == SUMMARY
    assert target.read_bytes() == CSV
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    return tokens(script)


@both_clients
@pytest.mark.parametrize("chunks", range(1, len(PIECES) + 1))
def test_another_process_goes_on(is_async: bool, chunks: int, tmp_path: Path) -> None:
    target = tmp_path / "events.csv"
    target.write_bytes(b"as it was")
    leave(target, chunks, is_async=is_async)
    assert target.read_bytes() == b"as it was"
    assert (tmp_path / "events.csv.part").read_bytes() == b"".join(PIECES[:chunks])
    assert go_on(target, export_stream(PIECES, 4, after=chunks), is_async=is_async) == [f"after {chunks}"]


def test_one_after_the_other_goes_on(tmp_path: Path) -> None:
    target = tmp_path / "events.csv"
    leave(target, 1)
    for after in (1, 2):
        answer: list[Answer] = [*export_stream(PIECES, 4, after=after)[:2], Refusal()]
        with scripted(answer) as (script, address), pytest.raises(Unavailable):
            Caller(is_async=False, address=address, patience=0)("export_to_file", "acme", "csv", target, resume=True)
        assert tokens(script) == [f"after {after}"]
    assert go_on(target, export_stream(PIECES, 4, after=3)) == ["after 3"]


def test_without_a_chunk_there_is_nothing_to_go_on_from(tmp_path: Path) -> None:
    leave(tmp_path / "events.csv", 0)
    assert go_on(tmp_path / "events.csv", WHOLE) == [""]


def test_how_it_travels_makes_no_other_file_of_it(tmp_path: Path) -> None:
    leave(tmp_path / "events.csv", 2)
    rest = export_stream(PIECES, 4, after=2)
    assert go_on(tmp_path / "events.csv", rest, compression="none", dialect="plain") == ["after 2"]


def test_another_request_begins_anew(tmp_path: Path) -> None:
    leave(tmp_path / "events.csv", 2)
    assert go_on(tmp_path / "events.csv", WHOLE, limit=4) == [""]


def note(folder: Path, **changes: Any) -> None:
    path = folder / "events.csv.part.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "another byte": lambda folder: (folder / "events.csv.part").write_bytes(CSV[:3] + b"X" + CSV[4:]),
    "too short": lambda folder: (folder / "events.csv.part").write_bytes(CSV[:10]),
    "no part": lambda folder: (folder / "events.csv.part").unlink(),
    "no note": lambda folder: (folder / "events.csv.part.json").unlink(),
    "half a note": lambda folder: os.truncate(folder / "events.csv.part.json", 40),
    "a note of nothing": lambda folder: (folder / "events.csv.part.json").write_text("[]"),
    "no text": lambda folder: (folder / "events.csv.part.json").write_bytes(b"\xff"),
    "of a later version": lambda folder: note(folder, version=2),
    "another digest": lambda folder: note(folder, digest="00"),
    "no token": lambda folder: note(folder, token=""),
    "chunks of no size": lambda folder: note(folder, chunks=[[0, 10**12]]),
    "chunks too large": lambda folder: note(folder, chunks=[[10**12, 1]]),
    "other chunks": lambda folder: note(folder, chunks=[[1, 3]]),
    "no chunks": lambda folder: note(folder, chunks=7),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_begins_anew(damage: str, tmp_path: Path) -> None:
    leave(tmp_path / "events.csv", 2)
    DAMAGES[damage](tmp_path)
    assert go_on(tmp_path / "events.csv", WHOLE) == [""]


def test_what_the_note_does_not_tell_of_is_written_again(tmp_path: Path) -> None:
    leave(tmp_path / "events.csv", 2)
    with (tmp_path / "events.csv.part").open("ab") as part:
        part.write(b"half a chu")
    assert go_on(tmp_path / "events.csv", export_stream(PIECES, 4, after=2)) == ["after 2"]


@both_clients
@pytest.mark.parametrize("reason", ["EXPORT_NOT_RESUMABLE", "INVALID_RESUME_TOKEN"])
def test_a_token_that_is_good_no_longer_begins_anew(is_async: bool, reason: str, tmp_path: Path) -> None:
    leave(tmp_path / "events.csv", 2)
    refusal = Refusal(CODE.FAILED_PRECONDITION, "no longer", reason)
    assert go_on(tmp_path / "events.csv", [refusal], WHOLE, is_async=is_async) == ["after 2", ""]


def test_the_rest_of_another_file_does_not_fit(tmp_path: Path) -> None:
    leave(tmp_path / "events.csv", 2)
    other = export_stream([*PIECES[:1], b"x", *PIECES[2:]], 4, after=2)
    with scripted(*[other] * 6) as (_, address), pytest.raises(IncompleteExport):
        Caller(is_async=False, address=address)("export_to_file", "acme", "csv", tmp_path / "events.csv", resume=True)
    assert not (tmp_path / "events.csv").exists()


def test_the_note_never_tells_of_more_than_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens when: what a note tells of had been synced before it came into being."""
    part, on_disk, told = tmp_path / "events.csv.part", [0], []
    sync, replace = os.fsync, Path.replace

    def watched_sync(descriptor: int) -> None:
        sync(descriptor)
        if os.path.samestat(os.fstat(descriptor), part.stat()):
            on_disk.append(os.fstat(descriptor).st_size)

    def watched_replace(path: Path, target: Path) -> Path:
        if path.name.endswith(".json.new"):
            told.append(sum(size * count for size, count in json.loads(path.read_text())["chunks"]))
            assert told[-1] == on_disk[-1]
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", watched_sync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    leave(tmp_path / "events.csv", 3)
    assert told[:3] == [len(b"".join(PIECES[:count])) for count in (1, 2, 3)]


def test_an_interrupt_between_a_chunk_and_its_writing(tmp_path: Path) -> None:
    def interrupt(progress: Any) -> None:
        if progress.bytes == len(PIECES[0] + PIECES[1]):
            raise KeyboardInterrupt

    target = tmp_path / "events.csv"
    with scripted(WHOLE) as (_, address):
        call = Caller(is_async=False, address=address)
        with pytest.raises(KeyboardInterrupt):
            call("export_to_file", "acme", "csv", target, resume=True, progress=interrupt)
    assert go_on(target, export_stream(PIECES, 4, after=1)) == ["after 1"]


def unfinished(path: Path) -> UnfinishedFile:
    request = stream_request("acme", "csv", None, {})
    return UnfinishedFile(path, "the request", Content(request))


def test_only_one_at_a_time(tmp_path: Path) -> None:
    with unfinished(tmp_path / "events.csv") as first:
        with pytest.raises(BlockingIOError, match="another export is writing this file"):
            unfinished(tmp_path / "events.csv")
        first.finish(SUMMARY)
        # The name is free from now on, and what it stood for is not touched.
        with unfinished(tmp_path / "events.csv"):
            assert (tmp_path / "events.csv").exists()


def test_a_note_is_small_however_many_chunks_there_were(tmp_path: Path) -> None:
    content = Content(stream_request("acme", "csv", None, {}))
    with UnfinishedFile(tmp_path / "events.csv", "the request", content) as file:
        for _ in range(200):
            content.add(b"x" * 1000, content.digest_with(b"x" * 1000), "token")
            file.write(b"x" * 1000)
    assert json.loads((tmp_path / "events.csv.part.json").read_text())["chunks"] == [[1000, 200]]
    again = Content(stream_request("acme", "csv", None, {}))
    with UnfinishedFile(tmp_path / "events.csv", "the request", again):
        assert (again.number, again.bytes, again.digest, again.token) == (200, 200_000, content.digest, "token")


@both_clients
def test_what_can_not_be_resumed_is_refused_at_once(is_async: bool, tmp_path: Path) -> None:
    call = Caller(is_async=is_async, address="127.0.0.1:1")
    with pytest.raises(ValueError, match="no regular file"):
        call("export_to_file", "acme", "csv", "/dev/null", resume=True)
    with pytest.raises(ValueError, match="Parquet file can't be resumed"):
        call("export_to_file", "acme", "parquet", tmp_path / "events.parquet", resume=True)
    assert list(tmp_path.iterdir()) == []
