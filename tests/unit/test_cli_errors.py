"""What goes wrong, as a sentence or as JSON on stderr, and as an exit status."""

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner

from hookline.cli.app import cli
from tests.unit.scripted import Refusal, Script, Shell, serving

CODE = grpc.StatusCode


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def shell(script: Script) -> Iterator[Shell]:
    with serving(script) as server:
        yield Shell(script, server)


STATUSES = {
    CODE.INVALID_ARGUMENT: 3,
    CODE.FAILED_PRECONDITION: 3,
    CODE.NOT_FOUND: 4,
    CODE.PERMISSION_DENIED: 5,
    CODE.UNAUTHENTICATED: 5,
    CODE.UNAVAILABLE: 7,
    CODE.DEADLINE_EXCEEDED: 7,
    CODE.INTERNAL: 8,
    CODE.UNIMPLEMENTED: 8,
}


@pytest.mark.parametrize("code", STATUSES, ids=lambda code: code.name)
def test_exit_statuses_of_errors(shell: Shell, code: grpc.StatusCode) -> None:
    refusal = Refusal(code, "what is wrong", "SOME_REASON", violations=[("event_id", "is no UUID")])
    shell.script.answers = [refusal, refusal]
    result = shell("get", "e-1", "--patience", "0")
    assert (result.exit_code, result.stdout, result.stderr) == (STATUSES[code], "", "Error: what is wrong\n")
    result = shell("get", "e-1", "--patience", "0", "--json")
    assert (result.exit_code, result.stdout) == (STATUSES[code], "")
    error = json.loads(result.stderr)["error"]
    assert error | {"kind": ""} == {
        "kind": "",
        "message": "what is wrong",
        "exit_status": STATUSES[code],
        "code": code.name,
        "reason": "SOME_REASON",
        "violations": [{"field": "event_id", "description": "is no UUID"}],
        "retry_delay": None,
        "metadata": {},
    }


ADD = ("sync", "source", "add", "shop-1", "--platform", "grapfy", "--base-url", "https://shop.test")

EVERY_CALL: dict[str, tuple[str, ...]] = {
    "ingest": ("ingest", "-"),
    "list": ("list",),
    "get": ("get", "e-1"),
    "mark": ("mark", "e-1", "--processed"),
    "quarantine": ("quarantine",),
    "quarantine list": ("quarantine", "list"),
    "quarantine show": ("quarantine", "show", "q-1"),
    "quarantine preview": ("quarantine", "preview", "q-1"),
    "quarantine conflicts": ("quarantine", "conflicts"),
    "platform list": ("platform", "list"),
    "platform show": ("platform", "show", "own"),
    "platform put": ("platform", "put", "-"),
    "platform delete": ("platform", "delete", "own"),
    "platform preview": ("platform", "preview", "-"),
    "endpoint create": ("endpoint", "create", "--source", "shop"),
    "endpoint list": ("endpoint", "list"),
    "endpoint rotate": ("endpoint", "rotate", "n-1"),
    "endpoint revoke": ("endpoint", "revoke", "n-1"),
    "secret put": ("secret", "put", "shop"),
    "secret list": ("secret", "list"),
    "secret delete": ("secret", "delete", "shop"),
    "export": ("export", "--format", "csv"),
    "summary": ("summary",),
    "watch": ("watch",),
    "quarantine retry": ("quarantine", "retry", "--all", "--yes"),
    "quarantine discard": ("quarantine", "discard", "--all", "--why", "a scanner", "-y"),
    "sync start": ("sync", "start", "shop-1"),
    "sync stop": ("sync", "stop", "shop-1"),
    "sync trigger": ("sync", "trigger"),
    "sync status": ("sync", "status"),
    "sync watch": ("sync", "watch", "r-1"),
    "sync runs": ("sync", "runs"),
    "sync cancel": ("sync", "cancel", "r-1"),
    "sync source add": (*ADD, "--credential-file", "-"),
    "sync source list": ("sync", "source", "list"),
    "sync source remove": ("sync", "source", "remove", "shop-1"),
    "sync source check": ("sync", "source", "check", "shop-1"),
}


@pytest.mark.parametrize("arguments", EVERY_CALL.values(), ids=EVERY_CALL)
def test_nothing_answers(arguments: tuple[str, ...]) -> None:
    with serving(Script()) as server:
        gone = server.address
    addresses = ["--ingest-address", gone, "--export-address", gone, "--sync-address", gone]
    addresses += ["--company", "acme", "--patience", "0.1"]
    run = CliRunner().invoke
    result = run(cli, [*arguments, *addresses], input=b"{}\n")
    assert (result.exit_code, result.stdout) == (7, "")
    assert result.stderr.endswith(f"Error: Nothing answers at {gone}; is Hookline running? `make run` starts it.\n")
    result = run(cli, [*arguments, *addresses, "--json"], input=b"{}\n")
    assert (result.exit_code, result.stdout) == (7, "")
    assert json.loads(result.stderr)["error"]["kind"] == "unreachable"


WRONG_USE: dict[str, str] = {
    "mark e-1": "--processed or --failed",
    "mark --processed": "EVENT_ID",
    "mark e-1 --processed --error no": "--error goes with --failed",
    "export": "--format",
    "export -o events.xlsx": "--format",
    "list --since yesterday": "neither a date like 2026-01-31",
    "list --since 2026-01-31T12:00:00": "neither a date like 2026-01-31",
    "list --since 0001-01-01T00:00:00+05:00": "neither a date like 2026-01-31",
    "list --until 9999-12-31T23:59:59-05:00": "neither a date like 2026-01-31",
    "list --payload": "--payload goes with --json",
    "list --status odd": "odd",
    "list --limit -1": "-1",
    "ingest": "FILE",
    "ingest no-such-file": "no-such-file",
    "ingest - --batch-size 0": "batch-size",
    "get": "EVENT_ID",
    "no-such-command": "no-such-command",
    "ingest - --header topic": "'topic' is not NAME:VALUE",
    "ingest - --header :paid": "':paid' is not NAME:VALUE",
    "ingest - --header topic:1 --header Topic:2": "'Topic' is given twice",
    "quarantine no-such-command": "no-such-command",
    "quarantine --limit -1": "-1",
    "quarantine list --reason odd": "TYPE_MISSING",
    "quarantine show": "QUARANTINE_ID",
    "quarantine retry": "--source, --platform and --reason, or --all",
    "quarantine retry q-1 --all": "--source, --platform and --reason, or --all",
    "quarantine retry q-1 --source shop": "--source, --platform and --reason, or --all",
    "quarantine retry --all --source shop": "--source, --platform and --reason, or --all",
    "quarantine discard --why odd": "--source, --platform and --reason, or --all",
    "quarantine discard --all": "--why",
    "quarantine discard --all --why odd": "Give --yes to do this without being asked.",
    "quarantine retry --source shop": "Give --yes to do this without being asked.",
    "erase --document 12345678909": "Give --yes to do this without being asked.",
    "erase --yes": "Give --email, --document or both",
    "platform show": "NAME",
    "platform put no-such-file": "no-such-file",
    "platform preview - --mapping no-such-file": "no-such-file",
    "endpoint create": "--source, --platform or both",
    "endpoint rotate": "ENDPOINT_ID",
    "endpoint rotate n-1 --keep-old 0": "no duration like 90m",
    "secret put": "SOURCE",
    "secret put shop hush": "hush",
    "secret put shop --from-file no-such-file": "no-such-file",
    "sync no-such-command": "no-such-command",
    "sync source no-such-command": "no-such-command",
    "sync start": "SOURCE",
    "sync start shop-1 --every 30s": "not from one minute to 30 days",
    "sync start shop-1 --every 31d": "not from one minute to 30 days",
    "sync start shop-1 --every 6": "no duration like 90m",
    "sync start shop-1 --every 9999999d": "no duration like 90m",
    "sync start shop-1 --every ٣h": "no duration like 90m",
    "sync trigger --days-back 0": "--days-back",
    "sync trigger --days-back 3651": "--days-back",
    "sync watch": "RUN_ID",
    "sync cancel": "RUN_ID",
    "sync runs --limit -1": "-1",
    f"{' '.join(ADD)}": "--credential-file, not empty, or set HOOKLINE_CREDENTIAL",
    f"{' '.join(ADD)} --credential-file no-such-file": "no-such-file",
    f"{' '.join(ADD)} --credential token": "--credential",
    f"{' '.join(ADD)} --parameter id": "'id' is not KEY=VALUE",
    f"{' '.join(ADD)} --parameter =1": "'=1' is not KEY=VALUE",
    f"{' '.join(ADD)} --parameter id=1 --parameter id=2": "'id' is given twice",
    "sync source add shop-1 --base-url https://shop.test": "--platform",
    "sync source add shop-1 --platform grapfy": "--base-url",
}


@pytest.mark.parametrize("line", WRONG_USE)
def test_wrong_use(shell: Shell, line: str) -> None:
    result = shell(*line.split())
    assert (result.exit_code, result.stdout) == (2, "")
    assert WRONG_USE[line] in result.stderr
    if line != "list --payload":
        result = shell(*line.split(), "--json")
        assert (result.exit_code, result.stdout) == (2, "")
        error = json.loads(result.stderr)["error"]
        assert (error["kind"], error["exit_status"]) == ("usage", 2)


def test_a_file_that_can_not_be_written(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "no" / "events.csv"
    result = shell("export", "-o", str(path))
    assert result.exit_code == 1
    assert "No such file or directory" in result.stderr


def test_a_company_is_needed() -> None:
    result = CliRunner().invoke(cli, ["list"], env={"HOOKLINE_COMPANY": None})
    assert result.exit_code == 2
    assert "Give --company, or a token, which names its company." in result.stderr
