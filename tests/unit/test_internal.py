"""What services prove themselves to each other with: ours, for a short while, for ingest only."""

import pytest

from shared.auth import Caller, Scope
from shared.internal import PREFIX, SECONDS, InternalTokens
from shared.signing import Signer

NOW = 1_800_000_000.0


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(clock: Clock) -> InternalTokens:
    return InternalTokens("a key", clock)


def test_it_says_which_service_calls_and_opens_ingest_of_any_company(tokens: InternalTokens) -> None:
    assert tokens.caller(tokens.source("sync-worker")()) == Caller("", frozenset({Scope.INGEST}), "service sync-worker")


def test_it_is_made_anew_before_it_ends(tokens: InternalTokens, clock: Clock) -> None:
    token = tokens.source("sync")
    first = token()
    clock.now += SECONDS / 2
    assert token() == first
    assert tokens.caller(first)
    clock.now += 1
    second = token()
    assert second != first
    clock.now = NOW + SECONDS - 1
    assert tokens.caller(first)
    clock.now = NOW + SECONDS
    assert tokens.caller(first) is None
    assert tokens.caller(second)


def test_one_that_is_good_for_longer_than_any_is_refused(clock: Clock) -> None:
    ahead = Clock()
    ahead.now = NOW + SECONDS
    assert InternalTokens("a key", clock).caller(InternalTokens("a key", ahead).source("sync")())
    ahead.now += 1
    assert InternalTokens("a key", clock).caller(InternalTokens("a key", ahead).source("sync")()) is None


def test_nobody_else_can_make_one(tokens: InternalTokens, clock: Clock) -> None:
    good = tokens.source("sync")()
    bad = [
        InternalTokens("another key", clock).source("sync")(),
        # Signed with the key, for something else.
        PREFIX + Signer("a key", "page token").sign(b'["sync",%d]' % (NOW + 10)),
        # Signed, and nothing that we sign.
        *(PREFIX + Signer("a key", "internal").sign(body) for body in (b"", b"[]", b'["sync","soon"]', b"\xff")),
        *(
            good[:place] + ("A" if good[place] != "A" else "B") + good[place + 1 :]
            for place in range(len(PREFIX), len(good))
        ),
        good + "=",
        good[:-1],
        PREFIX,
        "",
        PREFIX + "é",
    ]
    for token in bad:
        assert tokens.caller(token) is None, token
