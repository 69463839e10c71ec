"""The whole suite with TLS, mTLS and tokens, as several processes: events in, a history pulled, a file out."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hookline.client import AsyncClient, PermissionDenied, Unavailable
from services.sandbox.shop import TOKEN, WEBHOOK_SETTING_ID
from services.suite.embedded_postgres import EmbeddedPostgres
from services.suite.ports import free_address, free_addresses
from services.suite.supervisor import Suite
from shared import db
from shared.settings import Settings, counted_up
from tests.certificates import Authority, shown
from tests.samples import grapfy
from tests.tokens import token_of


async def test_all_of_it_works_by_mtls_and_with_tokens(tmp_path: Path) -> None:
    ca = Authority(tmp_path)
    server, mine = ca.issue(), ca.issue()
    data_dir = tmp_path / "data"
    settings = Settings(
        data_dir=data_dir,
        ingest_address=free_address(),
        sync_address=free_address(),
        export_address=free_address(),
        http_address=free_address(),
        sandbox_address=free_address(),
        metrics_address=free_addresses(8),
        allow_loopback_sources=True,
        processes=2,
        require_tokens=True,
        tls_certificate=server.certificate,
        tls_key=server.key,
        tls_client_ca=ca.file,
        tls_ca=ca.file,
    )
    try:
        async with Suite(settings, embedded=True) as suite:
            async with await db.open_pool(suite.database_url, 1) as pool, pool.acquire() as connection:
                token = await token_of(connection, "acme")
            names = suite.addresses
            where = names["ingest"], names["export"], names["sync"]
            files: dict[str, Any] = {"ca": ca.file, "certificate": mine.certificate, "key": mine.key}
            async with AsyncClient(*where, token=token, **files) as client:
                sent = await client.ingest_many("acme", [grapfy(number) for number in range(50)], platform="grapfy")
                assert sent.accepted == 50
                await client.create_source(
                    "acme",
                    "shop",
                    platform="grapfy",
                    base_url=f"http://{names['sandbox']}",
                    credential=TOKEN,
                    parameters={"webhookSettingId": WEBHOOK_SETTING_ID},
                )
                run = (await client.trigger_sync("acme", "shop", days_back=30)).run
                async for state in client.watch_run("acme", run.run_id):
                    run = state
                # The worker has come to ingest by TLS, with a certificate and a token of its own.
                assert run.counts.accepted > 0
                assert run.counts.accepted == run.counts.fetched - run.counts.duplicates
                file = tmp_path / "events.ndjson"
                await client.export_to_file("acme", "ndjson", file)
                assert file.read_bytes().count(b"\n") == 50 + run.counts.accepted
                endpoint = await client.create_endpoint("acme", platform="grapfy")
            await deliver(endpoint.url, ca)
            await garbage_is_answered(settings.http_address, ca)
            await metrics_are_there(settings, ca, mine.certificate, mine.key)
            async with AsyncClient(*where, **files) as client:
                with pytest.raises(PermissionDenied):
                    await client.list_platforms("acme")
            async with AsyncClient(*where, token=token, ca=ca.file, patience=0) as client:
                with pytest.raises(Unavailable):
                    await client.list_platforms("acme")
            # Renewed, in every process, under its own event loop.
            renewed = ca.issue()
            server.replace_by(renewed)
            assert settings.metrics_address
            listeners = [(address, "h2") for address in where] + [(settings.http_address, "http/1.1")]
            listeners += [(counted_up(settings.metrics_address, number), "http/1.1") for number in range(7)]
            for address, protocol in listeners:
                # Twice: the ports are shared by two processes.
                assert [await shown(address, mine, protocol) for _ in range(2)] == [renewed.der] * 2
            async with AsyncClient(*where, token=token, **files) as client:
                await client.list_platforms("acme")
    finally:
        await EmbeddedPostgres(data_dir).destroy()


async def deliver(url: str, ca: Authority) -> None:
    """Sends a webhook, as a platform does: by https, without a certificate of its own."""
    assert url.startswith("https://")
    trusting = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=ca.file))
    async with aiohttp.ClientSession(connector=trusting) as session, session.post(url, data=grapfy("hook")) as answer:
        assert (answer.status, (await answer.json())["outcome"]) == (200, "accepted")


async def garbage_is_answered(address: str, ca: Authority) -> None:
    """Sends what is no request; TLS has no half-closed connections, in which answers to it otherwise come."""
    trusting = ssl.create_default_context(cafile=ca.file)
    reader, writer = await asyncio.open_connection(*address.split(":"), ssl=trusting)
    writer.write(b"nonsense\r\n\r\n")
    assert await reader.readuntil(b"\r\n") == b"HTTP/1.1 400 Bad Request\r\n"
    writer.close()


async def metrics_are_there(settings: Settings, ca: Authority, certificate: Path, key: Path) -> None:
    """Asks every process for its metrics: two of ingest, two of export, sync, its worker and its scheduler."""
    context = ssl.create_default_context(cafile=ca.file)
    context.load_cert_chain(certificate, key)
    assert settings.metrics_address
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        for number in range(7):
            async with session.get(f"https://{counted_up(settings.metrics_address, number)}/metrics") as answer:
                assert answer.status == 200
                assert "hookline_tls_certificate_expiry_seconds 1" in await answer.text(), number
