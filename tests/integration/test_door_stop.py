"""The door closing, and what it leaves in the logs and the metrics."""

import signal
from pathlib import Path
from typing import Any

import pytest

from hookline.ingest.v1 import endpoint_service_pb2 as endpoints
from hookline.ingest.v1.endpoint_service_pb2_grpc import EndpointServiceStub
from services.ingest import http_server
from services.suite.ports import free_address
from shared.db import Connection
from shared.errors import OperatorError
from tests.blocking import blocked, is_waiting_for_a_lock
from tests.door import Pouring, line, make_endpoint, post, request
from tests.in_process import Ingesting, ingesting
from tests.ingest_process import IngestProcess
from tests.ledger import check_ledger
from tests.samples import grapfy
from tests.scraping import scraped
from tests.waiting import eventually

NOTICE_SECONDS = http_server.NOTICE_SECONDS


@pytest.fixture(autouse=True)
def notice(monkeypatch: pytest.MonkeyPatch) -> None:
    """As operators have it."""
    monkeypatch.setattr(http_server, "NOTICE_SECONDS", NOTICE_SECONDS)


async def test_what_is_under_way_is_answered_and_nothing_new_is_taken(
    database_url: str, connection: Connection
) -> None:
    async with ingesting(database_url, drain_seconds=20) as ingest:
        path = await make_endpoint(ingest)
        async with line(ingest.http) as resting, line(ingest.http) as busy:
            assert (await resting.ask(request(path, grapfy(1)))).outcome == "200 accepted"
            async with blocked(connection, "bolt"):
                other = await make_endpoint(ingest, "bolt")
                busy.writer.write(request(other, grapfy(2)))
                await eventually(lambda: is_waiting_for_a_lock(connection), what="the request is under way")
                ingest.stopping.set()
                assert await resting.ended() == b""
                with pytest.raises(ConnectionRefusedError):
                    await post(ingest.http, path, grapfy(3))
            said = await busy.hear()
            assert (said.outcome, said.headers["connection"]) == ("200 accepted", "close")
            assert await busy.ended() == b""
        await ingest.stopped
    await check_ledger(connection, {"acme": 1, "bolt": 1})


async def test_what_takes_too_long_is_told_to_come_again(database_url: str, connection: Connection) -> None:
    async with ingesting(database_url, drain_seconds=0.5) as ingest:
        path = await make_endpoint(ingest)
        async with line(ingest.http) as half, line(ingest.http) as waiting, blocked(connection):
            half.writer.write(request(path, grapfy(1))[:-1])
            waiting.writer.write(request(path, grapfy(2)))
            await eventually(lambda: is_waiting_for_a_lock(connection), what="the request is under way")
            ingest.stopping.set()
            for one in (half, waiting):
                said = await one.hear()
                assert (said.outcome, said.headers["retry-after"]) == ("503 unavailable server_stopping", "1")
                assert await one.ended() == b""


async def test_a_stop_under_load_loses_nothing_that_was_acknowledged(
    database_url: str, connection: Connection, tmp_path: Path
) -> None:
    async with IngestProcess(database_url, tmp_path) as ingest:
        asked = endpoints.CreateEndpointRequest(company_id="acme", platform="grapfy")
        token = (await EndpointServiceStub(ingest.channel).CreateEndpoint(asked)).token
        pouring = Pouring(f"http://{ingest.http_address}", f"/v1/hooks/{token}")
        async with pouring.running():
            await pouring.goes_on()
            ingest.send_signal(signal.SIGTERM)
            await ingest.ended()
        assert not ingest.complaints()
    await pouring.verify(connection)
    # Told in good order, to the last: nobody's connection broke in the middle of an answer.
    assert pouring.answers["200 accepted"] > 100
    assert pouring.answers.keys() <= {
        *("200 accepted", "200 duplicate", "503 unavailable server_stopping"),
        *("ConnectionRefusedError", "ConnectionResetError", "IncompleteReadError", "EOFError"),
    }


@pytest.mark.parametrize("setting", ["ingest_address", "http_address"])
async def test_a_taken_port_is_told(ingest: Ingesting, database_url: str, setting: str) -> None:
    taken = {"ingest_address": ingest.address, "http_address": ingest.http.removeprefix("http://")}[setting]
    settings: dict[str, Any] = {setting: taken}
    with pytest.raises(OperatorError, match=rf"{taken} can't be listened on: the port is taken"):
        async with ingesting(database_url, **settings):
            pass


async def test_other_machines_are_kept_out_unless_allowed(database_url: str) -> None:
    for address in ("0.0.0.0:0", "[::]:0", "example.com:0"):
        with pytest.raises(OperatorError, match=r"HOOKLINE_ALLOW_INSECURE=true"):
            async with ingesting(database_url, http_address=address):
                pass


async def test_logs_and_metrics_tell_nothing_of_senders(database_url: str, tmp_path: Path) -> None:
    metrics = free_address()
    async with IngestProcess(database_url, tmp_path, log_level="debug", metrics_address=metrics) as ingest:
        base = f"http://{ingest.http_address}"
        asked = endpoints.CreateEndpointRequest(company_id="acme", platform="grapfy")
        token = (await EndpointServiceStub(ingest.channel).CreateEndpoint(asked)).token
        private = {"Authorization": "Bearer sesame-1", "X-Forwarded-For": "203.0.113.9"}
        for path in (f"/v1/hooks/{token}", f"/v1/hooks/{token[:-1]}~", "/v1/hooks/sesame-2", "/sesame-3"):
            for body in (grapfy(1), b"sesame-4", b"", b"x" * 2_000_000):
                await post(base, f"{path}?key=sesame-5", body, private)
        async with line(base) as one:
            assert (await one.ask(b"sesame-6\r\n\r\n")).status == 400
        counted = await scraped(metrics)
        await eventually(lambda: ingest.log().count('"event": "hook"') >= 16, what="all is logged")
        log = ingest.log()
    assert log.count('"event": "hook"') == 16
    for told in (log, counted):
        for secret in ("sesame", token.rpartition(".")[2][:-1], "203.0.113.9", "Ana"):
            assert secret not in told
    assert "acme" not in counted
    for outcome, status, count in (
        ("accepted", 200, 1),
        ("quarantined", 202, 1),
        ("rejected", 400, 2),
        ("rejected", 404, 12),
        ("rejected", 413, 1),
    ):
        assert f'hookline_hooks_total{{outcome="{outcome}",status="{status}"}} {count}.0\n' in counted
    assert "hookline_hook_seconds_count 16.0\n" in counted
