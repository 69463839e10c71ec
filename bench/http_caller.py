"""Callers of an HTTP server: `python -m bench.http_caller <host:port> <path> <callers> <events>`.

Sends every event once, by callers who each keep a connection and wait for their answer. It does as little as can be, in
a process and on a loop of its own, so that it is the server that is measured. Prints what it saw as JSON."""

import asyncio
import statistics
import sys
import time
from collections.abc import Iterator

import msgspec
import uvloop

from services.suite.samples import grapfy_payloads


class Seen(msgspec.Struct, frozen=True):
    """What it prints: the time of all of it, the usual and the worst time of a call, and how many answers were 200 with
    what was wanted in their body."""

    seconds: float
    p50: float
    p99: float
    good: int


class _Caller(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], wanted: bytes, each: list[float]) -> None:
        self._requests = requests
        self._wanted = wanted
        self._each = each
        self._buffer = b""
        self.good = 0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # of a stream
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self._buffer = b""
        self._each.append(time.perf_counter() - self._began)
        self.good += head.startswith(b"HTTP/1.1 200 ") and self._wanted in body
        self.send_next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or EOFError("the server has closed the connection"))

    def send_next(self) -> None:
        """Sends the next event, if one is left."""
        request = next(self._requests, None)
        if request is None:
            self.done.set_result(None)
            self._transport.close()
            return
        self._began = time.perf_counter()
        self._transport.write(request)


async def main(address: str, path: str, callers: str, events: str, wanted: str) -> Seen:
    requests = [_request(path, payload) for payload in grapfy_payloads(int(events))]
    left, each = iter(requests), list[float]()
    host, port = address.split(":")
    loop = asyncio.get_running_loop()
    connections = [
        (await loop.create_connection(lambda: _Caller(left, wanted.encode(), each), host, int(port)))[1]
        for _ in range(int(callers))
    ]
    began = time.perf_counter()
    for connection in connections:
        connection.send_next()
    await asyncio.gather(*(connection.done for connection in connections))
    seconds = time.perf_counter() - began
    cuts = statistics.quantiles(each, n=100)
    return Seen(seconds, cuts[49], cuts[98], sum(connection.good for connection in connections))


def _request(path: str, payload: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(payload)}"
    return f"{head}\r\n\r\n".encode() + payload


if __name__ == "__main__":
    print(msgspec.json.encode(uvloop.run(main(*sys.argv[1:]))).decode())
