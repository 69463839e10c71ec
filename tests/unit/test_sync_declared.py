"""What is asked of a platform, how often, and after what wait: against a real HTTP server."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web

from services.sync.connectors import Connector, Larger, Page, Refused, TryLater, Window
from services.sync.connectors.backoff import ATTEMPTS, LONGEST_WAIT, backoff
from services.sync.connectors.hookline import HooklineConnector
from services.sync.connectors.http import Limits, open_http
from services.sync.connectors.opening import opening
from services.sync.source_store import Secret
from shared.platforms import Platform, parse_platform, platforms
from tests.web_servers import Answer, WebServer, failing, hang, hang_up, web_server

WINDOW = Window(datetime(2026, 10, 1, tzinfo=UTC), None)
PAGE = b'{"events":[{"id":"a","createdAt":"2026-10-01T00:00:01Z","payload":{"n":1}}]}'
GRAPFY = platforms()["grapfy"]


def own(history: str) -> Platform:
    """A platform whose history is declared so."""
    toml = '\nname = "own"\ntitle = "Own"\n[fields]\ntype = ["type"]\ndedup_key = [["id"]]\n[history]\n' + history
    return parse_platform(toml.encode(), "own", own=True)


def connector(server: WebServer | str, http: Any, platform: Platform = GRAPFY, **arguments: Any) -> Connector:
    parameters = arguments.pop("parameters", {"webhookSettingId": "a b+c&d"} if platform is GRAPFY else {})
    base_url = server if isinstance(server, str) else server.url
    secret = Secret("shop", platform.name, base_url, b"", parameters)
    return opening(secret, platform, http, "the-token", **{"first_wait": 0.001, **arguments})


@asynccontextmanager
async def opened(
    *answers: Answer | web.Response, limits: Limits | None = None, **arguments: Any
) -> AsyncIterator[tuple[WebServer, Connector]]:
    async with web_server(*answers) as server, open_http(allow_loopback=True, limits=limits) as http:
        made = connector(server, http, **arguments)
        yield server, made
        await made.close()


def page() -> web.Response:
    return web.Response(body=PAGE)


def payloads(read: Page) -> list[bytes]:
    return [item.payload for item in read.items]


async def test_asks_as_the_platforms_file_says() -> None:
    async with web_server(page()) as server, open_http(allow_loopback=True) as http:
        made = connector(server.url + "/api/", http)
        assert payloads(await made.page(WINDOW, None)) == [b'{"n":1}']
        [request] = server.requests
        assert (request.method, request.path) == ("GET", "/api/webhook-events")
        assert dict(request.query) == {
            "webhookSettingId": "a b+c&d",
            "since": "2026-10-01T00:00:00.000Z",
            "limit": "100",
        }
        assert request.headers["Authorization"] == "Bearer the-token"
        assert request.headers["Accept"] == "application/json"


async def test_a_page_that_is_larger_than_there_is_room_for_can_be_asked_for_again() -> None:
    large = PAGE[:-1] + b" " * 5_000 + PAGE[-1:]
    async with opened(web.Response(body=large)) as (server, made):
        with pytest.raises(Larger) as caught:
            await made.page(WINDOW, None, 1_000)
        read = await made.page(WINDOW, None, caught.value.size)
        assert (payloads(read), read.size, len(server.requests)) == ([b'{"n":1}'], len(large), 2)


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
    told: list[str] = []
    async with opened(bad, bad, page()) as (server, made):
        made.on_retry = told.append
        assert payloads(await made.page(WINDOW, None)) == [b'{"n":1}']
        assert len(server.requests) == 3
        assert len(told) == 2
        assert all(reason.startswith("The platform") and reason.endswith(".") for reason in told)


async def test_a_connection_that_ends_without_an_answer_is_tried_again() -> None:
    # aiohttp itself asks once more where the connection had been used before.
    told: list[str] = []
    async with opened(page(), hang_up, hang_up, page()) as (server, made):
        made.on_retry = told.append
        for _ in range(2):
            assert payloads(await made.page(WINDOW, None)) == [b'{"n":1}']
        assert len(server.requests) == 4
        assert 1 <= len(told) <= 2


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (failing(400), "answers 400"),
        (failing(401), "refuses the credential"),
        (failing(403), "refuses the credential"),
        (failing(404), "answers 404"),
        (failing(204), "answers 204"),
        (failing(302, Location="/elsewhere"), "redirect"),
        (web.Response(body=b'{"error":"no"}'), "answers with an error"),
        (web.Response(body=b'{"data":[]}'), "has no 'events'"),
    ],
)
async def test_what_needs_a_person_is_asked_once(answer: web.Response, says: str) -> None:
    told: list[str] = []
    async with opened(answer, page()) as (server, made):
        made.on_retry = told.append
        with pytest.raises(Refused, match=says):
            await made.page(WINDOW, None)
        assert len(server.requests) == 1
        assert told == []


async def test_gives_up_after_its_attempts_and_says_why() -> None:
    told: list[str] = []
    async with opened(failing(503)) as (server, made):
        made.on_retry = told.append
        with pytest.raises(TryLater, match="answers 503"):
            await made.page(WINDOW, None)
        assert len(server.requests) == ATTEMPTS
        assert len(told) == ATTEMPTS - 1
    async with opened(failing(503), attempts=1) as (server, made):
        with pytest.raises(TryLater):
            await made.page(WINDOW, None)
        assert len(server.requests) == 1


async def test_one_that_does_not_answer_or_is_not_there_is_tried_later() -> None:
    async with opened(hang, limits=Limits(read=0.05), attempts=1) as (_, made):
        with pytest.raises(TryLater, match="did not answer in time"):
            await made.page(WINDOW, None)
    async with open_http(allow_loopback=True) as http:
        gone = connector("http://127.0.0.1:1", http, attempts=1)
        with pytest.raises(TryLater, match="can't be reached"):
            await gone.page(WINDOW, None)


async def test_one_that_is_not_public_is_refused() -> None:
    async with open_http(allow_loopback=False) as http:
        for base_url in ("https://10.0.0.1", "https://localhost", "https://127.0.0.1"):
            with pytest.raises(Refused, match="leads to an address that is not public"):
                await connector(base_url, http).page(WINDOW, None)


OAUTH = own(
    'path = "/list"\nid = "id"\nitems = "events"\npagination = { kind = "page", parameter = "p" }\n'
    'auth = { scheme = "oauth2", token_url = "/token" }'
)


async def test_a_token_that_is_taken_no_more_is_fetched_anew_once() -> None:
    def given(text: str) -> web.Response:
        return web.Response(body=b'{"access_token":"%s"}' % text.encode())

    empty, told = web.Response(body=b'{"events":[]}'), list[str]()
    answers = (given("a"), empty, failing(401), given("b"), empty, failing(401), given("c"), failing(401))
    async with opened(*answers, platform=OAUTH) as (server, made):
        made.on_retry = told.append
        for _ in range(2):
            await made.page(WINDOW, None)
        assert told == ["The platform takes the token no more."]
        with pytest.raises(Refused, match=r"refuses the credential \(401\)"):
            await made.page(WINDOW, None)
        asked = [(request.path, request.headers["Authorization"].split()[1]) for request in server.requests]
        assert [sent for path, sent in asked if path == "/list"] == ["a", "a", "b", "b", "c"]
        token, listed = "/token", "/list"
        assert [path for path, _ in asked] == [token, listed, listed, token, listed, listed, token, listed]


async def test_retry_after_is_waited_for() -> None:
    # A date has whole seconds: at least one to wait, however far into its second the clock is.
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    async with (
        opened(failing(429, Retry_After="1"), page()) as (first, by_seconds),
        opened(failing(503, Retry_After=date), page()) as (second, by_date),
    ):
        await asyncio.gather(by_seconds.page(WINDOW, None), by_date.page(WINDOW, None))
        for server, least in ((first, 0.99), (second, 0.9)):
            before, after = server.times
            assert least <= after - before < 5


async def test_what_a_failure_asks_to_wait_is_told() -> None:
    async with opened(failing(429, Retry_After="999999999"), attempts=1) as (_, made):
        with pytest.raises(TryLater) as caught:
            await made.page(WINDOW, None)
        assert caught.value.retry_after == 600


async def test_too_many_requests_slow_down_what_follows() -> None:
    async with opened(failing(429), page(), first_wait=0.1) as (server, made):
        for _ in range(3):
            await made.page(WINDOW, None)
        pauses = [after - before for before, after in zip(server.times[1:], server.times[2:], strict=False)]
        assert all(0.03 <= pause < 0.5 for pause in pauses)


async def test_keeps_to_the_platforms_rate() -> None:
    platform = own(
        'path = "/x"\nid = "id"\nitems = "events"\npagination = { kind = "page", parameter = "p" }\n'
        "rate = { requests = 2, seconds = 0.2 }"
    )
    async with opened(web.Response(body=b'{"events":[]}'), platform=platform) as (server, made):
        for _ in range(6):
            await made.page(WINDOW, None)
        # Two at once, and one more every tenth of a second.
        assert server.times[-1] - server.times[0] >= 0.35


async def test_the_count_is_asked_for_once_a_window_and_before_it() -> None:
    platform = own(
        'path = "/list"\nid = "id"\ntime = "time"\nitems = "events"\nfilter = { from = "a", until = "b" }\n'
        'pagination = { kind = "page", parameter = "p" }\ncount = { path = "/count", said = "n" }'
    )
    window = Window(WINDOW.start, WINDOW.start + timedelta(days=1))
    item = b'{"events":[{"id":"1","time":"2026-10-01T00:00:01Z"}]}'
    async with opened(
        failing(503),
        web.Response(body=b'{"n":1}'),
        web.Response(body=item),
        web.Response(body=b'{"events":[]}'),
        platform=platform,
    ) as (server, made):
        first = await made.page(window, None)
        assert (first.said, len(first.items)) == (1, 1)
        assert first.position
        second = await made.page(window, first.position)
        assert (second.said, second.position) == (None, None)
        assert [request.path for request in server.requests] == ["/count", "/count", "/list", "/list"]
        assert server.requests[0].query["b"] == "2026-10-02T00:00:00.000Z"


async def test_another_hookline_is_read_over_grpc() -> None:
    async with open_http(allow_loopback=True) as http:
        made = connector("https://x.example", http, platforms()["hookline"], parameters={"company_id": "acme"})
        assert isinstance(made, HooklineConnector)
        await made.close()


@pytest.mark.parametrize(("name", "parameters"), [("generic", {}), ("grapfy", {}), ("hookline", {"company_id": ""})])
async def test_what_can_t_be_read_any_more_is_refused(name: str, parameters: Mapping[str, str]) -> None:
    async with open_http(allow_loopback=True) as http:
        with pytest.raises(Refused):
            connector("https://x.example", http, platforms()[name], parameters=parameters)


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
        async with opened(answer, attempts=1) as (_, made):
            with pytest.raises((Refused, TryLater)) as caught:
                await made.page(WINDOW, None)
            assert "the-token" not in str(caught.value)
            assert "the-token" not in repr(made)
