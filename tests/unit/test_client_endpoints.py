"""Endpoints, signing secrets and platforms by both clients; and calls that must not be done twice."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from hookline.client import (
    CreateEndpointResponse,
    Endpoint,
    Event,
    IncomingEvent,
    IngestResult,
    NotFound,
    Outcome,
    Platform,
    PreviewMappingResponse,
    RotateEndpointResponse,
    SigningSecret,
    Unavailable,
    Unreachable,
)
from hookline.ingest.v1 import endpoint_service_pb2 as epb
from hookline.ingest.v1 import ingest_service_pb2 as pb
from tests.unit.scripted import Caller, Refusal, Script, Server, serving

CODE = grpc.StatusCode
ENDPOINT = Endpoint(endpoint_id="n-1", source="shop", token_hint="abcd")
SECRET = SigningSecret(source="shop")
PLATFORM = Platform(name="own", is_own=True)
CREATED = CreateEndpointResponse(endpoint=ENDPOINT, token="acme.token", url="http://door/acme.token")
ROTATED = RotateEndpointResponse(endpoint=ENDPOINT, token="acme.other", url="http://door/acme.other")
PREVIEW = PreviewMappingResponse(
    result=IngestResult(outcome=Outcome.OUTCOME_ACCEPTED), event=Event(type="order_approved", platform_type="PAID")
)

both_clients = pytest.mark.parametrize("is_async", [False, True], ids=["blocking", "async"])

CALLS: dict[str, tuple[str, tuple[Any, ...], dict[str, Any], Message, Message, Any]] = {
    "revoke": (
        "revoke_endpoint",
        ("acme", "n-1"),
        {},
        epb.RevokeEndpointRequest(company_id="acme", endpoint_id="n-1"),
        epb.RevokeEndpointResponse(endpoint=ENDPOINT),
        ENDPOINT,
    ),
    "secret": (
        "put_signing_secret",
        ("acme", "shop", "hush"),
        {},
        epb.PutSigningSecretRequest(company_id="acme", source="shop", secret="hush"),
        epb.PutSigningSecretResponse(signing_secret=SECRET),
        SECRET,
    ),
    "secret at once": (
        "put_signing_secret",
        ("acme", "shop", "hush"),
        {"keep_old": timedelta(0)},
        epb.PutSigningSecretRequest(company_id="acme", source="shop", secret="hush", keep_old=Duration()),
        epb.PutSigningSecretResponse(signing_secret=SECRET),
        SECRET,
    ),
    "no secret": (
        "delete_signing_secret",
        ("acme", "shop"),
        {},
        epb.DeleteSigningSecretRequest(company_id="acme", source="shop"),
        epb.DeleteSigningSecretResponse(),
        None,
    ),
    "platforms": (
        "list_platforms",
        ("acme",),
        {},
        pb.ListPlatformsRequest(company_id="acme"),
        pb.ListPlatformsResponse(platforms=[PLATFORM, PLATFORM]),
        [PLATFORM, PLATFORM],
    ),
    "mapping": (
        "put_platform_mapping",
        ("acme", 'name = "own"'),
        {},
        pb.PutPlatformMappingRequest(company_id="acme", mapping='name = "own"'),
        pb.PutPlatformMappingResponse(platform=PLATFORM),
        PLATFORM,
    ),
    "no mapping": (
        "delete_platform_mapping",
        ("acme", "own"),
        {},
        pb.DeletePlatformMappingRequest(company_id="acme", name="own"),
        pb.DeletePlatformMappingResponse(),
        None,
    ),
    "preview": (
        "preview_mapping",
        ("acme", b"{}", "own", "shop"),
        {"headers": {"X-Topic": "paid"}, "query": "a=b", "mapping": 'name = "own"'},
        pb.PreviewMappingRequest(
            company_id="acme",
            event=IncomingEvent(platform="own", source="shop", payload=b"{}", headers={"X-Topic": "paid"}, query="a=b"),
            mapping='name = "own"',
        ),
        PREVIEW,
        PREVIEW,
    ),
    "preview of quarantine": (
        "preview_quarantined",
        ("acme", "q-1"),
        {"mapping": 'name = "own"'},
        pb.PreviewMappingRequest(company_id="acme", quarantine_id="q-1", mapping='name = "own"'),
        PREVIEW,
        PREVIEW,
    ),
}


@both_clients
@pytest.mark.parametrize("name", CALLS)
def test_calls(is_async: bool, name: str) -> None:
    method, arguments, options, request, answer, expected = CALLS[name]
    script = Script()
    # Each is tried again as well.
    script.answers = [Refusal(), answer]
    with serving(script) as server:
        assert Caller(is_async=is_async, address=server.address)(method, *arguments, **options) == expected
    assert script.requests == [request, request]


@both_clients
def test_endpoints_and_secrets_of_all_pages(is_async: bool) -> None:
    script = Script()
    script.answers = [
        epb.ListEndpointsResponse(endpoints=[ENDPOINT], next_page_token="a"),
        Refusal(),
        epb.ListEndpointsResponse(endpoints=[ENDPOINT]),
        epb.ListSigningSecretsResponse(signing_secrets=[SECRET], next_page_token="b"),
        epb.ListSigningSecretsResponse(signing_secrets=[SECRET]),
    ]
    with serving(script) as server:
        call = Caller(is_async=is_async, address=server.address)
        assert call("list_endpoints", "acme", page_size=1) == [ENDPOINT, ENDPOINT]
        assert call("list_signing_secrets", "acme", page_size=1) == [SECRET, SECRET]
    assert script.requests == [
        *(epb.ListEndpointsRequest(company_id="acme", page_size=1, page_token=token) for token in ("", "a", "a")),
        *(epb.ListSigningSecretsRequest(company_id="acme", page_size=1, page_token=token) for token in ("", "b")),
    ]


PROBE, ANSWERS = epb.ListEndpointsRequest(company_id="acme", page_size=1), epb.ListEndpointsResponse()
ONCE: dict[str, tuple[tuple[Any, ...], dict[str, Any], Message, Message]] = {
    "create_endpoint": (
        ("acme", "shop", "kirvano"),
        {},
        epb.CreateEndpointRequest(company_id="acme", source="shop", platform="kirvano"),
        CREATED,
    ),
    "rotate_endpoint": (
        ("acme", "n-1"),
        {"keep_old": timedelta(hours=36)},
        epb.RotateEndpointRequest(company_id="acme", endpoint_id="n-1", keep_old=Duration(seconds=129600)),
        ROTATED,
    ),
}


@both_clients
@pytest.mark.parametrize("method", ONCE)
def test_what_makes_a_token_is_sent_once(is_async: bool, method: str) -> None:
    arguments, options, request, answer = ONCE[method]
    script = Script()
    with serving(script) as server:
        call = Caller(is_async=is_async, address=server.address)
        script.answers = [Refusal(), ANSWERS, answer]
        # What may be asked again comes before, and shows that somebody answers.
        assert call(method, *arguments, **options) == answer
        assert script.requests == [PROBE, PROBE, request]
        for refusal, kind in (
            (Refusal(), Unavailable),
            (Refusal(CODE.UNAVAILABLE, "cut", reason=""), Unavailable),
            (Refusal(CODE.NOT_FOUND, "no", "ENDPOINT_NOT_FOUND"), NotFound),
        ):
            script.requests, script.answers = [], [ANSWERS, refusal, answer]
            with pytest.raises(kind):
                call(method, *arguments, **options)
            assert script.answers == [answer]
            assert script.requests == [PROBE, request]


@both_clients
def test_a_token_is_not_made_twice_when_the_connection_breaks(is_async: bool) -> None:
    script = Script()
    arrived = threading.Event()

    def dying(request: Any, context: grpc.ServicerContext) -> Any:
        script.requests.append(request)
        arrived.set()
        time.sleep(0.5)
        return CREATED

    script.CreateEndpoint = dying  # type: ignore[method-assign]
    script.answers = [ANSWERS]
    with serving(script) as server, replacing(server, arrived) as successor:
        with pytest.raises(Unavailable):
            Caller(is_async=is_async, address=server.address)("create_endpoint", "acme", "shop")
        # There would have been someone to send it to again.
        successor.answers = [ANSWERS]
        assert Caller(is_async=is_async, address=server.address)("list_endpoints", "acme") == []
    assert len(script.requests) == 2
    assert successor.requests == [epb.ListEndpointsRequest(company_id="acme")]


@contextmanager
def replacing(server: Server, when: threading.Event) -> Iterator[Script]:
    """Kills the server once that has happened, and serves another script in its place."""
    script = Script()
    successors: list[Server] = []

    def replace() -> None:
        when.wait(20)
        server.stop()
        successors.append(Server(script, server.port))

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        yield script
    finally:
        thread.join()
        for successor in successors:
            successor.stop()


@both_clients
def test_the_first_connection_is_waited_for(is_async: bool) -> None:
    script = Script()
    script.answers = [ANSWERS, CREATED]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    servers: list[Server] = []
    starting = threading.Timer(0.5, lambda: servers.append(Server(script, port)))
    starting.start()
    try:
        call = Caller(is_async=is_async, address=f"127.0.0.1:{port}", patience=20)
        assert call("create_endpoint", "acme", "shop") == CREATED
    finally:
        starting.join()
        for server in servers:
            server.stop()
    assert len(script.requests) == 2


@both_clients
def test_nobody_there_to_make_a_token(is_async: bool) -> None:
    with serving(Script()) as server:
        gone = server.address
    started = time.monotonic()
    for patience in (0, 0.5):
        with pytest.raises(Unreachable):
            Caller(is_async=is_async, address=gone, patience=patience)("create_endpoint", "acme", "shop")
    assert 0.5 <= time.monotonic() - started < 5
