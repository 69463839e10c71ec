"""The command as a process: help, start-up, signals, pipes, a terminal."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from google.protobuf.timestamp_pb2 import Timestamp

from hookline.cli.app import cli
from hookline.cli.errors import EXIT_STATUSES
from hookline.client import (
    EraseSubjectResponse,
    Event,
    Platform,
    ProcessingStatus,
    SyncCounts,
    SyncProgress,
    SyncRun,
    SyncRunState,
    TriggerSyncResponse,
)
from hookline.export.v1.event_query_service_pb2 import ListEventsResponse
from hookline.ingest.v1.endpoint_service_pb2 import PutSigningSecretRequest, PutSigningSecretResponse
from hookline.ingest.v1.ingest_service_pb2 import (
    DiscardQuarantinedEventsResponse,
    ListPlatformsResponse,
    RetryQuarantinedEventsResponse,
)
from hookline.sync.v1.sync_service_pb2 import WatchSyncRunResponse
from tests.unit.scripted import Script, Server, export_stream, serving

COMMAND = [sys.executable, "-m", "hookline.cli"]


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def server(script: Script) -> Iterator[Server]:
    with serving(script) as server:
        yield server


def environment(server: Server) -> dict[str, str]:
    return dict(os.environ) | {
        "HOOKLINE_COMPANY": "acme",
        "HOOKLINE_INGEST_ADDRESS": server.address,
        "HOOKLINE_EXPORT_ADDRESS": server.address,
        "HOOKLINE_SYNC_ADDRESS": server.address,
    }


def walk(command: click.Command, *path: str) -> Iterator[tuple[str, ...]]:
    """The command and all below it, each as the words that call it."""
    yield path
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from walk(child, *path, name)


@pytest.mark.parametrize("path", list(walk(cli)), ids=lambda path: " ".join(path) or "hookline")
def test_help_has_examples(path: tuple[str, ...]) -> None:
    command: click.Command = cli
    for name in path:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    result = CliRunner().invoke(cli, [*path, "--help"])
    assert result.exit_code == 0
    assert f"  {' '.join(('hookline', *path))}" in result.stdout.split("Examples:")[1]
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{parameter.name} is not explained"


SUBCOMMANDS = {
    ("sync",): (
        "start",
        "pause",
        "resume",
        "stop",
        "trigger",
        "status",
        "watch",
        "runs",
        "log",
        "differences",
        "cancel",
        "source",
    ),
    ("sync", "source"): ("add", "update", "show", "list", "remove", "check"),
    ("alerts",): ("list", "test", "channel"),
    ("alerts", "channel"): ("add", "list", "remove"),
    ("quarantine",): ("list", "show", "preview", "retry", "discard", "conflicts"),
    ("platform",): ("list", "show", "put", "delete", "preview"),
    ("endpoint",): ("create", "list", "rotate", "revoke"),
    ("secret",): ("put", "list", "delete"),
}


def test_all_groups_are_walked() -> None:
    walked = set(walk(cli))
    assert {path for path in walked if len(path) > 1} == {
        (*path, name) for path in SUBCOMMANDS for name in SUBCOMMANDS[path]
    }


def test_help_lists_the_exit_statuses() -> None:
    shown = CliRunner().invoke(cli, ["--help"]).stdout
    for line in EXIT_STATUSES.splitlines()[1:]:
        assert line.strip() in shown


def test_starting_up_loads_nothing_for_terminals_or_servers() -> None:
    unwanted = ("rich", "asyncpg", "pydantic", "structlog", "services", "shared")
    code = f"import sys, hookline.cli; print([name for name in {unwanted} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_reader_that_goes_away(script: Script, server: Server) -> None:
    line = b"x" * 1023 + b"\n"
    script.answers = [export_stream([line * 256] * 40, 40 * 256)]
    command = [*COMMAND, "export", "--format", "ndjson"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(server)) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"])
def test_an_interrupted_export_leaves_nothing(
    script: Script, server: Server, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    under_way, over = threading.Event(), threading.Event()
    whole = export_stream([b"1\n", b"2\n"], 2)

    def stuck(request: object, context: object) -> Iterator[object]:
        yield from whole[:2]
        under_way.set()
        over.wait(20)

    script.ExportEvents = stuck  # type: ignore[method-assign]
    with serving(script) as stalling:
        command = [*COMMAND, "export", "-o", str(tmp_path / "events.ndjson"), "--json"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment(stalling)) as process:
            assert under_way.wait(20)
            assert len(list(tmp_path.iterdir())) == 1
            process.send_signal(number)
            assert process.wait() == status
            assert process.stderr
            told = process.stderr.read()
        over.set()
    assert list(tmp_path.iterdir()) == []
    if number == signal.SIGINT:
        assert json.loads(told.splitlines()[-1])["error"]["kind"] == "interrupted"


def in_terminal(
    arguments: list[str], environment: dict[str, str], asked: bytes = b"", typed: bytes = b""
) -> tuple[int, str]:
    """Runs the command with a terminal, where somebody types once they are asked; gives exit status and what was
    shown."""
    ours, theirs = pty.openpty()
    terminal = environment | {"COLUMNS": "200", "TERM": "xterm"}
    with subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=terminal,
        # A secret would otherwise be asked for at the terminal of whoever runs the tests.
        start_new_session=True,
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 65536):
                shown += piece
                if typed and asked in shown:
                    os.write(ours, typed)
                    typed = b""
        except OSError:
            # Linux ends a terminal that nobody holds any more with EIO.
            pass
        finally:
            os.close(ours)
    return process.returncode, shown.decode()


def test_on_a_terminal(script: Script, server: Server, tmp_path: Path) -> None:
    status = ProcessingStatus.PROCESSING_STATUS_FAILED
    event = Event(event_id="e-1", type="order_approved", customer_name="[bold]Zoë\x1b[31m", status=status)
    script.answers = [ListEventsResponse(events=[event])]
    code, shown = in_terminal(["list"], environment(server))
    assert code == 0
    assert "EVENT ID" in shown
    assert "[bold]Zoë\N{REPLACEMENT CHARACTER}[31m" in shown
    event.event_id, event.type = "1234567890" * 4, "very long words " * 20
    script.answers = [ListEventsResponse(events=[event])]
    # An id is there to be copied.
    assert event.event_id in in_terminal(["list"], environment(server))[1]
    many = [Event(event_id=f"e-{number}", status=status) for number in range(2001)]
    script.answers = [
        ListEventsResponse(events=many[:1000], next_page_token="next"),
        ListEventsResponse(events=many[1000:]),
    ]
    code, shown = in_terminal(["list", "--limit", "0"], environment(server))
    lines = shown.splitlines()
    assert code == 0
    assert [number for number, line in enumerate(lines) if "EVENT ID" in line] == [0, 1001, 2002]
    assert [line.split()[-1] for line in lines if "EVENT ID" not in line] == [f"e-{number}" for number in range(2001)]
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"1\n2\n")
    code, shown = in_terminal(["ingest", str(path)], environment(server))
    assert code == 0
    assert "Storing" in shown
    assert "2 events: 2 accepted" in shown


def test_a_bar_is_shown_where_nothing_gets_in_between(script: Script, server: Server, tmp_path: Path) -> None:
    lines = [b"1\n" * 1000] * 3
    script.answers = [export_stream(lines, 3000), export_stream(lines, 3000), export_stream(lines, 3000)]
    code, shown = in_terminal(["export", "-o", str(tmp_path / "events.ndjson")], environment(server))
    assert code == 0
    assert "Exporting" in shown
    # Data on the terminal: no bar.
    code, shown = in_terminal(["export", "--format", "ndjson"], environment(server))
    assert (code, shown.replace("\r", "")) == (0, (lines[0] * 3).decode())
    # Data elsewhere, and nobody at stderr.
    command = [*COMMAND, "export", "--format", "ndjson"]
    done = subprocess.run(command, capture_output=True, env=environment(server), check=True)
    assert (done.stdout, done.stderr) == (lines[0] * 3, b"")


RETRY_ALL = "Retry everything in quarantine? [y/N]: "
ERASE = "This removes the person's data for good. Go on? [y/N]: "
DISCARD_SOME = "Discard everything in quarantine of source shop and reason TYPE_MISSING? [y/N]: "


@pytest.mark.parametrize(
    ("arguments", "asked", "answer"),
    [
        ("quarantine retry --all", RETRY_ALL, RetryQuarantinedEventsResponse()),
        (
            "quarantine discard --source shop --reason TYPE_MISSING --why odd",
            DISCARD_SOME,
            DiscardQuarantinedEventsResponse(),
        ),
        ("erase --document 12345678909", ERASE, [EraseSubjectResponse(done=True)]),
    ],
    ids=["retry", "discard", "erase"],
)
def test_a_person_is_asked_where_many_may_be_meant_or_it_is_for_good(
    script: Script, server: Server, arguments: str, asked: str, answer: Any
) -> None:
    command = arguments.split()
    code, shown = in_terminal(command, environment(server), asked.encode(), b"n\n")
    assert code == 1
    assert asked in shown
    assert shown.endswith("Nothing was done.\r\n")
    assert script.requests == []
    script.answers = [answer, answer]
    code, shown = in_terminal(command, environment(server), asked.encode(), b"y\n")
    assert code == 0
    code, shown = in_terminal([*command, "--yes"], environment(server))
    assert (code, "[y/N]" in shown) == (0, False)
    assert len(script.requests) == 2


def test_a_person_is_not_asked_about_what_they_named(script: Script, server: Server) -> None:
    script.answers = [RetryQuarantinedEventsResponse()]
    code, shown = in_terminal(["quarantine", "retry", "q-1"], environment(server))
    assert code == 0
    assert "[y/N]" not in shown


def test_a_secret_is_asked_for_and_not_shown(script: Script, server: Server) -> None:
    script.answers = [PutSigningSecretResponse()]
    code, shown = in_terminal(["secret", "put", "shop"], environment(server), b"Secret: ", b" hush \n")
    assert code == 0
    assert "hush" not in shown
    assert script.requests == [PutSigningSecretRequest(company_id="acme", source="shop", secret="hush")]


def test_a_mapping_on_a_terminal(script: Script, server: Server) -> None:
    platform = Platform(name="own", mapping='name = "own"\n\ttitle = "O\x9bwn"\n')
    script.answers = [ListPlatformsResponse(platforms=[platform])]
    code, shown = in_terminal(["platform", "show", "own"], environment(server))
    assert (code, shown) == (0, 'name = "own"\r\n        title = "O\N{REPLACEMENT CHARACTER}wn"\r\n')


def test_a_sync_is_alive_on_a_terminal(script: Script, server: Server) -> None:
    queued, running = SyncRunState.SYNC_RUN_STATE_QUEUED, SyncRunState.SYNC_RUN_STATE_RUNNING
    done = SyncRunState.SYNC_RUN_STATE_SUCCEEDED

    def slow(request: object, context: object) -> Iterator[WatchSyncRunResponse]:
        for state, fetched in ((queued, 0), (running, 0), (running, 1200), (running, 2400), (done, 3600)):
            counts, progress = SyncCounts(pages=3, fetched=fetched), None
            if state != queued:
                progress = SyncProgress(windows=3, windows_done=fetched // 1200, window_start_time=Timestamp())
            run = SyncRun(run_id="r-1", source="shop-1", state=state, counts=counts, progress=progress)
            yield WatchSyncRunResponse(run=run)
            time.sleep(0.4)

    script.answers = [TriggerSyncResponse(run=SyncRun(run_id="r-1", source="shop-1", state=queued), created=True)]
    script.WatchSyncRun = slow  # type: ignore[method-assign]
    with serving(script) as watched:
        code, shown = in_terminal(["sync", "trigger"], environment(watched))
    assert code == 0
    for part in (
        "shop-1 queued",
        "shop-1 running · window 2/3 from 1970-01-01",
        "━━━",
        " 33 % · ETA ",
        "3 pages · 1,200 fetched",
        "2,400 fetched",
        "/s",
    ):
        assert part in shown
    assert "Run r-1 of shop-1: succeeded. 3,600 events" in shown


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"])
def test_an_interrupted_watch_ends_at_once(script: Script, number: signal.Signals, status: int) -> None:
    over = threading.Event()

    def stuck(request: object, context: object) -> Iterator[WatchSyncRunResponse]:
        yield WatchSyncRunResponse(run=SyncRun(run_id="r-1", state=SyncRunState.SYNC_RUN_STATE_RUNNING))
        over.wait(20)

    script.WatchSyncRun = stuck  # type: ignore[method-assign]
    with serving(script) as stalling:
        command = [*COMMAND, "sync", "watch", "r-1"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment(stalling)) as process:
            assert process.stderr
            assert process.stderr.readline() == b": running\n"
            process.send_signal(number)
            assert process.wait(10) == status
            told = process.stderr.read().decode()
        over.set()
    assert "Traceback" not in told
    if number == signal.SIGINT:
        assert told == "The run goes on; `hookline sync watch r-1` shows it.\n\nError: Interrupted.\n"
