"""TLS and mTLS on every listener, for every kind of caller; what is refused, and how that is told."""

import asyncio
import base64
import json
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hookline.client import AsyncClient, Client, HooklineError, TlsFailed, Unavailable
from services.suite.ports import free_address
from shared import healthcheck, tls
from shared.errors import OperatorError
from shared.settings import Settings
from tests.certificates import Authority, Pair
from tests.door import request
from tests.in_process import Ingesting, exporting, ingesting
from tests.integration.test_server import reflected
from tests.refusals import refused
from tests.samples import grapfy

METHOD = "hookline.ingest.v1.IngestService/IngestEvent"
BUF = Path(sys.executable).with_name("buf")


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def served_with(pair: Pair, client_ca: Authority | None = None) -> dict[str, Any]:
    """The settings of a service with TLS."""
    return {
        "tls_certificate": pair.certificate,
        "tls_key": pair.key,
        **({"tls_client_ca": client_ca.file} if client_ca else {}),
    }


def shown(pair: Pair) -> dict[str, Any]:
    """A client's certificate, as arguments of the Python clients."""
    return {"certificate": pair.certificate, "key": pair.key}


async def run(*command: str | Path, **environment: str) -> tuple[int, str, str]:
    """Runs a command; gives its status, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | environment
    )
    async with asyncio.timeout(60):
        out, problem = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), problem.decode()


async def hookline(ingest: Ingesting, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """Runs `hookline platform list`."""
    command = ("-m", "hookline.cli", "platform", "list", "--company", "acme", "--patience", "3")
    return await run(sys.executable, *command, "--ingest-address", ingest.address, *arguments, **environment)


@asynccontextmanager
async def asking_clients(database_url: str, ca: Authority, **settings: Any) -> AsyncIterator[Ingesting]:
    """An ingest service with mTLS."""
    settings |= served_with(ca.issue(), ca)
    async with ingesting(database_url, credentials=ca.credentials(ca.issue()), **settings) as one:
        yield one


async def test_other_peoples_tools_call_by_tls_and_by_mtls(database_url: str, ca: Authority) -> None:
    client = ca.issue()
    event = {"platform": "grapfy", "payload": base64.b64encode(grapfy()).decode()}
    data = json.dumps({"company_id": "acme", "event": event})
    schema = ("--schema", "protos", "--protocol", "grpc", "--cacert", ca.file, "--data", data)
    own = ("--cert", client.certificate, "--key", client.key)
    async with ingesting(database_url, credentials=ca.credentials(), **served_with(ca.issue())) as ingest:
        status, out, problem = await run(BUF, "curl", *schema, f"https://{ingest.address}/{METHOD}")
        assert (status, json.loads(out)["result"]["outcome"]) == (0, "OUTCOME_ACCEPTED"), problem
    async with asking_clients(database_url, ca) as ingest:
        status, out, problem = await run(BUF, "curl", *schema, *own, f"https://{ingest.address}/{METHOD}")
        assert (status, json.loads(out)["result"]["outcome"]) == (0, "OUTCOME_DUPLICATE"), problem
        status, _, _ = await run(BUF, "curl", *schema, f"https://{ingest.address}/{METHOD}")
        assert status != 0, "it has no certificate"


async def test_reflection_is_off_with_tls_unless_it_is_turned_on(database_url: str, ca: Authority) -> None:
    secured = served_with(ca.issue())
    async with ingesting(database_url, credentials=ca.credentials(), **secured) as ingest:
        assert (await refused(reflected(ingest.channel))).reason == "METHOD_NOT_FOUND"
    async with ingesting(database_url, credentials=ca.credentials(), reflection=True, **secured) as ingest:
        assert "hookline.ingest.v1.IngestService" in await reflected(ingest.channel)


async def test_python_clients_and_the_command_call_by_tls_and_by_mtls(
    database_url: str, ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = ca.issue()
    own = shown(client)

    def blocking(ingest: str, export: str) -> int:
        with Client(ingest, export, ca=ca.file, **own) as one:
            return len(list(one.list("acme")))

    async with (
        asking_clients(database_url, ca) as ingest,
        exporting(
            database_url, credentials=ca.credentials(client), name="localhost", **served_with(ca.issue("localhost"), ca)
        ) as export,
    ):
        _, port = export.address.split(":")
        async with AsyncClient(ingest.address, f"localhost:{port}", ca=ca.file, **own) as one:
            summary = await one.ingest_many("acme", [grapfy(number) for number in range(1200)], "grapfy")
            assert summary.accepted == 1200
            assert len([event async for event in one.list("acme")]) == 1200
        assert await asyncio.to_thread(blocking, ingest.address, f"localhost:{port}") == 1200
        files = ("--ca-file", ca.file, "--certificate-file", client.certificate, "--key-file", client.key)
        assert (await hookline(ingest, *map(str, files)))[0] == 0
        named = {"CA": ca.file, "CERTIFICATE": client.certificate, "KEY": client.key}
        environment = {f"HOOKLINE_TLS_{name}": str(path) for name, path in named.items()}
        assert (await hookline(ingest, **environment))[0] == 0
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        async with AsyncClient(ingest.address) as one:
            await one.list_platforms("acme")


async def test_who_does_not_prove_to_be_the_server_is_told_in_a_sentence(database_url: str, ca: Authority) -> None:
    other = Authority(ca.file.parent, "other")
    elsewhere = ca.issue("hooks.example.com")
    for pair, trusted, says in (
        (elsewhere, ca.file, "its certificate is another host's."),
        (
            ca.issue(),
            other.file,
            "its certificate is not of a CA that is trusted here. --ca-file or HOOKLINE_TLS_CA names what to trust.",
        ),
    ):
        async with refusing(pair) as address:
            running = await run(*command(address), "--ca-file", str(trusted))
            assert running == (7, "", f"Error: {address} is not trusted: {says}\n")
    async with ingesting(database_url) as plain:
        status, _, problem = await hookline(plain, "--tls")
        assert (status, problem) == (7, f"Error: {plain.address} is not trusted: it speaks no TLS.\n")


def command(address: str) -> list[str]:
    start = [sys.executable, "-m", "hookline.cli", "platform", "list", "--company", "acme"]
    return [*start, "--ingest-address", address]


@asynccontextmanager
async def refusing(pair: Pair) -> AsyncIterator[str]:
    """A server that shows a certificate, even one that ours would not start with; nobody comes past it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    context.set_alpn_protocols(["h2"])
    address = free_address()
    host, port = address.split(":")

    async def closes(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(closes, host, int(port), ssl=context):
        yield address


async def test_an_expired_certificate_is_refused_by_every_client(ca: Authority) -> None:
    expired = ca.issue(expires_in=timedelta(seconds=-1))
    async with refusing(expired) as address:
        says = f"{address} is not trusted: its certificate has expired."

        def blocking() -> str:
            with Client(address, ca=ca.file) as one, pytest.raises(TlsFailed) as caught:
                one.list_platforms("acme")
            return str(caught.value)

        assert await asyncio.to_thread(blocking) == says
        async with AsyncClient(address, ca=ca.file) as one:
            with pytest.raises(TlsFailed) as caught:
                await one.list_platforms("acme")
        assert str(caught.value) == says
        status, out, problem = await run(*command(address), "--ca-file", str(ca.file), "--json")
        assert (status, out) == (7, "")
        [line] = problem.splitlines()
        assert (json.loads(line)["error"]["kind"], json.loads(line)["error"]["message"]) == ("tls_failed", says)


async def test_under_mtls_nobody_comes_in_without_a_good_certificate(database_url: str, ca: Authority) -> None:
    other = Authority(ca.file.parent, "other")
    async with asking_clients(database_url, ca) as ingest:
        for own in ({}, shown(other.issue()), shown(ca.issue(expires_in=timedelta(seconds=-1)))):
            async with AsyncClient(ingest.address, ca=ca.file, patience=0, **own) as one:
                with pytest.raises(Unavailable, match="asks for TLS or for a client's certificate"):
                    await one.list_platforms("acme")
        for arguments in (("--ca-file", str(ca.file)), ("--no-tls",)):
            status, _, problem = await hookline(ingest, *arguments)
            [line] = problem.splitlines()
            assert (status, "asks for TLS or for a client's certificate" in line) == (7, True)


async def test_a_clients_files_are_checked(ca: Authority) -> None:
    pair, other = ca.issue(), ca.issue()
    with pytest.raises(OSError, match="nowhere"):
        Client(ca="nowhere.pem")
    with pytest.raises(HooklineError, match=r"holds no certificate of a CA"):
        Client(ca=pair.key)
    with pytest.raises(HooklineError, match=r"are not a certificate and its key"):
        Client(certificate=pair.certificate, key=other.key)
    with pytest.raises(HooklineError, match=r"given together"):
        Client(certificate=pair.certificate)
    status, _, problem = await run(*command("127.0.0.1:1"), "--ca-file", "nowhere.pem")
    assert (status, problem) == (1, "Error: nowhere.pem: No such file or directory\n")


async def test_the_door_serves_https_and_asks_platforms_for_no_certificate(database_url: str, ca: Authority) -> None:
    async with asking_clients(database_url, ca, http_body_seconds=0.5) as ingest:
        host, port = ingest.http.removeprefix("https://").split(":")
        context = ssl.create_default_context(cafile=ca.file)
        context.set_alpn_protocols(["h2", "http/1.1"])
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
        secured = writer.get_extra_info("ssl_object")
        assert (secured.version(), secured.selected_alpn_protocol()) == ("TLSv1.3", "http/1.1")
        writer.write(b"nonsense\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 "), "it is answered, and ends the connection"
        writer.close()
        async with AsyncClient(ingest.address, ca=ca.file, **shown(ca.issue())) as one:
            endpoint = await one.create_endpoint("acme", platform="grapfy")
        assert endpoint.url == f"{ingest.http}/v1/hooks/{endpoint.token}"
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
        writer.write(request(f"/v1/hooks/{endpoint.token}", grapfy()))
        assert (await reader.readuntil(b"\r\n")) == b"HTTP/1.1 200 OK\r\n"
        writer.close()
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        # Refused with an alert, or with a reset that overtakes it.
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection(host, int(port), ssl=context)
        # Who says nothing is cut off, and who speaks plain HTTP is not understood.
        reader, writer = await asyncio.open_connection(host, int(port))
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request("/healthz", method="GET"))
        assert b"HTTP" not in await reader.read()
        writer.close()


async def test_metrics_and_health_checks_by_mtls(
    database_url: str, ca: Authority, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address, pair = free_address(), ca.issue("ingest")
    # The health check needs no name: it is this machine that it asks.
    secured = served_with(pair, ca) | {"metrics_address": address}
    async with ingesting(database_url, credentials=ca.credentials(pair), name="ingest", **secured) as ingest:
        targets = [
            ingest.address,
            f"http://{address}/metrics",
            f"http://{ingest.http.removeprefix('https://')}/healthz",
        ]
        assert await asyncio.to_thread(lambda: [healthcheck.main([target]) for target in targets]) == [1, 1, 1]
        monkeypatch.setenv("HOOKLINE_TLS_CERTIFICATE", str(pair.certificate))
        monkeypatch.setenv("HOOKLINE_TLS_KEY", str(pair.key))
        capsys.readouterr()
        assert await asyncio.to_thread(lambda: [healthcheck.main([target]) for target in targets]) == [0, 0, 0]
        assert capsys.readouterr().err == ""
    assert await asyncio.to_thread(lambda: [healthcheck.main([target]) for target in targets]) == [1, 1, 1]


async def test_what_is_wrong_with_the_files_is_told_at_the_start(database_url: str, ca: Authority) -> None:
    pair, other, nameless = ca.issue(), ca.issue(), ca.issue(nameless=True)
    nonsense = pair.key.with_name("nonsense.pem")
    nonsense.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    for wrong, says in (
        ({"tls_key": None}, "HOOKLINE_TLS_CERTIFICATE and HOOKLINE_TLS_KEY are set together"),
        ({"tls_certificate": None, "tls_key": None}, "HOOKLINE_TLS_CLIENT_CA needs HOOKLINE_TLS_CERTIFICATE"),
        ({"tls_certificate": Path("nowhere.pem")}, "CERTIFICATE: nowhere.pem can't be read (No such file"),
        ({"tls_key": Path("nowhere.pem")}, "KEY: nowhere.pem can't be read (No such file"),
        ({"tls_client_ca": Path("nowhere.pem")}, "CLIENT_CA: nowhere.pem can't be read (No such file"),
        ({"tls_certificate": nonsense}, "holds no certificate (PEM)."),
        ({"tls_client_ca": nonsense}, "holds no certificate (PEM)."),
        ({"tls_key": nonsense}, "holds no key (PEM)."),
        ({"tls_certificate": nameless.certificate, "tls_key": nameless.key}, "names no host (subjectAltName)."),
        ({"tls_key": other.key}, "is not the key of the certificate in"),
    ):
        settings = served_with(pair, ca) | wrong
        for starting in (ingesting, exporting):
            with pytest.raises(OperatorError) as caught:
                async with starting(database_url, **settings):
                    pass
            assert says in str(caught.value)
    for file, says in ((Path("nowhere.pem"), "nowhere.pem can't be read"), (nonsense, "holds no certificate")):
        # As the sync worker reaches ingest.
        with pytest.raises(OperatorError, match=f"HOOKLINE_TLS_CA: .*{says}"):
            tls.client_options(Settings(tls_ca=file))
    with pytest.raises(OperatorError, match=r"expired at 2"):
        async with exporting(database_url, **served_with(ca.issue(expires_in=timedelta(seconds=-1)))):
            pass


async def test_other_machines_come_in_by_tls_and_with_tokens_only(database_url: str, ca: Authority) -> None:
    secured = served_with(ca.issue())
    for settings, says in (
        ({}, "HOOKLINE_TLS_KEY turn TLS on, HOOKLINE_REQUIRE_TOKENS=true asks for tokens; or HOOKLINE_ALLOW_INSECURE"),
        (secured, "machines: HOOKLINE_REQUIRE_TOKENS=true asks for tokens; or HOOKLINE_ALLOW_INSECURE"),
        ({"require_tokens": True}, "HOOKLINE_TLS_CERTIFICATE and HOOKLINE_TLS_KEY turn TLS on; or HOOKLINE_ALLOW"),
    ):
        with pytest.raises(OperatorError) as caught:
            async with exporting(database_url, export_address="0.0.0.0:0", **settings):
                pass
        assert says in str(caught.value)
    with pytest.raises(OperatorError, match=r"turn TLS on; or HOOKLINE_ALLOW_INSECURE"):
        async with ingesting(database_url, http_address="0.0.0.0:0"):
            pass
    port = free_address().split(":")[1]
    both = {"require_tokens": True, **secured}
    async with exporting(
        database_url, credentials=ca.credentials(), name="localhost", export_address=f"0.0.0.0:{port}", **both
    ) as export:
        assert export.address
    # The door's tokens are in its URLs.
    async with ingesting(database_url, credentials=ca.credentials(), http_address=f"0.0.0.0:{port}", **secured):
        pass
