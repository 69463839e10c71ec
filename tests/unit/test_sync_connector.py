"""What is asked of a platform, how often, and after what wait: against a real HTTP server."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import aiohttp
import pytest
from aiohttp import web

from services.sync import connector as subject
from services.sync.connector import ATTEMPTS, LONGEST_WAIT, Connector, Endpoint, TryLater, backoff, check_base_url
from services.sync.history import Cursor, Refused
from shared.platforms import platforms

START = Cursor("2026-10-01T00:00:00.000Z")
PAGE = b'{"events":[{"id":"a","createdAt":"2026-10-01T00:00:01Z","payload":{"n":1}}]}'

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Platform:
    """A server that gives prepared answers in turn, the last one for ever. `connector` has a first wait of 1 ms."""

    def __init__(self, session: aiohttp.ClientSession, answers: Sequence[Answer | web.Response]) -> None:
        self.session = session
        self.requests: list[web.Request] = []
        self.times: list[float] = []
        self._answers = list(answers)
        self.url = ""

    def connector(self, base_url: str | None = None) -> Connector:
        history = platforms()["grapfy"].history
        assert history is not None
        endpoint = Endpoint(base_url or self.url, "the-token", {"webhookSettingId": "a b+c&d"}, history)
        return Connector(self.session, endpoint, first_wait=0.001)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        self.times.append(time.monotonic())
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, web.Response):
            return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
        return await answer(request)


@asynccontextmanager
async def platform(*answers: Answer | web.Response) -> AsyncIterator[Platform]:
    async with aiohttp.ClientSession() as session:
        made = Platform(session, answers)
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", made.answer)
        runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        made.url = f"http://{host}:{port}"
        try:
            yield made
        finally:
            await runner.cleanup()


def page() -> web.Response:
    return web.Response(body=PAGE)


def failing(status: int, **headers: str) -> web.Response:
    return web.Response(status=status, headers={name.replace("_", "-"): value for name, value in headers.items()})


async def test_asks_as_the_platforms_file_says() -> None:
    async with platform(page()) as made:
        got = await made.connector(made.url + "/api/").page(Cursor("2026-10-01T00:00:00+00:00"))
    assert got.payloads == [b'{"n":1}']
    [request] = made.requests
    assert (request.method, request.path) == ("GET", "/api/webhook-events")
    assert dict(request.query) == {
        "webhookSettingId": "a b+c&d",
        "since": "2026-10-01T00:00:00+00:00",
        "limit": "100",
    }
    assert request.headers["Authorization"] == "Bearer the-token"


async def broken_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_length = len(PAGE)
    await response.prepare(request)
    await response.write(PAGE[:20])
    assert request.transport
    request.transport.close()
    return response


@pytest.mark.parametrize(
    "bad",
    [failing(429), failing(500), failing(502), failing(503), web.Response(body=PAGE[:-1]), broken_off],
    ids=["429", "500", "502", "503", "truncated", "broken_off"],
)
async def test_what_may_get_better_is_asked_again(bad: Answer | web.Response) -> None:
    async with platform(bad, bad, page()) as made:
        connector = made.connector()
        assert (await connector.page(START)).payloads == [b'{"n":1}']
        assert len(made.requests) == 3
        assert connector.retries == 2


async def test_a_connection_that_ends_without_an_answer_is_tried_again() -> None:
    async def hang_up(request: web.Request) -> web.StreamResponse:
        assert request.transport
        request.transport.close()
        await asyncio.Event().wait()
        raise AssertionError

    # aiohttp itself asks once more where the connection had been used before.
    async with platform(page(), hang_up, hang_up, page()) as made:
        connector = made.connector()
        for _ in range(2):
            assert (await connector.page(START)).payloads == [b'{"n":1}']
        assert len(made.requests) == 4
        assert 1 <= connector.retries <= 2


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (failing(400), "answers 400"),
        (failing(401), "refuses the credential"),
        (failing(403), "refuses the credential"),
        (failing(404), "answers 404"),
        (failing(204), "answers 204"),
        (failing(302, Location="/elsewhere"), "answers 302"),
        (web.Response(body=b'{"error":"no"}'), "has no 'events'"),
    ],
)
async def test_what_needs_a_person_is_asked_once(answer: web.Response, says: str) -> None:
    async with platform(answer, page()) as made:
        connector = made.connector()
        with pytest.raises(Refused, match=says):
            await connector.page(START)
        assert len(made.requests) == 1
        assert connector.retries == 0


async def test_gives_up_after_its_attempts_and_says_why() -> None:
    async with platform(failing(503)) as made:
        connector = made.connector()
        with pytest.raises(TryLater, match="answers 503"):
            await connector.page(START)
        assert len(made.requests) == ATTEMPTS
        assert connector.retries == ATTEMPTS - 1
        with pytest.raises(TryLater):
            await connector.page(START, attempts=1)
        assert len(made.requests) == ATTEMPTS + 1


async def test_one_that_does_not_answer_or_is_not_there_is_tried_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "TIMEOUT", aiohttp.ClientTimeout(total=0.05))

    async def silent(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with platform(silent) as made:
        with pytest.raises(TryLater, match="did not answer in time"):
            await made.connector().page(START, attempts=1)
        gone = made.connector("http://127.0.0.1:1")
        with pytest.raises(TryLater, match="can't be reached"):
            await gone.page(START, attempts=1)


async def test_an_answer_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "MAX_BODY_BYTES", 1024 * 1024)

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 65536)

    async with platform(endless) as made:
        with pytest.raises(Refused, match="larger than 1 MiB"):
            await made.connector().page(START)


async def test_retry_after_in_seconds_is_waited_for() -> None:
    async with platform(failing(429, Retry_After="1"), page()) as made:
        await made.connector().page(START)
        before, after = made.times
        assert 0.99 <= after - before < 5


async def test_retry_after_as_a_date_is_waited_for() -> None:
    # Whole seconds: at least one to wait, however far into its second the clock is.
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    async with platform(failing(503, Retry_After=date), page()) as made:
        await made.connector().page(START)
        before, after = made.times
        assert 0.9 <= after - before < 5


@pytest.mark.parametrize(
    "header", ["", "soon", "-5", "1e3", "0", "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 99 Foo 2026 00:00:00", "²"]
)
async def test_a_retry_after_that_says_nothing_does_no_harm(header: str) -> None:
    async with platform(failing(429, Retry_After=header), page()) as made:
        await made.connector().page(START)
        before, after = made.times
        assert after - before < 0.9


async def test_retry_after_is_believed_up_to_ten_minutes() -> None:
    for header in ("999999999", format_datetime(datetime.now(UTC) + timedelta(days=99), usegmt=True)):
        async with platform(failing(429, Retry_After=header)) as made:
            with pytest.raises(TryLater) as caught:
                await made.connector().page(START, attempts=1)
        assert caught.value.retry_after == 600


def test_waits_double_with_jitter_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    for attempt in (*range(1, 12), 1_000, 10**9):
        longest = 0.5 * min(2 ** min(attempt - 1, 64), LONGEST_WAIT)
        waits = [backoff(0.5, attempt) for _ in range(200)]
        assert all(longest / 2 <= wait <= longest for wait in waits)
        assert len(set(waits)) > 100
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    assert [backoff(0.5, attempt) for attempt in range(1, 9)] == [0.5, 1, 2, 4, 8, 16, 30, 30]


async def test_nothing_that_is_said_of_a_failure_holds_the_credential() -> None:
    for answer in (failing(401), failing(500), web.Response(body=b"the-token"), web.Response(body=b'["the-token"]')):
        async with platform(answer) as made:
            with pytest.raises((Refused, TryLater)) as caught:
                await made.connector().page(START, attempts=1)
        assert "the-token" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://api.example.com", "https://api.example.com:8443/v1/", "https://[2001:db8::1]/"]
)
def test_takes_https(url: str) -> None:
    assert check_base_url(url, allow_loopback=False) is None


@pytest.mark.parametrize("url", ["http://127.0.0.1:8090", "http://localhost/x", "http://[::1]:80"])
def test_takes_plain_http_on_this_machine_where_that_is_allowed(url: str) -> None:
    assert check_base_url(url, allow_loopback=True) is None
    assert check_base_url(url, allow_loopback=False) == "must be https"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example.com",
        "http://api.example.com",
        "http://10.0.0.1",
        "http://127.0.0.1.example.com",
        "http://localhost@example.com",
        "ftp://localhost",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://user@example.com",
        "https://user:secret@example.com",
        "https://:secret@example.com",
        "https://example.com?x=1",
        "https://example.com/#x",
        "https://example.com:99999",
        "https://example.com:port",
        "https://[::1",
        "https://.",
        "https://example..com",
        "https://" + "x" * 64 + ".example.com",
        "https://example.com/\0",
        "https://exa mple.com",
        "https://example.com/a\nb",
        " https://example.com",
        "https://example.com/" + "x" * 2_000,
    ],
)
def test_refuses_every_other_address(url: str) -> None:
    for allowed in (True, False):
        assert check_base_url(url, allow_loopback=allowed) is not None
