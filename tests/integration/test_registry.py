"""What ingest remembers of companies: cheap while it holds, gone once it has changed, whoever changed it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from hookline.ingest.v1 import endpoint_service_pb2
from hookline.ingest.v1 import ingest_service_pb2 as pb
from services.ingest import control_store
from services.ingest import registry as module
from services.ingest.registry import Registry, new_token, token_digest
from shared import db
from shared.db import Connection
from shared.errors import DatabaseUnavailable
from shared.vault import Vault
from tests.door import post
from tests.in_process import SECRET_KEY, Ingesting, ingesting
from tests.padoca import TOKEN_IN_BODY, mapping, padoca, put
from tests.proxy import proxied
from tests.samples import grapfy, incoming, outcomes, send
from tests.waiting import eventually

SOON = 2.0
"""Well below the seconds after which everything is read anew."""


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[db.Pool]:
    async with await db.open_pool(database_url, 4) as pool:
        yield pool


@pytest.fixture
def registry(pool: db.Pool) -> Registry:
    """One that nobody tells anything."""
    return Registry(pool, Vault(SECRET_KEY), fresh_seconds=0.5)


async def put_quietly(connection: Connection, text: str, company: str = "acme", name: str = "padoca") -> None:
    await connection.execute(
        """INSERT INTO hookline.platform_mappings (company_id, name, mapping) VALUES ($1, $2, $3)
           ON CONFLICT (company_id, name) DO UPDATE SET mapping = excluded.mapping""",
        company,
        name,
        text,
    )


async def outcome(ingest: Ingesting, event: pb.IncomingEvent) -> str:
    [answer] = outcomes(await send(ingest.stub, "acme", [event]))
    return answer


async def listener(connection: Connection) -> list[int]:
    """The backends that listen for changes."""
    rows = await connection.fetch(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %'"
    )
    return [row["pid"] for row in rows]


async def test_what_one_process_changes_the_next_event_of_another_sees(
    ingest: Ingesting, database_url: str, connection: Connection
) -> None:
    async with ingesting(database_url) as other:
        await eventually(lambda: listener(connection), what="they listen")
        event = incoming(padoca(token="one"), "padoca")
        assert await outcome(other, event) == "QUARANTINED PLATFORM_UNKNOWN"
        await put(ingest, TOKEN_IN_BODY, secrets='secrets = ["token"]')
        assert await outcome(ingest, event) == "ACCEPTED", "at once in the process that answers"

        async def becomes(expected: str, what: str) -> None:
            async def is_so() -> bool:
                return await outcome(other, event) == expected

            await eventually(is_so, SOON, what)

        await becomes("DUPLICATE", "the other process knows the mapping")
        secret = endpoint_service_pb2.PutSigningSecretRequest(company_id="acme", source="padoca", secret="two")
        await ingest.endpoints.PutSigningSecret(secret)
        await becomes("REJECTED SIGNATURE_WRONG", "… the secret")
        await ingest.endpoints.DeleteSigningSecret(
            endpoint_service_pb2.DeleteSigningSecretRequest(company_id="acme", source="padoca")
        )
        await becomes("DUPLICATE", "… that it is gone")
        await ingest.stub.DeletePlatformMapping(pb.DeletePlatformMappingRequest(company_id="acme", name="padoca"))
        await becomes("QUARANTINED PLATFORM_UNKNOWN", "… and that the mapping is")


async def test_another_process_closes_its_door_too(
    ingest: Ingesting, database_url: str, connection: Connection
) -> None:
    made = await ingest.endpoints.CreateEndpoint(
        endpoint_service_pb2.CreateEndpointRequest(company_id="acme", platform="grapfy")
    )
    async with ingesting(database_url) as other:

        async def status(token: str) -> int:
            return (await post(other.http, f"/v1/hooks/{token}", grapfy())).status

        await eventually(lambda: listener(connection), what="they listen")
        assert await status(made.token) == 200
        endpoint_id = made.endpoint.endpoint_id
        rotation = endpoint_service_pb2.RotateEndpointRequest(company_id="acme", endpoint_id=endpoint_id)
        rotation.keep_old.FromTimedelta(timedelta(0))
        rotated = await ingest.endpoints.RotateEndpoint(rotation)

        async def answers(token: str, expected: int) -> None:
            async def is_so() -> bool:
                return await status(token) == expected

            await eventually(is_so, SOON, f"the door answers {expected}")

        await answers(made.token, 404)
        await answers(rotated.token, 200)
        await ingest.endpoints.RevokeEndpoint(
            endpoint_service_pb2.RevokeEndpointRequest(company_id="acme", endpoint_id=endpoint_id)
        )
        await answers(rotated.token, 410)


async def test_a_lost_listener_comes_back(ingest: Ingesting, connection: Connection) -> None:
    [pid] = await eventually(lambda: listener(connection), what="it listens")
    event = incoming(padoca(), "padoca")
    assert await outcome(ingest, event) == "QUARANTINED PLATFORM_UNKNOWN"
    await put_quietly(connection, mapping())
    assert await connection.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)

    async def is_understood() -> bool:
        return await outcome(ingest, event) != "QUARANTINED PLATFORM_UNKNOWN"

    await eventually(is_understood, SOON, "what was remembered went with the listener")

    async def listens_anew() -> bool:
        return (await listener(connection)) not in ([], [pid])

    await eventually(listens_anew, what="it listens again")
    await put_quietly(connection, mapping(total="cliente"))
    await connection.execute("SELECT pg_notify('hookline_rules', 'acme')")

    async def is_told() -> bool:
        return await outcome(ingest, incoming(padoca(2), "padoca")) == "QUARANTINED TOTAL_MALFORMED"

    await eventually(is_told, SOON, "it is told again")


async def test_without_a_word_what_is_remembered_ends(registry: Registry, connection: Connection) -> None:
    assert (await registry.rules("acme")).platforms == {}
    assert registry.cached("acme") is not None
    assert registry.cached("bolt") is None
    await put_quietly(connection, mapping())
    assert (await registry.rules("acme")).platforms == {}
    await eventually(lambda: registry.cached("acme") is None, 5, "it ends")
    assert list((await registry.rules("acme")).platforms) == ["padoca"]
    await connection.execute("DELETE FROM hookline.platform_mappings")
    assert (await registry.fresh_rules("acme")).platforms == {}
    cached = registry.cached("acme")
    assert cached is not None
    assert cached.platforms == {}


async def test_a_change_while_it_is_read_is_not_overlooked(registry: Registry, connection: Connection) -> None:
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("LOCK hookline.platform_mappings")
    reading = asyncio.ensure_future(registry.rules("acme"))
    joining = asyncio.ensure_future(registry.rules("acme"))
    await asyncio.sleep(0.05)
    registry.forget("acme")
    await transaction.rollback()
    assert await reading is await joining, "read once for both"
    assert registry.cached("acme") is None, "what was read may be from before the change"


async def test_one_that_goes_away_does_not_take_the_others_rules_along(
    registry: Registry, connection: Connection
) -> None:
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("LOCK hookline.platform_mappings")
    first, second = (asyncio.ensure_future(registry.rules("acme")) for _ in range(2))
    await asyncio.sleep(0.05)
    first.cancel()
    await transaction.rollback()
    assert (await second).platforms == {}


async def test_what_is_remembered_is_bounded(
    pool: db.Pool, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_COMPANIES", 3)
    bounded = Registry(pool, Vault(SECRET_KEY))
    for number in range(5):
        await bounded.rules(f"c{number}")
    assert [bounded.cached(f"c{number}") is not None for number in range(5)] == [False, False, True, True, True]


async def test_tokens_that_can_be_none_are_not_looked_up(connection: Connection) -> None:
    class NoPool:
        def acquire(self) -> None:
            raise AssertionError("asked PostgreSQL")

    registry = Registry(NoPool(), Vault(SECRET_KEY))
    token = new_token("acme")
    for made_up in (
        "",
        "acme",
        "acme.",
        token[:-1],
        token + "x",
        token[5:],
        "a b" + token[4:],
        token + "\n",
        "." + token,
    ):
        assert await registry.endpoint(made_up) is None, made_up


async def test_unknown_tokens_are_remembered_for_a_moment(
    registry: Registry, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    find = control_store.find_endpoint

    async def counted(*arguments: Any) -> object:
        nonlocal asked
        asked += 1
        return await find(*arguments)

    monkeypatch.setattr(control_store, "find_endpoint", counted)
    token = new_token("acme")
    assert [await registry.endpoint(token) for _ in range(5)] == [None] * 5
    assert asked == 1
    endpoint = await control_store.create_endpoint(
        connection, "acme", "loja", "grapfy", token_digest(token), token[-4:]
    )

    async def is_known() -> bool:
        return await registry.endpoint(token) is not None

    await eventually(is_known, 5, "a moment later it is asked for again")
    door = await registry.endpoint(token)
    assert door is not None
    assert (door.company_id, door.source, door.platform, door.endpoint_id, door.revoked) == (
        *("acme", "loja", "grapfy", str(endpoint.endpoint_id), False),
    )
    assert asked < 100


async def test_a_scan_keeps_nobody_out(pool: db.Pool, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    answer = asyncio.Event()
    find = control_store.find_endpoint

    async def held(one: Connection, company_id: str, token_sha256: bytes) -> object:
        asked.append(token_sha256)
        if token_sha256 not in known:
            await answer.wait()
        return await find(one, company_id, token_sha256)

    monkeypatch.setattr(control_store, "find_endpoint", held)
    monkeypatch.setattr(module, "MOST_STRANGERS", 3)
    registry = Registry(pool, Vault(SECRET_KEY))
    token = new_token("acme")
    known = {token_digest(token)}
    await control_store.create_endpoint(connection, "acme", "loja", "grapfy", token_digest(token), token[-4:])
    for _ in range(2):
        assert await registry.endpoint(token) is not None
    asked.clear()
    scan = [asyncio.ensure_future(registry.endpoint(new_token("acme"))) for _ in range(20)]
    try:
        await eventually(lambda: len(asked) >= module.STRANGERS_AT_ONCE, what="some of the scan are looked up")
        # What is remembered is gone, and connections are left to ask again.
        registry.forget("acme")
        async with asyncio.timeout(10):
            assert await registry.endpoint(token) is not None
        assert len(asked) == module.STRANGERS_AT_ONCE + 1
    finally:
        answer.set()
    assert await asyncio.gather(*scan) == [None] * 20
    assert await registry.endpoint(token) is not None
    assert asked.count(token_digest(token)) == 1, "nobody pushes it out"


async def test_a_database_that_is_away_for_a_moment_is_waited_for(database_url: str) -> None:
    async with proxied(database_url) as proxy, await db.open_pool(proxy.url, 2) as pool:
        registry = Registry(pool, Vault(SECRET_KEY))
        proxy.break_connections()
        assert (await registry.rules("acme")).platforms == {}
        proxy.cut()
        with pytest.raises(DatabaseUnavailable):
            await registry.rules("bolt")
        with pytest.raises(DatabaseUnavailable):
            await registry.endpoint(new_token("acme"))
        assert registry.cached("acme") is not None
