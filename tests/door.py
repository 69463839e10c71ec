"""A platform at the door: requests as bytes over a socket, and what comes back."""

import asyncio
import itertools
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec

from hookline.ingest.v1 import endpoint_service_pb2 as endpoints
from shared.db import Connection
from tests.in_process import Ingesting
from tests.ledger import check_ledger
from tests.samples import grapfy
from tests.waiting import eventually


class Said(msgspec.Struct, frozen=True):
    """An answer. `content` is its JSON."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def content(self) -> Any:
        return json.loads(self.body)

    @property
    def outcome(self) -> str:
        """Such as "200 accepted" or "401 rejected signature_wrong"."""
        content = self.content
        return " ".join(str(part) for part in (self.status, content["outcome"], content.get("reason")) if part)


def request(
    path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, method: str = "POST", *, sized: bool = True
) -> bytes:
    """A request's bytes."""
    lines = {"Host": "door", **({"Content-Length": str(len(body))} if sized else {}), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


class Line:
    """A connection to the door."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def ask(self, data: bytes, timeout: float = 20) -> Said:
        """Sends bytes, and reads an answer."""
        self.writer.write(data)
        return await self.hear(timeout)

    async def hear(self, timeout: float = 20, *, has_body: bool = True) -> Said:
        """Reads an answer. Raises EOFError when the connection ends instead."""
        async with asyncio.timeout(timeout):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status_line, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
            match = re.fullmatch(r"HTTP/1\.1 (\d{3}) [A-Za-z -]*", status_line)
            assert match, status_line
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            body = await self._reader.readexactly(int(headers.get("content-length", 0))) if has_body else b""
        return Said(int(match[1]), headers, body)

    async def ended(self, timeout: float = 20) -> bytes:
        """Waits until the door has closed the connection; gives what it said before."""
        with suppress(ConnectionError):
            async with asyncio.timeout(timeout):
                return await self._reader.read()
        return b""


@asynccontextmanager
async def line(base: str) -> AsyncIterator[Line]:
    """A connection to the door of this URL."""
    reader, writer = await asyncio.open_connection(*base.removeprefix("http://").split(":"))
    try:
        yield Line(reader, writer)
    finally:
        writer.transport.abort()


async def post(
    base: str, path: str, body: bytes, headers: Mapping[str, str] | None = None, timeout: float = 20
) -> Said:
    """One request on a connection of its own."""
    async with line(base) as one:
        return await one.ask(request(path, body, headers), timeout)


async def make_endpoint(ingest: Ingesting, company: str = "acme", platform: str = "grapfy", source: str = "") -> str:
    """Makes an endpoint; gives the path of its URL."""
    made = await ingest.endpoints.CreateEndpoint(
        endpoints.CreateEndpointRequest(company_id=company, platform=platform, source=source)
    )
    assert made.url == f"{ingest.http}/v1/hooks/{made.token}"
    return f"/v1/hooks/{made.token}"


class Pouring:
    """Senders at the door, event after event, each sent again until it is acknowledged. Those of one round choose from
    the same events, so that most come more than once, and at the same time."""

    SENDERS = 16

    def __init__(self, http: str, path: str) -> None:
        self._http, self._path = http, path
        self._numbers = itertools.count()
        self.acknowledged: dict[str, str] = {}
        """Event ids by keys."""
        self.answers: Counter[str] = Counter()
        """What was said, and which errors there were instead."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sends until the block ends, or the door is closed for good."""
        stopping = asyncio.Event()
        senders = [asyncio.create_task(self._send(stopping)) for _ in range(self.SENDERS)]
        try:
            yield
        finally:
            stopping.set()
            await asyncio.gather(*senders)

    async def goes_on(self, answers: int = 300) -> None:
        """Waits for so many more acknowledgements."""
        enough = self._acknowledgements + answers
        await eventually(lambda: self._acknowledgements >= enough, timeout=60, what="senders are acknowledged")

    async def verify(self, connection: Connection) -> None:
        """What was acknowledged is stored as said, and once."""
        await check_ledger(connection)
        company = self._path.rpartition("/")[2].rpartition(".")[0]
        rows = await connection.fetch(
            "SELECT dedup_key, event_id::text FROM hookline.events WHERE company_id = $1", company
        )
        stored = dict(map(tuple, rows))
        lost = {key: said for key, said in self.acknowledged.items() if stored.get(key) != said}
        assert not lost, f"{len(lost)} of {len(self.acknowledged)} acknowledged events are not stored as said"

    @property
    def _acknowledgements(self) -> int:
        return self.answers["200 accepted"] + self.answers["200 duplicate"]

    async def _send(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            try:
                async with line(self._http) as one:
                    while not stopping.is_set():
                        key = f"evt_{next(self._numbers) // 3}"
                        await self._bring(one, key)
            except (OSError, EOFError) as error:
                self.answers[type(error).__name__] += 1
                await asyncio.sleep(0.02)

    async def _bring(self, one: Line, key: str) -> None:
        said = await one.ask(request(self._path, grapfy(key)))
        self.answers[said.outcome] += 1
        if said.status == 200:
            event_id = said.content["event_id"]
            assert self.acknowledged.setdefault(key, event_id) == event_id
        if said.headers.get("connection") == "close":
            raise EOFError
