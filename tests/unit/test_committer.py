"""Whose batch is committed when: turns of companies, with a store that commits when the test says so."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from services.ingest import committer, store
from services.ingest.committer import BATCH_EVENTS, EVENT_BYTES, Committer, Outcome, Result
from services.ingest.erased_keys import ErasedKeys
from services.ingest.mapping import Mapped, Reason, Rejected, SetAside
from shared.errors import DatabaseUnavailable, IngestQueueFull, ServerStopping


class Pool:
    """A pool that always has a connection."""

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[None]:
        yield


class Store:
    """Notes what it is to commit: `begun` are companies in order, `under_way` the batches to be committed."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.looked_first: list[bool] = []
        self.known = 0
        self.most = 0
        self.under_way: list[tuple[str, int, asyncio.Future[None]]] = []
        self.error: Exception | None = None

    async def store_events(
        self,
        connection: None,
        company_id: str,
        candidates: Sequence[store.Candidate],
        _erased: ErasedKeys,
        *,
        look_first: bool,
    ) -> list[store.Stored]:
        committed = asyncio.get_running_loop().create_future()
        self.begun.append(company_id)
        self.looked_first.append(look_first)
        self.under_way.append((company_id, len(candidates), committed))
        self.most = max(self.most, len(self.under_way))
        await committed
        return [store.Stored(one.event_id, 1, is_new=place >= self.known) for place, one in enumerate(candidates)]

    async def commit(self, company: str = "") -> None:
        """Commits the batch that began first, of the company if one is named."""
        [place, *_] = [place for place, (one, *_) in enumerate(self.under_way) if company in ("", one)]
        _, _, committed = self.under_way.pop(place)
        if self.error is None:
            committed.set_result(None)
        else:
            committed.set_exception(self.error)
        await settled()

    async def commit_all(self) -> None:
        while self.under_way:
            await self.commit()

    @property
    def companies(self) -> list[str]:
        return sorted(company for company, *_ in self.under_way)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Store:
    one = Store()
    monkeypatch.setattr(store, "store_events", one.store_events)
    return one


Make = Callable[..., Committer]


@pytest.fixture
def make(slow: Store, monkeypatch: pytest.MonkeyPatch) -> Make:
    # Until the test says so.
    monkeypatch.setattr(committer, "LINGER_SECONDS", 3600)

    def made(writers: int = 2, max_queued_bytes: int = 2**26) -> Committer:
        return Committer(Pool(), writers, max_queued_bytes, ErasedKeys(""))

    return made


async def settled() -> None:
    """Lets everything happen that waits for nothing."""
    for _ in range(20):
        await asyncio.sleep(0)


async def end_linger(one: Committer, company: str) -> None:
    """Does what the timer does."""
    one._end_linger(one._queues[company])
    await settled()


def mapped(payload: bytes = b"{}") -> Mapped:
    names: dict[str, Any] = dict.fromkeys(Mapped.__struct_fields__)
    return Mapped(**{**names, "source": "shop", "dedup_key": "k", "payload": payload, "payload_sha256": b""})


async def flood(one: Committer, company: str, batches: int = 5) -> list[committer.Results]:
    results = [await one.submit(company, [mapped()] * BATCH_EVENTS, wait=True) for _ in range(batches)]
    await settled()
    return results


async def test_a_newcomer_waits_for_no_batch_of_one_that_floods(make: Make, slow: Store) -> None:
    one = make(writers=2)
    await flood(one, "flood")
    assert slow.companies == ["flood", "flood"]
    result = await one.submit("newcomer", [mapped()], wait=False)
    await settled()
    assert slow.companies == ["flood", "flood", "newcomer"]
    await slow.commit("newcomer")
    assert result.done()
    assert slow.companies == ["flood", "flood"]
    await slow.commit_all()
    assert slow.most == 3


async def test_where_all_writers_have_companies_a_newcomer_waits_for_one_batch(make: Make, slow: Store) -> None:
    one = make(writers=2)
    await flood(one, "a")
    await flood(one, "b")
    # Two of the first, and the first of the second.
    assert slow.companies == ["a", "a", "b"]
    await one.submit("newcomer", [mapped()], wait=False)
    await settled()
    assert "newcomer" not in slow.begun
    await slow.commit("b")
    assert slow.begun[-1] == "newcomer"
    await slow.commit_all()


async def test_companies_take_turns(make: Make, slow: Store) -> None:
    one = make(writers=1)
    for company in ("a", "b", "c"):
        await flood(one, company, batches=3)
    await slow.commit_all()
    assert slow.begun == ["a", "b", "c"] * 3
    assert slow.most == 1


async def test_a_second_batch_takes_no_turn_from_a_company_without_one(make: Make, slow: Store) -> None:
    one = make(writers=3)
    for company in ("a", "b", "c", "d"):
        await flood(one, company, batches=4)
    await slow.commit("a")
    while "a" in slow.companies:
        await slow.commit("a")
    # As soon as there was room, one of each was under way.
    await slow.commit_all()
    firsts = [slow.begun.index(company) for company in ("a", "b", "c", "d")]
    assert firsts == sorted(firsts)
    # Never more than three companies, nor more than one batch beyond the writers.
    assert slow.most == 4


async def test_a_second_batch_begins_only_where_enough_is_queued(make: Make, slow: Store) -> None:
    one = make(writers=2)
    await one.submit("a", [mapped()], wait=False)
    await one.submit("a", [mapped()] * (committer.SECOND_BATCH_EVENTS - 1), wait=False)
    await settled()
    assert slow.companies == ["a"]
    await one.submit("a", [mapped()], wait=False)
    await settled()
    assert slow.companies == ["a", "a"]
    await slow.commit_all()


async def test_the_rest_of_a_request_waits_for_its_first_part(make: Make, slow: Store) -> None:
    one = make(writers=2)
    result = await one.submit("a", [mapped()] * (3 * BATCH_EVENTS), wait=False)
    await settled()
    assert slow.companies == ["a"]
    await slow.commit()
    assert slow.companies == ["a"]
    assert not result.done()
    await slow.commit_all()
    assert slow.begun == ["a"] * 3
    assert result.done()


async def test_where_many_were_known_the_next_batch_looks_first(make: Make, slow: Store) -> None:
    one = make(writers=1)
    slow.known = BATCH_EVENTS // 4
    await flood(one, "a", batches=3)
    await slow.commit()
    slow.known = BATCH_EVENTS // 10
    await slow.commit()
    await slow.commit()
    assert slow.looked_first == [False, True, False]


async def test_what_comes_meanwhile_goes_along_and_lingers_for_more(make: Make, slow: Store) -> None:
    one = make(writers=2)
    for _ in range(3):
        await one.submit("a", [mapped()], wait=False)
        await settled()
    assert [count for _, count, _ in slow.under_way] == [1]
    await slow.commit()
    # One caller alone before: nobody is waited for.
    assert [count for _, count, _ in slow.under_way] == [2]
    await one.submit("a", [mapped()], wait=False)
    await slow.commit()
    await one.submit("a", [mapped()], wait=False)
    await settled()
    assert slow.under_way == []
    await end_linger(one, "a")
    assert [count for _, count, _ in slow.under_way] == [2]
    # Enough are there: nobody is waited for.
    await one.submit("a", [mapped()], wait=False)
    await slow.commit()
    for _ in range(committer.LINGER_EVENTS - 1):
        await one.submit("a", [mapped()], wait=False)
    await settled()
    assert [count for _, count, _ in slow.under_way] == [committer.LINGER_EVENTS]
    await slow.commit_all()
    await one.close()
    assert slow.begun == ["a"] * 4


async def test_tiny_events_are_bounded_by_their_number(make: Make, slow: Store) -> None:
    one = make(max_queued_bytes=100 * EVENT_BYTES)
    for _ in range(50):
        await one.submit("a", [mapped(b"")], wait=False)
    with pytest.raises(IngestQueueFull):
        await one.submit("a", [mapped(b"")], wait=False)
    # What is rejected has its answer, whatever is queued.
    [result] = await (await one.submit("a", [Rejected(Reason.PAYLOAD_EMPTY, "")], wait=False))
    assert result == Result(Outcome.REJECTED, reason=Reason.PAYLOAD_EMPTY)
    await settled()
    await slow.commit_all()
    await one.submit("a", [mapped(b"")] * 50, wait=False)
    await settled()
    await slow.commit_all()


async def test_what_is_rejected_or_has_headers_counts_too(make: Make, slow: Store) -> None:
    one = make(max_queued_bytes=100 * EVENT_BYTES)
    rejected = Rejected(Reason.PAYLOAD_EMPTY, "")
    await one.submit("a", [mapped(b""), *[rejected] * 49], wait=False)
    with pytest.raises(IngestQueueFull):
        await one.submit("a", [mapped(b"")], wait=False)
    aside = SetAside("s", "p", Reason.TYPE_MISSING, "", b"", headers={"x-topic": "x" * 60 * EVENT_BYTES})
    await one.submit("b", [mapped()], wait=False)
    with pytest.raises(IngestQueueFull):
        await one.submit("b", [aside], wait=False)
    await settled()
    await slow.commit_all()


async def test_a_batch_that_fails_gives_its_room_back(make: Make, slow: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "_RETRY_SECONDS", ())
    one = make(max_queued_bytes=4 * BATCH_EVENTS * EVENT_BYTES)
    slow.error = OSError()
    # Its second part fails by itself.
    result = await one.submit("a", [mapped(b"")] * (BATCH_EVENTS + 1), wait=False)
    waiting = asyncio.create_task(one.submit("a", [mapped(b"")] * BATCH_EVENTS, wait=True))
    await settled()
    assert not waiting.done()
    await slow.commit()
    with pytest.raises(DatabaseUnavailable):
        await result
    await slow.commit()
    assert waiting.done()
    slow.error = None
    await slow.commit_all()
    assert (await (await waiting))[0].outcome is Outcome.ACCEPTED


async def test_closing_waits_for_what_is_queued(make: Make, slow: Store) -> None:
    one = make()
    await one.close()
    one = make()
    results = await flood(one, "a", batches=2)
    closing = asyncio.create_task(one.close())
    await settled()
    with pytest.raises(ServerStopping):
        await one.submit("a", [mapped()], wait=True)
    assert not closing.done()
    await slow.commit_all()
    await closing
    assert all(result.done() for result in results)
