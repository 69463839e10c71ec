"""Cases by HTTP, on connections that stay open."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack

from tests.door import Line, line
from tests.fuzz.books import Books, Told
from tests.fuzz.cases import Case
from tests.hooks import result_of

CONNECTIONS = 8
SENSIBLE = frozenset((200, 202, 400, 401, 404, 405, 408, 410, 413, 415, 431))
"""What a sender of nonsense may be told."""
Paths = Mapping[tuple[str, str], str]
"""Of the endpoints, by platform and source; of those whose deliveries are not signed the source is empty."""


async def send(address: str, paths: Paths, cases: Sequence[Case], books: Books) -> None:
    """Sends the cases, over a few connections."""
    waiting = iter(cases)
    await asyncio.gather(*(_send(address, paths, waiting, books) for _ in range(CONNECTIONS)))


async def _send(address: str, paths: Paths, waiting: Iterator[Case], books: Books) -> None:
    async with AsyncExitStack() as stack:
        connection: Line | None = None
        for one in waiting:
            what = f"{one.kind} {one.number} by HTTP"
            if connection is None:
                connection = await stack.enter_async_context(line(f"http://{address}"))
            try:
                said = await connection.ask(_request(one, paths), timeout=60)
            except (OSError, EOFError, TimeoutError) as error:
                books.problem(what, f"got no answer: {error!r}")
                connection = None
                continue
            if said.headers.get("connection") == "close":
                connection = None
            books.statuses[f"HTTP {said.status}"] += 1
            if said.status not in SENSIBLE:
                books.problem(what, f"was answered with {said}")
            elif result := result_of(said.status, said.content):
                books.note(Told(one.body, result, what))


def _request(one: Case, paths: Paths) -> bytes:
    path = paths.get((one.platform, one.source)) or paths.get((one.platform, "")) or paths["", ""]
    target = f"{path}?{one.query}" if one.query else path
    lines = [f"POST {target} HTTP/1.1", "Host: hooks", f"Content-Length: {len(one.body)}"]
    lines += [f"{name}: {value}" for name, value in one.headers]
    return "\r\n".join([*lines, "", ""]).encode() + one.body
