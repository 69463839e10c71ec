"""How much a company gets in a second: by a clock that the test turns."""

from contextlib import suppress

import pytest

from hookline.ingest.v1.ingest_service_pb2 import IngestEventRequest
from shared import limits
from shared.errors import LimitReached
from shared.limits import Limiter, Limits, patiently

REQUEST = IngestEventRequest(company_id="acme")


class Clock:
    """Tells the time that it is set to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def admitted(limiter: Limiter, times: int, company: str = "acme") -> int:
    """How many of so many requests get in."""
    count = 0
    for _ in range(times):
        with suppress(LimitReached):
            limiter.request(company, REQUEST)
            count += 1
    return count


def test_without_limits_all_get_in(clock: Clock) -> None:
    limiter = Limiter(clock=clock)
    assert limiter.is_idle
    assert admitted(limiter, 1000) == 1000
    limiter.events("acme", 10**9)
    limiter.body("acme", 10**9)
    limiter.hook("acme")
    with limiter.exporting("acme"), limiter.exporting("acme"):
        pass


def test_as_many_as_the_limit_says_and_no_more(clock: Clock) -> None:
    limiter = Limiter(Limits(requests_per_second=5), clock=clock)
    assert admitted(limiter, 100) == 5
    clock.now += 0.3
    assert admitted(limiter, 100) == 1
    # What is not used adds up, for a second.
    clock.now += 60
    assert admitted(limiter, 100) == 5
    count = 0
    for _ in range(100):
        clock.now += 0.1
        count += admitted(limiter, 20)
    assert count == 50


def test_what_is_told_to_wait_gets_in_then(clock: Clock) -> None:
    limiter = Limiter(Limits(requests_per_second=3), clock=clock)
    admitted(limiter, 3)
    for _ in range(100):
        with pytest.raises(LimitReached) as refused:
            limiter.request("acme", REQUEST)
        clock.now += refused.value.retry_seconds + 0.001
        limiter.request("acme", REQUEST)


def test_one_company_takes_nothing_from_another(clock: Clock) -> None:
    limiter = Limiter(Limits(requests_per_second=5), clock=clock)
    assert admitted(limiter, 100) == 5
    assert admitted(limiter, 5, "bolt") == 5


def test_what_is_larger_than_a_second_gets_in_and_is_owed(clock: Clock) -> None:
    limiter = Limiter(Limits(events_per_second=100), clock=clock)
    limiter.events("acme", 1000)
    with pytest.raises(LimitReached) as refused:
        limiter.events("acme", 1)
    assert refused.value.metadata == {"limit": "events"}
    assert refused.value.retry_seconds == pytest.approx(9.01)
    clock.now += 9.02
    limiter.events("acme", 1)


def test_less_than_one_a_second(clock: Clock) -> None:
    limiter = Limiter(Limits(requests_per_second=0.1), clock=clock)
    assert admitted(limiter, 1) == 1
    with pytest.raises(LimitReached) as refused:
        limiter.request("acme", REQUEST)
    assert refused.value.retry_seconds == pytest.approx(10)
    clock.now += 10
    assert admitted(limiter, 1) == 1


def test_bytes_are_those_of_the_request(clock: Clock) -> None:
    limiter = Limiter(Limits(bytes_per_second=REQUEST.ByteSize() * 2), clock=clock)
    limiter.request("acme", REQUEST)
    limiter.request("acme", REQUEST)
    with pytest.raises(LimitReached, match="bytes a second"):
        limiter.request("acme", REQUEST)
    limiter.body("bolt", 10_000)
    with pytest.raises(LimitReached, match="bytes a second"):
        limiter.body("bolt", 1)


def test_who_waits_for_one_limit_pays_no_other(clock: Clock) -> None:
    limiter = Limiter(Limits(requests_per_second=2, bytes_per_second=10, events_per_second=2), clock=clock)
    limiter.body("bolt", 20)
    limiter.request("acme", IngestEventRequest(company_id="x" * 20))
    for _ in range(10):
        with pytest.raises(LimitReached, match="bytes a second"):
            limiter.request("acme", REQUEST)
        with pytest.raises(LimitReached, match="bytes a second"):
            limiter.body("bolt", 1)
    # One of two requests is left, and one of two events.
    limiter.hook("acme")
    with pytest.raises(LimitReached, match="requests a second"):
        limiter.hook("acme")
    limiter.events("bolt", 1)
    with pytest.raises(LimitReached, match="events a second"):
        limiter.events("bolt", 1)
    # And the other way round.
    limiter.events("dora", 2)
    with pytest.raises(LimitReached, match="events a second"):
        limiter.body("dora", 100)
    clock.now += 0.5
    limiter.body("dora", 1)


def test_each_process_has_its_share(clock: Clock) -> None:
    limiter = Limiter(Limits(requests_per_second=40, concurrent_exports=3), share=1 / 4, clock=clock)
    assert admitted(limiter, 100) == 10
    with limiter.exporting("acme"), pytest.raises(LimitReached, match="exports at once"), limiter.exporting("acme"):
        pass


def test_exports_are_counted_while_they_run(clock: Clock) -> None:
    limiter = Limiter(Limits(concurrent_exports=2), clock=clock)
    for _ in range(3):
        with limiter.exporting("acme"), limiter.exporting("acme"), limiter.exporting("bolt"):
            with pytest.raises(LimitReached) as refused, limiter.exporting("acme"):
                pass
            assert refused.value.metadata == {"limit": "exports"}


def test_limits_of_a_companys_own(clock: Clock) -> None:
    limiter = Limiter(Limits(requests_per_second=5, events_per_second=1), clock=clock)
    limiter.use({"bolt": limiter.filled(Limits(requests_per_second=50))})
    assert limiter.filled(Limits(requests_per_second=50)).events_per_second == 1
    assert admitted(limiter, 100) == 5
    assert admitted(limiter, 100, "bolt") == 50
    # Changed, they count anew.
    limiter.use({"bolt": limiter.filled(Limits(requests_per_second=7))})
    assert admitted(limiter, 100, "bolt") == 7
    limiter.use({})
    assert admitted(limiter, 100, "bolt") == 5
    assert not limiter.is_idle
    alone = Limiter(clock=clock)
    alone.use({"bolt": Limits(requests_per_second=1)})
    assert (admitted(alone, 10), admitted(alone, 10, "bolt")) == (10, 1)


def test_who_has_all_again_is_forgotten(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MANY_BUCKETS", 10)
    limiter = Limiter(Limits(requests_per_second=1), clock=clock)
    for number in range(1000):
        assert admitted(limiter, 2, f"company-{number}") == 1
        clock.now += 0.5
    assert len(limiter._buckets) < 30


async def test_streams_wait_until_it_lets_them() -> None:
    limiter = Limiter(Limits(events_per_second=1000))
    limiter.events("acme", 1050)
    await patiently(lambda: limiter.events("acme", 1))
