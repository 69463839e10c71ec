"""Certificates replaced while the services run: what is under way goes on, and who comes next sees the new ones."""

import asyncio
import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from hookline.client import AsyncClient, TlsFailed
from hookline.export.v1 import event_query_service_pb2 as queries
from hookline.export.v1 import export_service_pb2 as exports
from services.suite.ports import free_address
from tests.certificates import Authority, Pair, shown
from tests.in_process import exporting, ingesting
from tests.samples import grapfy, send


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def copied(pair: Pair, folder: Path) -> Pair:
    """The files that a server is given, with a content that will change."""
    mine = Pair(folder / "server.pem", folder / "server.key")
    mine.replace_by(pair)
    return mine


async def test_streams_go_on_and_new_connections_see_the_new_certificate(
    database_url: str, ca: Authority, tmp_path: Path
) -> None:
    first, second = ca.issue(), ca.issue()
    mine = copied(first, tmp_path)
    metrics = free_address()
    secured = {"tls_certificate": mine.certificate, "tls_key": mine.key}
    async with (
        ingesting(database_url, credentials=ca.credentials(), **secured) as ingest,
        exporting(database_url, credentials=ca.credentials(), metrics_address=metrics, **secured) as export,
    ):
        door = ingest.http.removeprefix("https://")
        listeners = [(ingest.address, "h2"), (door, "http/1.1"), (export.address, "h2"), (metrics, "http/1.1")]

        async def all_show() -> Sequence[bytes]:
            return [await shown(address, protocol=protocol) for address, protocol in listeners]

        # Larger than what gRPC takes ahead, so that the export is under way until it is read.
        await send(ingest.stub, "acme", [grapfy(number, x="x" * 30_000) for number in range(400)])
        request = exports.ExportEventsRequest(company_id="acme", format=exports.EXPORT_FORMAT_NDJSON)
        exported = aiter(export.export.ExportEvents(request))
        parts = [await anext(exported)]
        watch = export.query.WatchEvents(queries.WatchEventsRequest(company_id="acme", after_sequence=-1))
        watched = aiter(watch)
        assert (await anext(watched)).last_sequence == 400
        assert await all_show() == [first.der] * 4

        mine.replace_by(second)
        assert await all_show() == [second.der] * 4
        # The connections of before are the streams' still, and take new calls.
        await send(ingest.stub, "acme", [grapfy("after")])
        assert [event.sequence for event in (await anext(watched)).events] == [401]
        parts += [part async for part in exported]
        assert parts[-1].WhichOneof("part") == "trailer"
        assert parts[-1].trailer.rows == 400
        watch.cancel()
        async with AsyncClient(ingest.address, export.address, ca=ca.file) as client:
            assert (await client.ingest("acme", grapfy("new"))).sequence == 402

        # What is no good changes nothing, and is told once.
        with capture_logs() as logs:
            mine.key.write_bytes(first.key.read_bytes())
            assert await all_show() == [second.der] * 4
            mine.certificate.unlink()
            assert await all_show() == [second.der] * 4
            assert await all_show() == [second.der] * 4
        told = [entry["why"] for entry in logs if entry["event"] == "certificate_refused"]
        assert len(told) == 2
        assert "is not the key of the certificate in" in told[0]
        assert "can't be read" in told[1]
        mine.replace_by(first)
        assert await all_show() == [first.der] * 4


async def test_another_ca_of_clients_holds_for_new_connections(
    database_url: str, ca: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "other")
    clients = tmp_path / "clients.pem"
    clients.write_bytes(ca.file.read_bytes())
    server, mine, theirs = ca.issue(), ca.issue(), other.issue()
    metrics = free_address()
    secured = {"tls_certificate": server.certificate, "tls_key": server.key, "tls_client_ca": clients}
    async with ingesting(database_url, credentials=ca.credentials(mine), metrics_address=metrics, **secured) as ingest:

        async def comes_in(client: Pair) -> tuple[bool, bool]:
            by_grpc = AsyncClient(
                ingest.address, ca=ca.file, certificate=client.certificate, key=client.key, patience=0
            )
            async with by_grpc:
                try:
                    await by_grpc.list_platforms("acme")
                except Exception:
                    return False, await scraped(metrics, client)
            return True, await scraped(metrics, client)

        assert [await comes_in(mine), await comes_in(theirs)] == [(True, True), (False, False)]
        clients.write_bytes(other.file.read_bytes())
        assert [await comes_in(mine), await comes_in(theirs)] == [(False, False), (True, True)]
        # Who was in stays in.
        await send(ingest.stub, "acme", [grapfy()])


async def scraped(address: str, client: Pair) -> bool:
    """Whether the metrics are shown to that client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(client.certificate, client.key)
    reader, writer = await asyncio.open_connection(*address.split(":"), ssl=context)
    try:
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        return b"hookline_tls_certificate_expiry_seconds " in await reader.read()
    except OSError:
        return False
    finally:
        writer.close()


async def test_a_client_goes_on_when_the_cas_are_replaced(
    database_url: str, ca: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hookline.client.security.LOOK_SECONDS", 0.0)
    other = Authority(tmp_path, "other")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(ca.file.read_bytes())
    mine = copied(ca.issue(), tmp_path)
    secured = {"tls_certificate": mine.certificate, "tls_key": mine.key}
    async with (
        ingesting(database_url, credentials=ca.credentials(), **secured) as ingest,
        AsyncClient(ingest.address, ca=trusted, patience=0) as client,
    ):
        await client.list_platforms("acme")
        mine.replace_by(other.issue())
        async with AsyncClient(ingest.address, ca=trusted) as late:
            with pytest.raises(TlsFailed, match="not of a CA that is trusted here"):
                await late.list_platforms("acme")
            trusted.write_bytes(b"half written")
            with pytest.raises(TlsFailed):
                await late.list_platforms("acme")
            trusted.write_bytes(other.file.read_bytes())
            await late.list_platforms("acme")
        await client.list_platforms("acme")
