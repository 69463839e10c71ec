"""`hookline endpoint`, `secret` and `platform`, against scripted services."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from hookline.client import Endpoint, Event, IncomingEvent, IngestResult, Money, Outcome, OutcomeReason, Platform
from hookline.client import SigningSecret as Secret
from hookline.ingest.v1 import endpoint_service_pb2 as epb
from hookline.ingest.v1 import ingest_service_pb2 as pb
from tests.unit.scripted import Refusal, Script, Shell, serving

CODE = grpc.StatusCode
TIME, TIME_TEXT = Timestamp(seconds=1767225600), "2026-01-01T00:00:00Z"
ENDPOINT = Endpoint(endpoint_id="n-1", source="shop", token_hint="abcd", create_time=TIME, token_time=TIME)
ENDPOINT_FIELDS = {
    "endpoint_id": "n-1",
    "source": "shop",
    "platform": None,
    "token_hint": "abcd",
    "create_time": TIME_TEXT,
    "token_time": TIME_TEXT,
    "old_token_expire_time": None,
    "revoke_time": None,
}
OLD = Endpoint(
    endpoint_id="n-2",
    source="shop",
    platform="kirvano",
    token_hint="wxyz",
    old_token_expire_time=TIME,
)
ANSWERS = epb.ListEndpointsResponse()
URL = "http://127.0.0.1:8080/acme.abcd"


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def shell(script: Script) -> Iterator[Shell]:
    with serving(script) as server:
        yield Shell(script, server)


def test_an_endpoint_is_made(shell: Shell) -> None:
    created = epb.CreateEndpointResponse(endpoint=ENDPOINT, token="acme.abcd", url=URL)
    shell.script.answers = [ANSWERS, created] * 3
    result = shell("endpoint", "create", "--source", "shop", "--platform", "kirvano")
    # Alone on stdout, so that a shell can take it.
    assert (result.exit_code, result.stdout) == (0, f"{URL}\n")
    assert result.stderr.startswith("This URL is shown only now.")
    assert shell("endpoint", "create", "--source", "shop", "--quiet").output == f"{URL}\n"
    result = shell("endpoint", "create", "--platform", "kirvano", "--json")
    assert (result.stderr, lines(result.stdout)) == ("", [ENDPOINT_FIELDS | {"token": "acme.abcd", "url": URL}])
    assert shell.script.requests[1::2] == [
        epb.CreateEndpointRequest(company_id="acme", source="shop", platform="kirvano"),
        epb.CreateEndpointRequest(company_id="acme", source="shop"),
        epb.CreateEndpointRequest(company_id="acme", platform="kirvano"),
    ]


@pytest.mark.parametrize(
    ("arguments", "unknown"),
    [
        (("create", "--source", "shop"), "Whether an endpoint was made is unknown;"),
        (("rotate", "n-1"), "Whether the endpoint has a new token is unknown;"),
    ],
    ids=["create", "rotate"],
)
def test_an_answer_that_does_not_get_through(shell: Shell, arguments: tuple[str, ...], unknown: str) -> None:
    shell.script.answers = [ANSWERS, Refusal()]
    result = shell("endpoint", *arguments)
    assert (result.exit_code, result.stdout) == (7, "")
    note, error = result.stderr.splitlines()
    assert note.startswith(unknown)
    assert error == "Error: the database can't be reached just now; try again"
    assert len(shell.script.requests) == 2


def test_endpoints_are_listed(shell: Shell) -> None:
    revoked = Endpoint(revoke_time=TIME)
    revoked.MergeFrom(OLD)
    shell.script.answers = [epb.ListEndpointsResponse(endpoints=[ENDPOINT, OLD, revoked])] * 2
    assert lines(shell("endpoint", "list", "--json").stdout)[0] == ENDPOINT_FIELDS
    assert shell("endpoint", "list").stdout == (
        "SOURCE\tPLATFORM\tTOKEN\tSINCE\tSTATE\tENDPOINT ID\n"
        f"shop\t\t…abcd\t{TIME_TEXT}\tactive\tn-1\n"
        f"shop\tkirvano\t…wxyz\t\told token until {TIME_TEXT}\tn-2\n"
        f"shop\tkirvano\t…wxyz\t\trevoked {TIME_TEXT}\tn-2\n"
    )


KEEP_OLD: dict[str, Duration | None] = {"": None, "24h": Duration(seconds=86400), "0s": Duration()}


@pytest.mark.parametrize("time", KEEP_OLD)
def test_a_token_is_replaced(shell: Shell, time: str) -> None:
    ended, works_on = ENDPOINT, Endpoint(old_token_expire_time=TIME)
    rotated, again = (epb.RotateEndpointResponse(endpoint=each, url=URL) for each in (ended, works_on))
    shell.script.answers = [ANSWERS, rotated, ANSWERS, again]
    arguments = ("endpoint", "rotate", "n-1", *(("--keep-old", time) if time else ()))
    result = shell(*arguments)
    assert (result.stdout, result.stderr) == (f"{URL}\n", "This URL is shown only now. The old one works no more.\n")
    assert shell(*arguments).stderr == f"This URL is shown only now. The old one works until {TIME_TEXT}.\n"
    request = epb.RotateEndpointRequest(company_id="acme", endpoint_id="n-1", keep_old=KEEP_OLD[time])
    assert shell.script.requests[1::2] == [request] * 2


def test_an_endpoint_is_revoked(shell: Shell) -> None:
    shell.script.answers = [epb.RevokeEndpointResponse(endpoint=ENDPOINT)] * 2
    assert shell("endpoint", "revoke", "n-1").output == "The endpoint of shop is revoked; its events stay.\n"
    assert lines(shell("endpoint", "revoke", "n-1", "--json").output) == [ENDPOINT_FIELDS]
    assert shell.script.requests == [epb.RevokeEndpointRequest(company_id="acme", endpoint_id="n-1")] * 2


SECRET_FIELDS = {"source": "shop", "update_time": TIME_TEXT, "old_secret_expire_time": None}


def test_a_secret_is_stored(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("from-file\n")
    stored, replaced = Secret(source="shop", update_time=TIME), Secret(source="shop", old_secret_expire_time=TIME)
    shell.script.answers = [epb.PutSigningSecretResponse(signing_secret=each) for each in (stored, replaced, stored)]
    put = ("secret", "put", "shop")
    must = "shop: webhooks must be signed by this secret from now on, where their platform signs."
    assert shell(*put, stdin=b" from-stdin\r\n").output == f"{must}\n"
    result = shell(*put, "--from-file", str(path), "--keep-old", "7d")
    assert result.output == f"{must} The one before is good until {TIME_TEXT}.\n"
    result = shell(*put, "--from-file", "-", "--json", stdin=b"from-stdin")
    assert lines(result.output) == [SECRET_FIELDS]
    week = Duration(seconds=7 * 86400)
    assert shell.script.requests == [
        epb.PutSigningSecretRequest(company_id="acme", source="shop", secret="from-stdin"),
        epb.PutSigningSecretRequest(company_id="acme", source="shop", secret="from-file", keep_old=week),
        epb.PutSigningSecretRequest(company_id="acme", source="shop", secret="from-stdin"),
    ]


@pytest.mark.parametrize("held", [b"", b" \n", b"\xff"], ids=["empty", "blank", "binary"])
def test_a_secret_that_is_none(shell: Shell, held: bytes) -> None:
    result = shell("secret", "put", "shop", stdin=held)
    assert (result.exit_code, result.stdout, shell.script.requests) == (2, "", [])
    assert "secret" in result.stderr


def test_secrets_are_listed_and_deleted(shell: Shell) -> None:
    listed = epb.ListSigningSecretsResponse(
        signing_secrets=[Secret(source="shop", update_time=TIME), Secret(source="zoo", old_secret_expire_time=TIME)]
    )
    shell.script.answers = [listed, listed, epb.DeleteSigningSecretResponse(), epb.DeleteSigningSecretResponse()]
    assert lines(shell("secret", "list", "--json").output)[0] == SECRET_FIELDS
    assert shell("secret", "list").output == (
        f"SOURCE\tSINCE\tOLD SECRET UNTIL\nshop\t{TIME_TEXT}\t\nzoo\t\t{TIME_TEXT}\n"
    )
    assert shell("secret", "delete", "shop").output == "shop: webhooks need no signature any more.\n"
    assert lines(shell("secret", "delete", "shop", "--json").output) == [{"source": "shop", "deleted": True}]
    assert shell.script.requests[2:] == [epb.DeleteSigningSecretRequest(company_id="acme", source="shop")] * 2


MAPPING = '# Café\r\nname = "own"\n\ttitle = "Own"\n'
OWN = Platform(name="own", title="Own", mapping=MAPPING, is_own=True, update_time=TIME)
BUILT_IN = Platform(name="grapfy", title="Grapfy", is_recognised=True, signature="token", has_history=True)
OWN_FIELDS = {
    "name": "own",
    "title": "Own",
    "is_own": True,
    "is_recognised": False,
    "signature": None,
    "has_history": False,
    "update_time": TIME_TEXT,
}


def test_platforms_are_listed_and_shown(shell: Shell) -> None:
    shell.script.answers = [pb.ListPlatformsResponse(platforms=[OWN, BUILT_IN])] * 5
    assert lines(shell("platform", "list", "--json").output)[0] == OWN_FIELDS
    assert shell("platform", "list").output == (
        "NAME\tTITLE\tOWN\tRECOGNISED\tSIGNATURE\tHISTORY\nown\tOwn\tyes\t\t\t\ngrapfy\tGrapfy\t\tyes\ttoken\tyes\n"
    )
    # To the last character: it is to be edited and put again.
    assert shell("platform", "show", "own").stdout_bytes == MAPPING.encode()
    assert lines(shell("platform", "show", "own", "--json").output) == [OWN_FIELDS | {"mapping": MAPPING}]
    result = shell("platform", "show", "none")
    assert (result.exit_code, result.stdout) == (4, "")
    assert "There is no platform none;" in result.stderr


def test_a_mapping_is_stored_and_deleted(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes(MAPPING.encode())
    shell.script.answers = [pb.PutPlatformMappingResponse(platform=OWN)] * 2
    assert shell("platform", "put", str(path)).output == "own is stored; within 5 seconds it is in force everywhere.\n"
    assert lines(shell("platform", "put", "-", "--json", stdin=MAPPING.encode()).output) == [OWN_FIELDS]
    shell.script.answers = [pb.DeletePlatformMappingResponse()] * 2
    assert shell("platform", "delete", "own").output == "The company's own mapping own is deleted.\n"
    assert lines(shell("platform", "delete", "own", "--json").output) == [{"name": "own", "deleted": True}]
    assert shell.script.requests == [
        *[pb.PutPlatformMappingRequest(company_id="acme", mapping=MAPPING)] * 2,
        *[pb.DeletePlatformMappingRequest(company_id="acme", name="own")] * 2,
    ]


def test_a_mapping_that_is_malformed(shell: Shell) -> None:
    shell.script.answers = [
        Refusal(CODE.INVALID_ARGUMENT, "mapping: has no name", "INVALID_FIELD", violations=[("mapping", "has no name")])
    ]
    result = shell("platform", "put", "-", stdin=b"title = 1")
    assert (result.exit_code, result.output) == (3, "Error: mapping: has no name\n")
    result = shell("platform", "put", "-", stdin=b"\xff")
    assert result.exit_code == 2
    assert "not UTF-8" in result.stderr


EVENT = Event(
    platform="own",
    source="shop",
    type="order_approved",
    platform_type="PAID",
    dedup_key="k-1",
    total=Money(amount="10.00", currency="BRL"),
    occurred_time=TIME,
    payload=b'{"total": 10.00}',
)
EVENT_FIELDS = {
    "type": "order_approved",
    "platform_type": "PAID",
    "platform": "own",
    "source": "shop",
    "dedup_key": "k-1",
    "customer_name": None,
    "product_name": None,
    "total": "10.00",
    "currency": "BRL",
    "occurred_time": TIME_TEXT,
    "payload": {"total": 10.0},
}


def test_a_mapping_is_tried(shell: Shell, tmp_path: Path) -> None:
    payload, mapping = tmp_path / "sale.json", tmp_path / "own.toml"
    payload.write_bytes(b'{"total": 10.00}\n')
    mapping.write_bytes(MAPPING.encode())
    understood = pb.PreviewMappingResponse(result=IngestResult(outcome=Outcome.OUTCOME_ACCEPTED), event=EVENT)
    reason = OutcomeReason.OUTCOME_REASON_TYPE_MISSING
    result = IngestResult(outcome=Outcome.OUTCOME_QUARANTINED, reason=reason, message="there is no type")
    shell.script.answers = [understood, understood, *[pb.PreviewMappingResponse(result=result)] * 2]
    preview = ("platform", "preview", str(payload))
    named = ("--platform", "own", "--source", "shop", "--header", "X-Topic: a:b", "--header", "Y:", "--query", "a=b")
    shown = shell(*preview, "--mapping", str(mapping), *named)
    assert (shown.exit_code, json.loads(shown.stdout), shown.stderr) == (0, EVENT_FIELDS, "")
    assert '\n    "total": 10.00\n' in shown.stdout
    shown = shell(*preview, "--json")
    told = {"outcome": "accepted", "reason": None, "message": None, "event": EVENT_FIELDS}
    assert (shown.exit_code, lines(shown.output)) == (0, [told])
    shown = shell(*preview)
    assert (shown.exit_code, shown.output) == (6, "It would be quarantined: TYPE_MISSING: there is no type\n")
    shown = shell(*preview, "--json")
    told = {"outcome": "quarantined", "reason": "TYPE_MISSING", "message": "there is no type", "event": None}
    assert (shown.exit_code, lines(shown.output)) == (6, [told])
    first, *others = shell.script.requests
    body = payload.read_bytes()
    event = IncomingEvent(platform="own", source="shop", payload=body, headers={"x-topic": "a:b", "y": ""}, query="a=b")
    assert first == pb.PreviewMappingRequest(company_id="acme", event=event, mapping=MAPPING)
    assert others == [pb.PreviewMappingRequest(company_id="acme", event=IncomingEvent(payload=body))] * 3


def test_a_mapping_that_was_not_tried_is_told(shell: Shell) -> None:
    other = Event(platform="generic", payload=b"{}")
    unrecognised = IngestResult(
        outcome=Outcome.OUTCOME_QUARANTINED, reason=OutcomeReason.OUTCOME_REASON_PLATFORM_UNRECOGNISED
    )
    understood = IngestResult(outcome=Outcome.OUTCOME_ACCEPTED)
    shell.script.answers = [
        pb.PreviewMappingResponse(result=understood, event=EVENT),
        pb.PreviewMappingResponse(result=understood, event=other),
        pb.PreviewMappingResponse(result=unrecognised),
    ]
    preview = ("quarantine", "preview", "q-1", "--mapping", "-")
    told = [shell(*preview, stdin=MAPPING.encode()).stderr for _ in range(3)]
    assert [each[:26] for each in told] == ["", *["The mapping was not tried:"] * 2]
    # Where none was given, there is nothing to tell.
    shell.script.answers = [pb.PreviewMappingResponse(result=unrecognised)]
    assert shell("quarantine", "preview", "q-1").stderr == ""


def test_times_are_exact_for_machines_and_short_for_people(shell: Shell) -> None:
    precise = Secret(source="shop", update_time=Timestamp(seconds=1767225600, nanos=123456000))
    shell.script.answers = [epb.ListSigningSecretsResponse(signing_secrets=[precise])] * 2
    assert lines(shell("secret", "list", "--json").output)[0]["update_time"] == "2026-01-01T00:00:00.123456Z"
    assert shell("secret", "list").output.splitlines()[1] == f"shop\t{TIME_TEXT}\t"
