"""Signing secrets: put, changed, listed and removed, and never shown."""

import asyncio
from datetime import timedelta
from typing import Any

import grpc
import pytest
from cryptography.fernet import Fernet

from hookline.ingest.v1 import endpoint_service_pb2 as pb
from hookline.ingest.v1 import ingest_service_pb2 as ingest_pb
from services.__main__ import main
from shared.db import Connection
from shared.vault import Vault
from tests.alert_happenings import make_source, make_webhook
from tests.in_process import SECRET_KEY, Ingesting, ingesting
from tests.padoca import TOKEN_IN_BODY, padoca, put
from tests.refusals import refused
from tests.samples import incoming, outcomes, send

SOURCE = "loja"
NO_TIME = timedelta(0)


async def put_secret(
    ingest: Ingesting, secret: str, keep_old: timedelta | None = None, source: str = SOURCE, company: str = "acme"
) -> pb.SigningSecret:
    request = pb.PutSigningSecretRequest(company_id=company, source=source, secret=secret)
    if keep_old is not None:
        request.keep_old.FromTimedelta(keep_old)
    return (await ingest.endpoints.PutSigningSecret(request)).signing_secret


async def delete(ingest: Ingesting, source: str = SOURCE, company: str = "acme") -> None:
    await ingest.endpoints.DeleteSigningSecret(pb.DeleteSigningSecretRequest(company_id=company, source=source))


async def listed(ingest: Ingesting, company: str = "acme", **request: Any) -> pb.ListSigningSecretsResponse:
    return await ingest.endpoints.ListSigningSecrets(pb.ListSigningSecretsRequest(company_id=company, **request))


async def good(ingest: Ingesting, *tokens: str) -> list[str]:
    """Those of the tokens that an event of the source gets in with."""
    events = [incoming(padoca(token=token), "padoca", SOURCE) for token in tokens]
    answers = outcomes(await send(ingest.stub, "acme", events))
    assert set(answers) <= {"ACCEPTED", "DUPLICATE", "REJECTED SIGNATURE_WRONG"}
    return [token for token, answer in zip(tokens, answers, strict=True) if "REJECTED" not in answer]


@pytest.fixture
async def signed(ingest: Ingesting) -> Ingesting:
    """The ingest service, and a platform that signs by a token in the body."""
    await put(ingest, TOKEN_IN_BODY, secrets='secrets = ["token"]')
    return ingest


async def test_a_secret_is_kept_encrypted_and_never_shown(ingest: Ingesting, connection: Connection) -> None:
    shown = await put_secret(ingest, "very secret")
    assert (shown.source, shown.HasField("update_time"), shown.HasField("old_secret_expire_time")) == (
        SOURCE,
        True,
        False,
    )
    [row] = await connection.fetch("SELECT secret FROM hookline.signing_secrets")
    assert b"very secret" not in row["secret"]
    assert Vault(SECRET_KEY).decrypt(row["secret"]) == "very secret"
    assert list((await listed(ingest)).signing_secrets) == [shown]


async def test_the_secret_before_is_good_for_a_while(signed: Ingesting) -> None:
    await put_secret(signed, "one")
    shown = await put_secret(signed, "two")
    kept = shown.old_secret_expire_time.ToDatetime() - shown.update_time.ToDatetime()
    assert kept == pytest.approx(timedelta(hours=24), abs=timedelta(seconds=5))
    assert await good(signed, "one", "two", "three") == ["one", "two"]
    # An older one ends at once, however long it should have been good.
    await put_secret(signed, "three")
    assert await good(signed, "one", "two", "three") == ["two", "three"]


async def test_the_secret_before_can_end_at_once(signed: Ingesting) -> None:
    await put_secret(signed, "one")
    shown = await put_secret(signed, "two", NO_TIME)
    assert not shown.HasField("old_secret_expire_time")
    assert await good(signed, "one", "two") == ["two"]


async def test_the_same_secret_again_does_not_push_out_the_one_before(signed: Ingesting) -> None:
    await put_secret(signed, "one")
    first = await put_secret(signed, "two", timedelta(hours=1))
    # As if the answer had been lost.
    again = await put_secret(signed, "two", timedelta(hours=2))
    assert again.old_secret_expire_time == first.old_secret_expire_time, "never longer than was said"
    assert await good(signed, "one", "two") == ["one", "two"]
    await put_secret(signed, "two", NO_TIME)
    assert await good(signed, "one", "two") == ["two"]


async def test_a_secret_before_ends_when_its_time_is_over(signed: Ingesting, connection: Connection) -> None:
    await put_secret(signed, "one")
    await put_secret(signed, "two")
    await connection.execute("UPDATE hookline.signing_secrets SET old_secret_expire_time = clock_timestamp()")
    await connection.execute("SELECT pg_notify('hookline_rules', 'acme')")
    # Put for another source: what the process remembers of the company is read anew.
    await put_secret(signed, "another", source="other")
    assert await good(signed, "one", "two") == ["two"]
    [loja, _] = (await listed(signed)).signing_secrets
    assert not loja.HasField("old_secret_expire_time")


async def test_without_a_secret_nothing_is_verified(signed: Ingesting) -> None:
    await put_secret(signed, "one")
    assert await good(signed, "one", "two") == ["one"]
    await delete(signed)
    assert await good(signed, "one", "two") == ["one", "two"]
    assert not (await listed(signed)).signing_secrets
    refusal = await refused(delete(signed))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "SIGNING_SECRET_NOT_FOUND")
    assert refusal.metadata == {"source": SOURCE}


async def test_a_secret_is_its_sources_and_its_companys_alone(signed: Ingesting) -> None:
    await put_secret(signed, "one", source="other")
    await put_secret(signed, "one", company="bolt")
    assert await good(signed, "wrong") == ["wrong"]
    assert (await refused(delete(signed))).reason == "SIGNING_SECRET_NOT_FOUND"


async def test_a_secret_of_another_key_lets_nothing_in(database_url: str, connection: Connection) -> None:
    async with ingesting(database_url) as before:
        await put(before, TOKEN_IN_BODY, secrets='secrets = ["token"]')
        await put_secret(before, "one")
    async with ingesting(database_url, secret_key="AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=") as now:
        assert await good(now, "one", "two") == []
        # Without any evidence it is a trusted caller's, as ever.
        event = ingest_pb.IncomingEvent(platform="padoca", source=SOURCE, payload=padoca(9))
        assert outcomes(await send(now.stub, "acme", [event])) == ["ACCEPTED"]
        await put_secret(now, "two")
        assert await good(now, "one", "two") == ["two"]


async def test_the_secret_key_is_changed_in_steps(
    database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    new = Fernet.generate_key().decode()
    both = f"{new},{SECRET_KEY}"
    async with ingesting(database_url) as before:
        await put(before, TOKEN_IN_BODY, secrets='secrets = ["token"]')
        await put_secret(before, "zero")
        await put_secret(before, "one", keep_old=timedelta(hours=1))
    await make_source(connection)
    await connection.execute("UPDATE hookline.sources SET credential = $1", Vault(SECRET_KEY).encrypt("token"))
    await make_webhook(connection)
    async with ingesting(database_url, secret_key=both) as during:
        assert await good(during, "zero", "one", "two") == ["zero", "one"]
    monkeypatch.setenv("HOOKLINE_DATABASE_URL", database_url)
    monkeypatch.setenv("HOOKLINE_SECRET_KEY", both)
    assert await asyncio.to_thread(main, ["reseal"]) == 0
    assert capsys.readouterr().out.endswith("Secrets encrypted with the first key: 4.\n")
    async with ingesting(database_url, secret_key=new) as after:
        assert await good(after, "zero", "one", "two") == ["zero", "one"]
    rows = await connection.fetch(
        "SELECT credential FROM hookline.sources UNION ALL SELECT secret FROM hookline.alert_channels"
    )
    assert len([Vault(new).decrypt(row["credential"]) for row in rows]) == 2
    # One whose key is lost is named, and in nobody's way.
    await connection.execute("UPDATE hookline.signing_secrets SET old_secret = 'lost'")
    assert await asyncio.to_thread(main, ["reseal"]) == 1
    said = capsys.readouterr()
    assert said.err == (
        f"No key of HOOKLINE_SECRET_KEY opens signing_secrets.old_secret of acme, {SOURCE}; it stays as it is.\n"
    )
    assert said.out.endswith("Secrets encrypted with the first key: 3.\n")


async def test_pages_list_them_by_source(ingest: Ingesting) -> None:
    sources = ["B", "a", "a-b", "b.c", "z"]
    for source in reversed(sources):
        await put_secret(ingest, "one", source=source)
    seen: list[str] = []
    token, sizes = "", []
    while True:
        page = await listed(ingest, page_size=2, page_token=token)
        seen += [one.source for one in page.signing_secrets]
        sizes.append(len(page.signing_secrets))
        if not (token := page.next_page_token):
            break
        assert (await refused(listed(ingest, "bolt", page_token=token))).reason == "INVALID_PAGE_TOKEN"
    assert (seen, sizes) == (sources, [2, 2, 1])


async def test_requests_that_mean_nothing_are_refused(ingest: Ingesting) -> None:
    await put_secret(ingest, "é" * 512)
    for call, field in (
        (put_secret(ingest, ""), "secret"),
        (put_secret(ingest, "é" * 513), "secret"),
        (put_secret(ingest, "one", source=""), "source"),
        (put_secret(ingest, "one", source="a b"), "source"),
        (put_secret(ingest, "one", company=""), "company_id"),
        (put_secret(ingest, "one", timedelta(days=31)), "keep_old"),
        (put_secret(ingest, "one", timedelta(seconds=-1)), "keep_old"),
        (delete(ingest, ""), "source"),
        (listed(ingest, page_size=-1), "page_size"),
    ):
        refusal = await refused(call)
        assert (refusal.code, list(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, [field])
        assert "one" not in refusal.message
