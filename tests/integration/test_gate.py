"""The gate by itself: what it asks the database, and that those who guess don't stand in the way of the others."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared import db, token_store
from shared import gate as subject
from shared.auth import Scope, new_token
from shared.db import Connection
from shared.errors import DatabaseUnavailable, ScopeMissing, Unauthenticated
from shared.gate import Gate
from shared.internal import InternalTokens
from tests.in_process import SECRET_KEY
from tests.tokens import bearer, token_of
from tests.waiting import eventually


class Asked:
    """Counts what is asked, and can let those who are unknown wait."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self._find = token_store.find_token
        monkeypatch.setattr(token_store, "find_token", self._counted)

    async def _counted(self, *arguments: Any) -> Any:
        self.count += 1
        found = await self._find(*arguments)
        if found is None:
            await self.may_go_on.wait()
        return found


@pytest.fixture
async def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


@pytest.fixture
async def gate(database_url: str) -> AsyncIterator[Gate]:
    async with await db.open_pool(database_url, 2) as pool:
        yield Gate(pool, InternalTokens(SECRET_KEY), fresh_seconds=60)


async def test_a_token_is_asked_for_once_good_or_not(gate: Gate, asked: Asked, connection: Connection) -> None:
    good, nobody_s = await token_of(connection, "acme", "export"), new_token("acme")
    for _ in range(3):
        caller = await gate.admit(bearer(good), Scope.EXPORT)
        with pytest.raises(ScopeMissing):
            await gate.admit(bearer(good), Scope.ADMIN)
        with pytest.raises(Unauthenticated):
            await gate.admit(bearer(nobody_s), Scope.EXPORT)
    assert (caller.company_id, caller.scopes) == ("acme", frozenset({Scope.EXPORT}))
    assert asked.count == 2
    gate.forget("bolt")
    await gate.admit(bearer(good), Scope.EXPORT)
    assert asked.count == 2
    gate.forget("acme")
    await gate.admit(bearer(good), Scope.EXPORT)
    assert asked.count == 3


async def test_what_is_no_token_is_not_asked_for(gate: Gate, asked: Asked) -> None:
    for text in ("", "x", "hk_acme", "hk_acme.short", f"acme.{'x' * 43}", f"hk_a/b.{'x' * 43}", f"hk_.{'x' * 43}"):
        with pytest.raises(Unauthenticated):
            await gate.admit(bearer(text), Scope.EXPORT)
    for metadata in (None, [], [("x-request-id", "1")]):
        with pytest.raises(Unauthenticated, match="asks for a token"):
            await gate.admit(metadata, Scope.EXPORT)
    assert asked.count == 0


async def test_who_guesses_does_not_hold_up_who_was_let_in(gate: Gate, asked: Asked, connection: Connection) -> None:
    good = await token_of(connection, "acme")
    await gate.admit(bearer(good), Scope.EXPORT)
    asked.may_go_on.clear()
    guessing = [asyncio.create_task(gate.admit(bearer(new_token("acme")), Scope.EXPORT)) for _ in range(20)]
    async with asyncio.timeout(5):
        await eventually(lambda: asked.count == 2, what="one of them asks")
        # It is read anew, past twenty who wait.
        gate._callers.drop(lambda _key: True)
        await gate.admit(bearer(good), Scope.EXPORT)
    asked.may_go_on.set()
    for ended in await asyncio.gather(*guessing, return_exceptions=True):
        assert isinstance(ended, Unauthenticated)


async def test_who_has_gone_away_holds_up_nobody(gate: Gate, asked: Asked, connection: Connection) -> None:
    asked.may_go_on.clear()
    guessing = [asyncio.create_task(gate.admit(bearer(new_token("acme")), Scope.EXPORT)) for _ in range(20)]
    async with asyncio.timeout(5):
        await eventually(lambda: asked.count == 1, what="one of them asks")
        for one in guessing:
            one.cancel()
        await asyncio.gather(*guessing, return_exceptions=True)
        # New to this process, as all are after its start.
        await gate.admit(bearer(await token_of(connection, "acme")), Scope.EXPORT)
    assert asked.count == 2, "the others are not asked for any more"


async def test_one_who_goes_away_takes_nothing_from_who_waits_for_the_same(gate: Gate, asked: Asked) -> None:
    asked.may_go_on.clear()
    token = bearer(new_token("acme"))
    going, staying = (asyncio.create_task(gate.admit(token, Scope.EXPORT)) for _ in range(2))
    await eventually(lambda: asked.count == 1, what="they ask")
    going.cancel()
    await asyncio.gather(going, return_exceptions=True)
    asked.may_go_on.set()
    with pytest.raises(Unauthenticated):
        await staying
    assert asked.count == 1


async def test_of_strangers_only_so_many_wait(
    gate: Gate, asked: Asked, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "MOST_STRANGERS", 5)
    good = bearer(await token_of(connection, "acme"))
    await gate.admit(good, Scope.EXPORT)
    asked.may_go_on.clear()
    guessing = [asyncio.create_task(gate.admit(bearer(new_token("acme")), Scope.EXPORT)) for _ in range(8)]
    await eventually(lambda: len([one for one in guessing if one.done()]) == 3, what="three are one too many")
    gate.forget("acme")
    async with asyncio.timeout(5):
        await gate.admit(good, Scope.EXPORT)
    asked.may_go_on.set()
    ended = await asyncio.gather(*guessing, return_exceptions=True)
    assert [type(one) for one in ended] == [Unauthenticated] * 5 + [DatabaseUnavailable] * 3
