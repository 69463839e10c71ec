"""The HTTP client of sync, against real servers: what it takes, for how long it waits, and where it does not go."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver

from services.sync.connectors import Refused, TryLater
from services.sync.connectors.http import Http, Limits, open_http, retry_after
from tests.web_servers import Names, certificate_of, failing, hang, hang_up, web_server

MIB = 1024 * 1024
SHORT = Limits(connect=5, read=0.05, total=0.2, body=MIB)


@asynccontextmanager
async def here(limits: Limits | None = None, resolver: AbstractResolver | None = None) -> AsyncIterator[Http]:
    async with open_http(allow_loopback=True, limits=limits, resolver=resolver) as http:
        yield http


async def test_asks_politely_over_one_connection() -> None:
    packed = web.Response(body=gzip.compress(b"hello"), headers={"Content-Encoding": "gzip", "X-Some": "1"})
    async with web_server(packed) as server, here() as http:
        for _ in range(3):
            answer = await http.ask("GET", server.url + "/a%2Fb?b=1&c=a%20b%2Bc%26d&d=1&d=2", headers={"X-Own": "x"})
            assert (answer.status, answer.body, answer.headers["x-some"]) == (200, b"hello", "1")
        await http.ask("POST", server.url, body=b"sent")
        assert len(server.peers) == 1
        request = server.requests[0]
        assert request.raw_path == "/a%2Fb?b=1&c=a%20b%2Bc%26d&d=1&d=2"
        assert [*request.query.items()] == [("b", "1"), ("c", "a b+c&d"), ("d", "1"), ("d", "2")]
        assert request.headers["X-Own"] == "x"
        assert request.headers["User-Agent"].startswith("hookline/")
        assert "gzip" in request.headers["Accept-Encoding"]
        assert server.bodies[-1] == b"sent"


async def test_statuses_are_given_as_they_are() -> None:
    async with web_server(failing(204), failing(404), failing(429), failing(503)) as server, here() as http:
        assert [(await http.ask("GET", server.url)).status for _ in range(4)] == [204, 404, 429, 503]


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
async def test_a_redirect_is_refused_and_not_followed(status: int) -> None:
    async with web_server(failing(status, Location="/elsewhere"), web.Response()) as server, here() as http:
        with pytest.raises(
            Refused, match=rf"^The platform answers with a redirect \({status}\), and redirects are not"
        ):
            await http.ask("GET", server.url)
        assert len(server.requests) == 1
        await http.ask("GET", server.url)
    async with web_server(failing(status, Location="/elsewhere")) as server, here() as http:
        with pytest.raises(Refused, match=r"^The server answers with a redirect"):
            await http.post(server.url, b"{}", {})


async def test_cookies_are_not_kept() -> None:
    async with web_server(web.Response(headers={"Set-Cookie": "a=b; Path=/"})) as server, here() as http:
        for _ in range(2):
            await http.ask("GET", server.url.replace("127.0.0.1", "localhost"))
        assert all("Cookie" not in request.headers for request in server.requests)


async def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with web_server(web.Response(body=b"direct")) as server, web_server(web.Response(body=b"proxy")) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        async with here() as http:
            assert (await http.ask("GET", server.url)).body == b"direct"
        assert proxy.requests == []


async def test_a_body_is_taken_up_to_the_limit() -> None:
    answers = [web.Response(body=b" " * MIB), web.Response(body=b" " * (MIB + 1))]
    async with web_server(*answers) as server, here(Limits(body=MIB)) as http:
        assert len((await http.ask("GET", server.url)).body) == MIB
        with pytest.raises(Refused, match=r"^The platform gives an answer larger than 1 MiB\.$"):
            await http.ask("GET", server.url)


async def test_a_body_without_an_end_is_cut_off() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 65536)

    async with web_server(endless) as server, here(Limits(body=MIB)) as http:
        with pytest.raises(Refused, match="larger than 1 MiB"):
            await http.ask("GET", server.url)
        assert (await http.post(server.url, b"", {})).status == 200


async def test_a_bomb_is_counted_by_what_it_unpacks_to() -> None:
    bomb = gzip.compress(bytes(100 * MIB), 1)
    assert len(bomb) < MIB
    packed = web.Response(body=bomb, headers={"Content-Encoding": "gzip"})
    async with web_server(packed) as server, here(Limits(body=MIB)) as http:
        with pytest.raises(Refused, match="larger than 1 MiB"):
            await http.ask("GET", server.url)


async def test_a_server_that_hangs_is_left() -> None:
    async with web_server(hang) as server, here(SHORT) as http:
        with pytest.raises(TryLater, match=r"^The platform did not answer in time\.$"):
            await http.ask("GET", server.url)
        with pytest.raises(TryLater, match=r"^The server did not answer in time\.$"):
            await http.post(server.url, b"", {})


async def test_a_server_that_accepts_and_says_nothing_is_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        async with here(SHORT) as http:
            with pytest.raises(TryLater, match="did not answer in time"):
                await http.ask("GET", f"http://127.0.0.1:{server.getsockname()[1]}")


@pytest.mark.parametrize("pause", [10, 0.02], ids=["stops", "drips"])
async def test_a_body_that_comes_too_slowly_is_left(pause: float) -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(pause)

    async with web_server(slow) as server, here(SHORT) as http:
        with pytest.raises(TryLater, match="did not answer in time"):
            await http.ask("GET", server.url)


async def test_what_breaks_off_may_get_better() -> None:
    async def broken_off(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = 100
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport
        request.transport.close()
        return response

    badly_packed = web.Response(body=b"not gzip", headers={"Content-Encoding": "gzip"})
    async with web_server(broken_off, badly_packed) as server, here() as http:
        for _ in range(2):
            with pytest.raises(TryLater, match="broke off its answer, or packed it wrongly"):
                await http.ask("GET", server.url)
    async with web_server(hang_up) as server, here() as http:
        with pytest.raises(TryLater, match=r"can't be reached, or broke off \(ServerDisconnectedError\)"):
            await http.ask("GET", server.url)
    async with here() as http:
        with pytest.raises(TryLater, match="can't be reached"):
            await http.ask("GET", "http://127.0.0.1:1")


async def test_what_speaks_no_http_may_get_better() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail ready\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server, here() as http:
        with pytest.raises(TryLater, match="can't be reached, or broke off"):
            await http.ask("GET", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")


@pytest.mark.parametrize(
    "url",
    [
        "https://10.0.0.1",
        "https://127.0.0.1",
        "https://[::1]",
        "https://[::ffff:10.0.0.1]",
        "https://[fe80::1%25eth0]",
        "https://169.254.169.254/latest/meta-data",
        "https://0.0.0.0",
        "https://127.1",
        "https://2130706433",
    ],
)
async def test_an_address_that_is_not_public_is_refused(url: str) -> None:
    async with open_http(allow_loopback=False) as http:
        for asking in (http.ask("GET", url), http.post(url, b"", {})):
            with pytest.raises(Refused, match=r"can't be asked: .* leads to an address that is not public\.$"):
                await asking


async def test_a_name_that_leads_inside_is_refused() -> None:
    names = Names(inside_example=[["10.0.0.1", "127.0.0.1"]])
    async with open_http(allow_loopback=False, resolver=names) as http:
        with pytest.raises(Refused, match=r"^The platform can't be asked: inside\.example leads to an address"):
            await http.ask("GET", "https://inside.example")
        with pytest.raises(TryLater, match="its name is not known"):
            await http.ask("GET", "https://unknown.example")


@pytest.mark.parametrize("host", ["0x7f000001", "0x7f.1", "localhost", "127.0.0.1.", "localhost."])
async def test_other_ways_to_write_this_machine_are_refused(host: str) -> None:
    async with web_server(web.Response()) as server, open_http(allow_loopback=False) as http:
        with pytest.raises((Refused, TryLater)):
            await http.ask("GET", f"https://{host}:{server.port}")
        assert server.requests == []


@pytest.mark.parametrize(
    "url", ["http://example.com", "ftp://example.com", "http://10.0.0.1", "file:///etc/passwd", ""]
)
async def test_only_https_is_asked(url: str) -> None:
    async with here() as http:
        with pytest.raises(Refused, match=r"^The platform must be asked over https\.$"):
            await http.ask("GET", url)
    async with open_http(allow_loopback=False) as http:
        with pytest.raises(Refused, match=r"must be asked over https"):
            await http.ask("GET", "http://127.0.0.1")


async def test_what_is_connected_to_is_what_was_vetted(tmp_path: Path) -> None:
    """A name that leads to this machine for one look, and inside the network for the next."""
    certificate = certificate_of(tmp_path, "shop.example")
    names = Names(shop_example=[["127.0.0.1"], ["10.0.0.1"]])
    async with (
        web_server(web.Response(body=b"it"), certificates=certificate.server()) as server,
        open_http(allow_loopback=True, resolver=names, roots=certificate.shown) as http,
    ):
        url = f"https://shop.example:{server.port}"
        assert (await http.ask("GET", url)).body == b"it"
        assert names.asked == ["shop.example"]
        # Another connection, another look.
        with pytest.raises(Refused, match="not public"):
            await http.ask("GET", f"https://shop.example:{server.port - 1}")
        assert names.asked == ["shop.example"] * 2


async def test_a_certificate_of_another_name_is_refused(tmp_path: Path) -> None:
    certificate = certificate_of(tmp_path, "other.example")
    names = Names(shop_example=[["127.0.0.1"]])
    async with (
        web_server(web.Response(), certificates=certificate.server()) as server,
        open_http(allow_loopback=True, resolver=names, roots=certificate.shown) as http,
    ):
        with pytest.raises(Refused, match="shows a certificate that is not valid for it"):
            await http.ask("GET", f"https://shop.example:{server.port}")
        assert server.requests == []


async def test_posts_and_gives_the_status() -> None:
    async with web_server(web.Response(status=202, body=b"ok"), failing(500)) as server, here() as http:
        headers = {"Content-Type": "application/json"}
        assert (await http.post(server.url + "/hook?token=1", b'{"a":1}', headers)).status == 202
        assert (await http.post(server.url, b"", {})).status == 500
        assert server.bodies[0] == b'{"a":1}'
        assert server.requests[0].headers["Content-Type"] == "application/json"
        assert len(server.peers) == 1


async def test_a_header_that_can_t_be_one_is_refused() -> None:
    async with web_server(web.Response()) as server, here() as http:
        with pytest.raises(Refused) as caught:
            await http.ask("GET", server.url, headers={"Authorization": "Bearer the-token\nX: y"})
        assert "the-token" not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("999999999", 600),
        ("Thu, 01 Jan 2099 00:00:00 GMT", 600),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Thu, 01 Jan 1970 00:00:00 -0000", 0),
        ("0", 0),
        *((text, None) for text in ("", "soon", "-5", "1e3", "Thu, 99 Foo 2026 00:00:00", "²")),
    ],
)
def test_what_retry_after_asks_for(header: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": header}) == seconds


def test_nothing_is_asked_for_without_the_header() -> None:
    assert retry_after({}) is None
