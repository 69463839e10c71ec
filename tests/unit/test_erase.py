"""Erasing a person by the clients and `hookline erase`, against a scripted service."""

import json
from collections.abc import Iterator

import grpc
import pytest

from hookline.client import EraseSubjectResponse, InvalidRequest
from hookline.ingest.v1.privacy_service_pb2 import EraseSubjectRequest
from tests.unit.scripted import Caller, Refusal, Script, Server, Shell, serving

STEP = EraseSubjectResponse(looked_through=500, events=1)
DONE = EraseSubjectResponse(looked_through=1200, events=3, quarantined=1, conflicts=2, done=True)
BOTH = ("--email", "ana@example.com", "--document", "123.456.789-09")
REQUEST = EraseSubjectRequest(company_id="acme", email="ana@example.com", document="123.456.789-09")


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def server(script: Script) -> Iterator[Server]:
    with serving(script) as one:
        yield one


@pytest.fixture
def shell(script: Script, server: Server) -> Shell:
    return Shell(script, server)


@pytest.fixture(params=[False, True], ids=["blocking", "aio"])
def call(request: pytest.FixtureRequest, server: Server) -> Caller:
    return Caller(is_async=request.param, address=server.address, patience=10)


def test_every_step_is_told(script: Script, call: Caller) -> None:
    script.answers = [[STEP, DONE]]
    assert call("erase_subject", "acme", email="ana@example.com", document="123.456.789-09") == [STEP, DONE]
    assert script.requests == [REQUEST]


@pytest.mark.parametrize("end", [[STEP, Refusal()], [STEP]], ids=["broken", "ended early"])
def test_what_breaks_begins_anew(script: Script, call: Caller, end: list[EraseSubjectResponse | Refusal]) -> None:
    script.answers = [end, [DONE]]
    assert call("erase_subject", "acme", email="ana@example.com", dry_run=True) == [STEP, DONE]
    assert script.requests == [EraseSubjectRequest(company_id="acme", email="ana@example.com", dry_run=True)] * 2


def test_what_is_wrong_stays_wrong(script: Script, call: Caller) -> None:
    code = grpc.StatusCode.INVALID_ARGUMENT
    script.answers = [Refusal(code, "document: too short", "INVALID_FIELD", violations=[("document", "too short")])]
    with pytest.raises(InvalidRequest, match="too short"):
        call("erase_subject", "acme", document="1")
    assert len(script.requests) == 1


def test_the_command_does_not_go_on_by_itself(script: Script, shell: Shell) -> None:
    result = shell("erase", *BOTH, stdin=b"y\n")
    assert result.exit_code == 2
    assert "Give --yes to do this without being asked." in result.stderr
    assert script.requests == []
    script.answers = [[STEP, DONE]]
    result = shell("erase", *BOTH, "-y")
    assert result.exit_code == 0
    assert result.stdout == "Erased the person from 3 events, 1 in quarantine and 2 conflicts.\n"
    assert script.requests == [REQUEST]


def test_a_dry_run_asks_nothing(script: Script, shell: Shell) -> None:
    script.answers = [[DONE]]
    result = shell("erase", "--email", "ana@example.com", "--dry-run")
    assert result.exit_code == 0
    assert "Nothing was removed." in result.stdout
    assert script.requests == [EraseSubjectRequest(company_id="acme", email="ana@example.com", dry_run=True)]


def test_json_is_what_it_comes_to(script: Script, shell: Shell) -> None:
    script.answers = [[STEP, DONE]]
    result = shell("erase", *BOTH, "--yes", "--json")
    assert json.loads(result.stdout) == {
        "dry_run": False,
        "looked_through": 1200,
        "events": 3,
        "quarantined": 1,
        "conflicts": 2,
    }


def test_nobody_can_not_be_erased(script: Script, shell: Shell) -> None:
    result = shell("erase", "--yes")
    assert result.exit_code == 2
    assert "Give --email, --document or both" in result.stderr
    assert script.requests == []
