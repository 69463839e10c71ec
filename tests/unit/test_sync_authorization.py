"""How sources say who they are, against a real HTTP server."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from services.sync.connectors import Refused, TryLater
from services.sync.connectors.authorization import UNTOLD_SECONDS, Authorization, authorization, credential_problem
from services.sync.connectors.http import Http, open_http
from services.sync.connectors.tokens import MOST_TOKENS, TokenCache, key_of
from shared.platforms.history import Auth, Basic, Bearer, ClientCredentials, History, InHeader
from tests.web_servers import WebServer, failing, web_server

OAUTH = ClientCredentials(token_url="/token")


def of(auth: Auth, credential: str, http: Http, base_url: str = "https://x.example") -> Authorization:
    return authorization(History(auth=auth), base_url, credential, http)


@pytest.mark.parametrize(
    ("auth", "credential", "headers"),
    [
        (Bearer(), "abc", {"Authorization": "Bearer abc"}),
        (Basic(), "user:pass:word", {"Authorization": f"Basic {base64.b64encode(b'user:pass:word').decode()}"}),
        (InHeader(name="X-Token"), "abc", {"X-Token": "abc"}),
        (InHeader(name="Authorization", prefix="Token "), "abc", {"Authorization": "Token abc"}),
    ],
)
async def test_what_does_not_change_is_sent_along(auth: Auth, credential: str, headers: dict[str, str]) -> None:
    async with open_http(allow_loopback=False) as http:
        made = of(auth, credential, http)
        assert await made.headers() == headers
        assert not made.refused()
        assert credential not in repr(made)


@pytest.mark.parametrize(
    ("auth", "good", "bad"),
    [
        (Bearer(), ["a", "a:b", ":"], []),
        (InHeader(name="X-Token"), ["a", "a:b"], []),
        (Basic(), ["a:b", "a:b:c"], ["a", ":b", "a:", ":"]),
        (OAUTH, ["a:b", "a:b:c"], ["a", ":b", "a:", ":"]),
    ],
)
def test_a_credential_must_have_its_form(auth: Auth, good: list[str], bad: list[str]) -> None:
    assert all(credential_problem(History(auth=auth), credential) is None for credential in good)
    assert all("must be" in (credential_problem(History(auth=auth), credential) or "") for credential in bad)


def tokens(**members: object) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Answers with token-1, token-2 …"""
    given = 0

    async def give(request: web.Request) -> web.StreamResponse:
        nonlocal given
        given += 1
        return web.json_response({"access_token": f"token-{given}", "expires_in": 3600, **members})

    return give


def form_of(server: WebServer) -> dict[str, list[str]]:
    assert server.requests[-1].content_type == "application/x-www-form-urlencoded"
    return parse_qs(server.bodies[-1].decode())


async def test_a_token_is_fetched_by_basic_authentication() -> None:
    async with web_server(tokens()) as server, open_http(allow_loopback=True) as http:
        made = of(OAUTH, "me:secret:x", http, server.url + "/api/")
        assert await made.headers() == {"Authorization": "Bearer token-1"}
        [request] = server.requests
        assert (request.method, request.path) == ("POST", "/api/token")
        assert request.headers["Authorization"] == f"Basic {base64.b64encode(b'me:secret:x').decode()}"
        assert form_of(server) == {"grant_type": ["client_credentials"]}


async def test_a_token_is_fetched_with_the_client_in_the_form() -> None:
    async with web_server(tokens()) as server, open_http(allow_loopback=True) as http:
        auth = ClientCredentials(token_url="/token", client="body", scope="read sales")
        await of(auth, "me:s&c=r:t", http, server.url).headers()
        assert "Authorization" not in server.requests[0].headers
        assert form_of(server) == {
            "grant_type": ["client_credentials"],
            "scope": ["read sales"],
            "client_id": ["me"],
            "client_secret": ["s&c=r:t"],
        }


async def test_a_token_is_kept_for_all_that_ask_with_the_same_credential() -> None:
    async with web_server(tokens()) as server, open_http(allow_loopback=True) as http:
        made = [of(OAUTH, "me:secret", http, server.url) for _ in range(5)]
        got = await asyncio.gather(*(each.headers() for each in made))
        assert got == [{"Authorization": "Bearer token-1"}] * 5
        assert len(server.requests) == 1
        assert await of(OAUTH, "me:other", http, server.url).headers() == {"Authorization": "Bearer token-2"}


async def test_an_answer_too_large_for_a_token_is_none() -> None:
    async with web_server(tokens(more="x" * 65_536)) as server, open_http(allow_loopback=True) as http:
        with pytest.raises(Refused, match="holds no token"):
            await of(OAUTH, "me:secret", http, server.url).headers()


async def test_a_token_that_is_refused_is_forgotten_once() -> None:
    async with web_server(tokens()) as server, open_http(allow_loopback=True) as http:
        one, other = of(OAUTH, "me:secret", http, server.url), of(OAUTH, "me:secret", http, server.url)
        await one.headers()
        await other.headers()
        assert one.refused()
        assert await one.headers() == {"Authorization": "Bearer token-2"}
        # The other one's was refused as well, but the new one was fetched since.
        assert other.refused()
        assert await other.headers() == {"Authorization": "Bearer token-2"}


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [
        (3600, 3540),
        (100, 90),
        ("100", 90),
        (0, 0),
        (-5, 0),
        (10**9, 86400 - 60),
        (None, UNTOLD_SECONDS * 0.9),
        ("x", 270),
    ],
)
async def test_a_token_is_good_for_a_little_less_than_it_says(
    expires_in: object, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    async with web_server(tokens(expires_in=expires_in)) as server, open_http(allow_loopback=True) as http:
        http.tokens = TokenCache(clock=lambda: now)
        made = of(OAUTH, "me:secret", http, server.url)
        await made.headers()
        if seconds:
            now = 1000.0 + seconds - 0.01
            assert await made.headers() == {"Authorization": "Bearer token-1"}
        now = 1000.0 + seconds + 0.01
        assert await made.headers() == {"Authorization": "Bearer token-2"}


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (failing(400), Refused, r"refuses the credential: it gives no token for it \(400\)"),
        (failing(401), Refused, "refuses the credential"),
        (failing(403), Refused, "refuses the credential"),
        (failing(404), Refused, "answers 404 when asked for a token"),
        (failing(302, Location="/x"), Refused, "redirect"),
        (failing(429, Retry_After="7"), TryLater, "answers 429"),
        (failing(503), TryLater, "answers 503"),
        (web.Response(body=b'{"access_token":"me-sec'), TryLater, "not whole JSON"),
        (web.Response(body=b'{"error":"invalid_client"}'), Refused, "holds no token"),
        (web.Response(body=b'{"access_token":"a\\nb"}'), Refused, "holds no token"),
        (web.Response(body=b'{"access_token":""}'), Refused, "holds no token"),
        (web.Response(body=b'["me-secret"]'), Refused, "holds no token"),
    ],
)
async def test_a_failure_to_get_a_token_is_told(answer: web.Response, kind: type[Exception], says: str) -> None:
    async with web_server(answer, tokens()) as server, open_http(allow_loopback=True) as http:
        made = of(OAUTH, "me:me-secret", http, server.url)
        with pytest.raises(kind, match=says) as caught:
            await made.headers()
        assert "me-sec" not in str(caught.value)
        assert getattr(caught.value, "retry_after", None) == (7 if answer.status == 429 else None)
        # Nothing of the failure is kept.
        assert await made.headers() == {"Authorization": "Bearer token-1"}


async def test_no_more_tokens_are_kept_than_so_many() -> None:
    cache, fetched = TokenCache(), list[int]()

    def fetch(number: int) -> Callable[[], Awaitable[tuple[str, float]]]:
        async def give() -> tuple[str, float]:
            fetched.append(number)
            return str(number), 3600

        return give

    for number in range(MOST_TOKENS + 1):
        await cache.token(key_of(str(number)), fetch(number))
    assert await cache.token(key_of(str(MOST_TOKENS)), fetch(-1)) == str(MOST_TOKENS)
    assert await cache.token(key_of("0"), fetch(-2)) == "-2"
    assert len(fetched) == MOST_TOKENS + 2


def test_keys_do_not_run_into_each_other() -> None:
    assert key_of("ab", "c") != key_of("a", "bc")
