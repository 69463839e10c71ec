"""What a call costs the server: EXPLAIN's times of the very statements that it ran."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from shared.db import Connection

# With all that it takes to send the rows, as the client has them sent.
_EXPLAIN = "EXPLAIN (ANALYZE, SERIALIZE BINARY, TIMING OFF, BUFFERS OFF, SUMMARY, FORMAT JSON) "
_TIMES = 2


@dataclass(frozen=True)
class Cost:
    """Milliseconds of the server's, and how many statements they are of."""

    execution: float
    planning: float
    statements: int


class Recording:
    """Stands for a service's pool of connections: one connection, that notes what is fetched over it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.statements: list[tuple[str, Sequence[Any]]] = []
        """What was noted: each query with its arguments."""

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator["Recording"]:
        """The connection, as a pool gives it."""
        yield self

    async def fetch(self, query: str, *arguments: Any) -> Any:
        """As a connection's."""
        self.statements.append((query, arguments))
        return await self._connection.fetch(query, *arguments)

    async def explain(self) -> Cost:
        """Runs what was noted again, under EXPLAIN, and forgets it. Its data is then in memory. Each statement's cost
        is the least of a few times: what else runs on the machine only ever adds to it."""
        execution = planning = 0.0
        for query, arguments in self.statements:
            plans = [
                json.loads(await self._connection.fetchval(_EXPLAIN + query, *arguments))[0] for _ in range(_TIMES)
            ]
            execution += min(plan["Execution Time"] for plan in plans)
            planning += min(plan["Planning Time"] for plan in plans)
        cost = Cost(execution, planning, len(self.statements))
        self.statements.clear()
        return cost
