"""The door and senders that are slow, large, many, or speak no HTTP."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from services.ingest import http_connection
from shared.db import Connection
from tests.blocking import blocked, is_waiting_for_a_lock
from tests.door import Line, line, make_endpoint, post, request
from tests.in_process import Ingesting, ingesting
from tests.ledger import check_ledger
from tests.samples import grapfy
from tests.waiting import eventually

LIMIT = 64 * 1024


def chunked(path: str, *chunks: bytes, end: bool = True) -> bytes:
    data = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return request(path, headers={"Transfer-Encoding": "chunked"}, sized=False) + data + (b"0\r\n\r\n" if end else b"")


async def is_well(one: Line, path: str, number: int) -> None:
    """The connection takes another event."""
    assert (await one.ask(request(path, grapfy(number)))).outcome == "200 accepted"


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00\x00\x00\r\n\r\n",
        b"hello\r\n\r\n",
        b"POST\r\n\r\n",
        b"POST / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1x\r\n\r\n",
        b"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST {path} HTTP/1.1\r\nHo st: a\r\n\r\n",
        b"POST {path} HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST {path}\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_told_so_and_ends(ingest: Ingesting, connection: Connection, garbage: bytes) -> None:
    path = await make_endpoint(ingest)
    async with line(ingest.http) as one:
        said = await one.ask(garbage.replace(b"{path}", path.encode()))
        assert said.outcome in ("400 rejected http_malformed", "404 rejected not_found")
        if said.status == 400:
            assert said.headers["connection"] == "close"
            assert await one.ended() == b""
    await check_ledger(connection, {})


async def test_one_connection_brings_many(ingest: Ingesting, connection: Connection) -> None:
    path = await make_endpoint(ingest)
    async with line(ingest.http) as one:
        for number in range(5):
            await is_well(one, path, number)
        # All at once, byte by byte, and with the empty lines that old clients leave between requests.
        one.writer.write(b"".join(request(path, grapfy(number)) for number in range(5, 25)))
        assert [(await one.hear()).outcome for _ in range(20)] == ["200 accepted"] * 20
        for byte in b"\r\n\r\n" + request(path, grapfy(25)):
            one.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert (await one.hear()).outcome == "200 accepted"
        one.writer.write(request(path, grapfy(26)) + b"garbage\r\n\r\n")
        assert (await one.hear()).outcome == "200 accepted"
        await one.ended()
    await check_ledger(connection, {"acme": 27})


async def test_a_body_in_chunks(ingest: Ingesting) -> None:
    path = await make_endpoint(ingest)
    async with line(ingest.http) as one:
        body = grapfy(1)
        assert (await one.ask(chunked(path, body[:7], body[7:]))).outcome == "200 accepted"
        await is_well(one, path, 2)


@pytest.mark.parametrize("how", ["1.0", "close"])
async def test_a_connection_ends_when_the_sender_says_so(ingest: Ingesting, how: str) -> None:
    path = await make_endpoint(ingest)
    data = request(path, grapfy(), {"Connection": "close"} if how == "close" else {})
    async with line(ingest.http) as one:
        said = await one.ask(data.replace(b"HTTP/1.1", b"HTTP/1.0") if how == "1.0" else data)
        assert (said.outcome, said.headers["connection"]) == ("200 accepted", "close")
        assert await one.ended() == b""


async def test_an_upgrade_is_not_made_and_the_event_is_taken(ingest: Ingesting) -> None:
    path = await make_endpoint(ingest)
    upgrade = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__"}
    async with line(ingest.http) as one:
        assert (await one.ask(request(path, grapfy(1), upgrade))).outcome == "200 accepted"
        one.writer.write(request(path, grapfy(2), upgrade)[:-9])
        await asyncio.sleep(0.05)
        assert (await one.ask(request(path, grapfy(2), upgrade)[-9:])).outcome == "200 accepted"
        await is_well(one, path, 3)
        assert (await one.ask(request("/healthz", headers=upgrade, method="GET"))).outcome == "200 serving"


async def test_a_body_that_is_asked_for(ingest: Ingesting) -> None:
    path = await make_endpoint(ingest)
    body = grapfy()
    expecting = {"Expect": "100-continue", "Content-Length": str(len(body))}
    async with line(ingest.http) as one:
        one.writer.write(request(path, headers=expecting))
        assert (await one.hear(has_body=False)).status == 100
        assert (await one.ask(body)).outcome == "200 accepted"
        await is_well(one, path, 2)
        # Refused: the body that was announced may come or not, so the connection is of no more use.
        one.writer.write(request(path, headers=expecting | {"Content-Length": "99999999"}))
        said = await one.hear()
        assert (said.outcome, said.headers["connection"]) == ("413 rejected payload_too_large", "close")
        assert await one.ended() == b""


async def test_a_body_that_is_too_large(database_url: str, connection: Connection) -> None:
    async with ingesting(database_url, max_event_bytes=LIMIT) as ingest:
        path = await make_endpoint(ingest)
        async with line(ingest.http) as one:
            # Told by its length: answered before it comes. What comes is thrown away, and the connection goes on.
            said = await one.ask(request(path, headers={"Content-Length": str(LIMIT + 1)}))
            assert said.outcome == "413 rejected payload_too_large"
            one.writer.write(b"x" * (LIMIT + 1))
            await is_well(one, path, 1)
            # Not told: answered as soon as too much has come.
            said = await one.ask(chunked(path, b"x" * LIMIT, b"x", end=False))
            assert said.outcome == "413 rejected payload_too_large"
            one.writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (LIMIT, b"x" * LIMIT))
            await is_well(one, path, 2)
            whole = grapfy(3, x="")
            fits = grapfy(3, x="x" * (LIMIT - len(whole)))
            assert (await one.ask(request(path, fits))).outcome == "200 accepted"
            assert (await one.ask(chunked(path, fits[:-1], b"}"))).outcome == "200 duplicate"
            assert (await one.ask(chunked(path, fits, b" "))).outcome == "413 rejected payload_too_large"
    await check_ledger(connection, {"acme": 3})


async def test_a_body_that_comes_otherwise_than_as_it_is(ingest: Ingesting) -> None:
    path = await make_endpoint(ingest)
    for encoding in ("gzip", "br", "identity, gzip"):
        said = await post(ingest.http, path, grapfy(), {"Content-Encoding": encoding})
        assert said.outcome == "415 rejected content_encoding_unsupported"
    assert (await post(ingest.http, path, grapfy(), {"Content-Encoding": "Identity"})).outcome == "200 accepted"


async def test_a_head_that_is_too_large(ingest: Ingesting) -> None:
    path = await make_endpoint(ingest)
    many = {f"X-{number}": "y" for number in range(101)}
    for headers, query in ((many, ""), ({"X-Large": "y" * 17_000}, ""), ({}, "?" + "y" * 4097)):
        async with line(ingest.http) as one:
            said = await one.ask(request(path + query, grapfy(), headers))
            assert said.outcome == "431 rejected headers_too_large"
            await is_well(one, path, 1) if headers is many else None
    # One that has no end.
    for endless in (b"POST / HTTP/1.1\r\nX-Endless: ", b"POST /"):
        async with line(ingest.http) as one:
            one.writer.write(endless)
            hearing = asyncio.ensure_future(one.hear())
            for _ in range(1000):
                if hearing.done():
                    break
                one.writer.write(b"y" * 4096)
                await asyncio.sleep(0.001)
            assert (await hearing).outcome == "431 rejected headers_too_large"


async def test_a_request_that_does_not_come_to_its_end(database_url: str, connection: Connection) -> None:
    async with ingesting(database_url, http_body_seconds=0.5) as ingest:
        path = await make_endpoint(ingest)
        for slow in (
            request(path, b"{", {"Content-Length": "10"}),
            chunked(path, b"{", end=False),
            request(path)[:-3],
            b"P",
        ):
            async with line(ingest.http) as one:
                said = await one.ask(slow, timeout=5)
                assert (said.outcome, said.headers["connection"]) == ("408 unavailable request_timeout", "close")
                assert await one.ended() == b""
        # Trickling does not help.
        async with line(ingest.http) as one:
            hearing = asyncio.ensure_future(one.hear(timeout=5))
            for byte in request(path, b"{" * 1000):
                if hearing.done():
                    break
                one.writer.write(bytes([byte]))
                await asyncio.sleep(0.01)
            assert (await hearing).status == 408
        # Whoever says nothing is told nothing; so is who goes on sending what has been answered.
        async with line(ingest.http) as one:
            assert await one.ended(timeout=5) == b""
        async with line(ingest.http) as one:
            assert (await one.ask(request("/nowhere", headers={"Content-Length": "10"}))).status == 404
            assert await one.ended(timeout=5) == b""
        # One that is being worked on, or rests between two requests, is not slow.
        async with line(ingest.http) as one:
            await is_well(one, path, 1)
            await asyncio.sleep(2)
            await is_well(one, path, 2)
    await check_ledger(connection, {"acme": 2})


async def test_a_connection_that_rests_too_long(ingest: Ingesting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "IDLE_SECONDS", 1.5)
    path = await make_endpoint(ingest)
    async with line(ingest.http) as after_an_event, line(ingest.http) as after_a_refusal:
        await is_well(after_an_event, path, 1)
        refused = await after_a_refusal.ask(request("/nowhere", headers={"Content-Length": "10"}))
        assert refused.status == 404
        after_a_refusal.writer.write(b"x" * 10)
        await asyncio.sleep(0.8)
        await is_well(after_an_event, path, 2)
        for one in (after_an_event, after_a_refusal):
            assert await one.ended(timeout=5) == b""


async def test_what_follows_a_request_does_not_harm_it(ingest: Ingesting, connection: Connection) -> None:
    followers = (b"garbage\r\n\r\n", b"POST / HTTP/1.1\r\nX-Endless: ", request("/", b"{", {"Content-Length": "9"}))
    for number, follower in enumerate(followers):
        path = await make_endpoint(ingest, f"company-{number}")
        async with line(ingest.http) as one:
            async with blocked(connection, f"company-{number}"):
                one.writer.write(request(path, grapfy()) + follower)
                await eventually(lambda: is_waiting_for_a_lock(connection), what="the request is under way")
                if b"Endless" in follower:
                    for _ in range(20):
                        one.writer.write(b"y" * 4096)
                        await asyncio.sleep(0.001)
            assert (await one.hear()).outcome == "200 accepted"
            if follower is not followers[-1]:
                assert await one.ended() == b""


async def test_a_sender_that_breaks_off_leaves_nothing(ingest: Ingesting, connection: Connection) -> None:
    path = await make_endpoint(ingest)
    for part in (request(path, grapfy(1))[:-1], chunked(path, grapfy(2), end=False), request(path)[:20]):
        async with line(ingest.http) as one:
            one.writer.write(part)
            await one.writer.drain()
            await asyncio.sleep(0.05)
    assert (await post(ingest.http, path, grapfy(3))).outcome == "200 accepted"
    await check_ledger(connection, {"acme": 1})


async def test_more_connections_than_there_may_be(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "SPARE_CONNECTIONS", 2)
    async with ingesting(database_url, http_connections=2) as ingest, AsyncExitStack() as stack:
        path = await make_endpoint(ingest)

        async def another() -> Line:
            return await stack.enter_async_context(line(ingest.http))

        # Those that rest give way to new ones.
        resting = await another()
        await is_well(resting, path, 1)
        for number in (2, 3, 4):
            await is_well(await another(), path, number)
        assert await resting.ended() == b""
        # Those under way don't.
        busy = [await another() for _ in range(2)]
        for one in busy:
            one.writer.write(request(path, b"{", {"Content-Length": "100"}))
        await asyncio.sleep(0.1)
        said = await (await another()).ask(request(path, grapfy(5)))
        assert (said.outcome, said.headers["connection"]) == ("503 unavailable too_many_connections", "close")
        assert said.headers["retry-after"] == "1"
        waiting = [await another() for _ in range(2)]
        await asyncio.sleep(0.1)
        assert await (await another()).ended() == b"", "one too many even to be answered"
        for one in (busy[0], *waiting):
            one.writer.transport.abort()
        await asyncio.sleep(0.1)
        await is_well(await another(), path, 6)
