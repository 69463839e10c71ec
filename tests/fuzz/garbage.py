"""What is no HTTP request, or only part of one: requests wrong in their lines, their headers, their lengths,
their chunks,
and in when they end."""

import asyncio
import json
import random
import re
from collections.abc import Callable, Sequence
from contextlib import suppress

from tests.fuzz import spoiling
from tests.fuzz.books import Books, Told
from tests.fuzz.over_http import SENSIBLE
from tests.hooks import result_of
from tests.samples import grapfy

AT_ONCE = 32
_ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n(\{[^\r\n]*?\})(?=HTTP/1\.1 |$)", re.DOTALL)
# Ends the connection, wherever what came before it has led to: more of it than a piece may lack, so that one is whole.
_LAST = b"GET /healthz HTTP/1.1\r\nHost: hooks\r\nConnection: close\r\n\r\n" * 10


async def send(address: str, path: str, patience: float, rngs: Sequence[random.Random], books: Books) -> None:
    """Sends one piece for each of the random sources. The server has so many seconds to end a connection."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(rng: random.Random) -> None:
        async with room:
            await _send(address, path, patience, rng, books)

    await asyncio.gather(*(one(rng) for rng in rngs))


async def _send(address: str, path: str, patience: float, rng: random.Random, books: Books) -> None:
    draw = rng.random()
    if draw < 0.05:
        # Half of a request, and then nothing.
        sent, breaks_off = _whole(path.encode(), rng)[: rng.randrange(1, 150)], False
    elif draw < 0.3:
        sent, breaks_off = _piece(path.encode(), rng), True
    else:
        sent, breaks_off = _piece(path.encode(), rng) + _LAST, False
    what = f"{'broken off ' if breaks_off else ''}{sent[:500]!r} of {len(sent)} bytes by HTTP"
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, port)
    try:
        async with asyncio.timeout(patience):
            answer, _ = await asyncio.gather(_read(reader), _write(writer, sent, breaks_off, rng))
    except TimeoutError:
        books.problem(what, f"the connection was not ended within {patience} s")
        return
    finally:
        writer.transport.abort()
    statuses = {int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)}
    books.statuses.update(f"garbage {status}" for status in statuses)
    if not statuses <= SENSIBLE | {100} or not (statuses or breaks_off):
        books.problem(what, f"was answered with {answer!r}")
    for status, body in _ANSWER.findall(answer):
        content = json.loads(body)
        result = result_of(int(status), content) if content["outcome"] != "serving" else None
        if result is not None:
            books.note(Told(None, result, what))


async def _write(writer: asyncio.StreamWriter, data: bytes, breaks_off: bool, rng: random.Random) -> None:
    """In one piece or in several."""
    # The server may have had enough; what it says can still be read.
    with suppress(OSError):
        while data:
            size = rng.choice((1, 10, 1000, len(data), len(data)))
            writer.write(data[:size])
            await writer.drain()
            data = data[size:]
        if breaks_off:
            writer.write_eof()


async def _read(reader: asyncio.StreamReader) -> bytes:
    answer = b""
    with suppress(OSError):
        while data := await reader.read(65536):
            answer += data
    return answer


def _whole(path: bytes, rng: random.Random, *lines: bytes, method: bytes = b"POST", body: bytes | None = None) -> bytes:
    """A good request, but for what is given."""
    body = grapfy(rng.randrange(10**9)) if body is None else body
    if not any(line.lower().startswith((b"content-length", b"transfer-encoding")) for line in lines):
        lines = (*lines, b"Content-Length: %d" % len(body))
    return b"\r\n".join((method + b" " + path + b" HTTP/1.1", b"Host: hooks", *lines, b"", body))


def _piece(path: bytes, rng: random.Random) -> bytes:
    body = grapfy(rng.randrange(10**9))
    whole = _whole(path, rng, body=body)
    chunk = b"%x\r\n%b\r\n" % (len(body), body)
    chunked = b"Transfer-Encoding: chunked"
    versions = (b"", b" HTTP/1.0", b" HTTP/0.9", b" HTTP/2.0", b" HTTP/9.9", b" X", b"  HTTP/1.1")
    ends = (b"\n", b"\r", b"\n\r", b"\r\r\n", b" \r\n")
    wrong_length = b"Content-Length: %d" % max(
        0, len(body) + rng.choice((-(10**9), -10, -1, 1, 10, 10**6, 10**7, 2**63))
    )
    makers: tuple[Callable[[], bytes], ...] = (
        lambda: whole,
        lambda: whole * rng.choice((2, 20)),
        lambda: b"".join(_piece(path, rng) for _ in range(3)),
        lambda: whole * rng.choice((1, 2, 3)) + rng.choice(_NO_REQUESTS),
        lambda: spoiling.text(whole, whole, rng),
        lambda: spoiling.text(whole, whole, rng),
        lambda: rng.randbytes(rng.choice((1, 10, 1000, 70_000))),
        lambda: rng.choice(_NO_REQUESTS),
        lambda: whole.replace(b" HTTP/1.1", rng.choice(versions)),
        lambda: whole.replace(b"\r\n", rng.choice(ends)),
        lambda: _whole(path, rng, method=rng.choice(_METHODS)),
        lambda: _whole(rng.choice(_paths(path)), rng),
        lambda: _whole(path, rng, rng.choice(_HEADERS)),
        lambda: _whole(path, rng, rng.choice(_HEADERS), rng.choice(_HEADERS)),
        lambda: _whole(path, rng, *(b"X-%d: y" % number for number in range(rng.choice((95, 101, 5000))))),
        lambda: _whole(path, rng, b"Content-Length: " + rng.choice(_LENGTHS), body=body),
        lambda: _whole(path, rng, wrong_length, body=body),
        lambda: _whole(path, rng, wrong_length, b"Content-Length: %d" % len(body), body=body),
        lambda: _whole(path, rng, b"Transfer-Encoding: " + rng.choice(_CODINGS), body=chunk + b"0\r\n\r\n"),
        lambda: _whole(path, rng, chunked, body=chunk * 3 + b"0\r\nX-Trailer: x\r\n\r\n"),
        lambda: _whole(path, rng, chunked, body=rng.choice(_CHUNKS) + b"0\r\n\r\n"),
        lambda: _whole(path, rng, chunked, body=spoiling.text(chunk + b"0\r\n\r\n", chunk, rng)),
        lambda: _whole(path, rng, chunked, body=b"100000\r\n" + b"x" * 2**20 + b"\r\n1\r\nx\r\n0\r\n\r\n"),
        lambda: _whole(path, rng, chunked, b"Content-Length: 5", body=chunk + b"0\r\n\r\n"),
    )
    return rng.choice(makers)()


_NO_REQUESTS = (
    b"\r\n" * 100, b"\0" * 100, b"\n", b" ", b"GET /\r\n\r\n", b"POST\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    # A TLS handshake's beginning, as of who takes the door for https.
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300), b"SSH-2.0-x\r\n", b"*1\r\n$4\r\nPING\r\n",
    b"GET " + b"/" * 70_000 + b" HTTP/1.1\r\n\r\n", b"A" * 200_000, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 20_000 + b"\r\n", b"POST / HTTP/1.1\r\n: x\r\n\r\n",
)  # fmt: skip
_METHODS = (
    b"GET",
    b"HEAD",
    b"PUT",
    b"DELETE",
    b"OPTIONS",
    b"TRACE",
    b"CONNECT",
    b"PATCH",
    b"PROPFIND",
    b"post",
    b"FOO",
    b"",
    b"P\0ST",
)
_HEADERS = (
    b"no colon", b": no name", b"X:", b"X : y", b" X: folded", b"X: a\r\n  b", b"X: \xff\xfe", b"X: \0", b"X: \x01",
    b"\xe9: x",
    b"X: " + b"y" * 17_000, b"X: " + b"y" * 40_000, b"x" * 40_000 + b": y", b"Host: other", b"Host:",
    b"Expect: 100-continue",
    b"Expect: 200-ok", b"Connection: upgrade\r\nUpgrade: h2c", b"Connection: Upgrade\r\nUpgrade: websocket",
    b"Connection: close",
    b"Connection: \xff", b"Upgrade: x", b"Content-Encoding: gzip", b"Content-Encoding: identity",
    b"Content-Encoding: \xff",
    b"Content-Encoding: identity, gzip", b"Content-Type: application/x-www-form-urlencoded", b"Content-Type: \xff",
    b"TE: trailers",
    b"X-Request-Id: " + b"x" * 129, b"X-Request-Id: \xff", b"X-Request-Id: a b", b"Authorization: Bearer x",
    b"Cookie: a=b",
    b"X-Forwarded-For: 1.2.3.4", b"X-HTTP-Method-Override: GET", b"Range: bytes=0-1", b"If-Match: *",
    b"Content-Range: bytes 0-1/2",
)  # fmt: skip
_LENGTHS = (
    b"", b"x", b"-1", b"+5", b"0x10", b"1e3", b"1.5", b"00000", b"5, 5", b"5, 6", b"\xb2", b"99999999999999999999",
    b"1 1",
)  # fmt: skip
_CODINGS = (
    b"chunked", b"Chunked", b"gzip", b"gzip, chunked", b"chunked, gzip", b"identity", b"", b"chunked, chunked", b"x",
    b"\xff",
)  # fmt: skip
_CHUNKS = (
    b"x\r\nx\r\n", b"-1\r\nx\r\n", b"\r\n\r\n", b"1;a=b\r\nx\r\n", b"1;" + b"a" * 70_000 + b"\r\nx\r\n",
    b"2\r\nx\r\n", b"1\r\nxyz\r\n",
    b"1\nx\n", b"0x1\r\nx\r\n", b"1 \r\nx\r\n", b"ffffffffffffffffff\r\nx\r\n", b"7fffffffffffffff\r\nx\r\n",
    b"00000001\r\nx\r\n",
)  # fmt: skip


def _paths(path: bytes) -> Sequence[bytes]:
    """The endpoint's path, changed, and some that are none."""
    return (
        path[:-1], path + b"x", path[:-44], path + b"/", path + b"%00", path.replace(b"hooks", b"Hooks"),
        path.replace(b"/", b"//"),
        path.replace(b"hooks/", b"hooks/%2e%2e/hooks/"), path + b"#x", path + b"?" + b"q" * 5000,
        path + b"?\xff\xfe", path + b"\xff",
        path + b"\xc3\xa9", path.replace(b"f", b"%66", 1), b"http://hooks" + path, b"http://[::1" + path, b"*",
        b"/", b"", b"//", b"hooks:80",
        b"/v1/hooks/", b"/v1/hooks/.", b"/v1/hooks/" + b"a" * 64 + b"." + b"b" * 43, b"/v1/hooks/" + b"a" * 20_000,
        b"/v1/hooks/fuzz.",
        b"/v1/hooks/" + b"b" * 43, b"/v1/hooks/\xe2\x98\x83." + b"b" * 43, b"/healthz", b"/healthz?x", b"/metrics",
        b"/../../etc/passwd",
    )  # fmt: skip
