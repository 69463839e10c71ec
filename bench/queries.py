"""ListEvents at a million events: the time that its statements take the server, and how it grows with the log."""

import asyncio
import random
import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import cast

from bench import query_calls
from bench.explained import Cost, Recording
from bench.filled import MILLION, Filled
from bench.measure import AtMost, Measurement, percentile
from bench.query_calls import Calls
from hookline.export.v1.event_query_service_pb2 import ListEventsRequest
from services.export.__main__ import open_pool
from services.export.cache import Cache
from services.export.query_servicer import EventQueryServicer
from services.export.turns import Turns
from services.export.watching import Tails
from shared import db, page_tokens
from shared.interceptors import Context
from shared.settings import Settings

FEWER = 100_000
TEN_MILLION = 10_000_000
# Of each kind: as many calls, in as long runs of pages as are needed.
CALLS = 50
PAGES = 10
_GOAL = AtMost(10, "ms", ratio=1.5)


async def run(filled: Filled, name: str, calls: Callable[[int], Calls], events: int = MILLION) -> Measurement:
    """Compares the slowest kinds of either size: their 99th percentiles."""
    few = await _costs(await filled.database_url(FEWER), calls(FEWER))
    many = await _costs(await filled.database_url(events), calls(events))
    return Measurement(
        name,
        max(map(_p99, many.values())),
        "ms",
        "the same at 100k",
        max(map(_p99, few.values())),
        _GOAL,
        [f"{kind}: {_described(many[kind])}; at 100k {_described(few[kind])}" for kind in many],
    )


async def _costs(database_url: str, calls: Calls) -> Mapping[str, Sequence[Cost]]:
    settings = Settings(database_url=database_url)
    page_tokens.configure("a key of the benchmark's")
    async with await open_pool(settings, 1) as pool, pool.acquire() as connection:
        recording = Recording(connection)
        stands_for_pool = cast("db.Pool", recording)
        tails = Tails(stands_for_pool, asyncio.Event())
        servicer = EventQueryServicer(stands_for_pool, Turns(1), Cache(None, ""), tails)
        return {kind: await _costs_of(servicer, recording, requests) for kind, requests in calls.items()}


async def _costs_of(
    servicer: EventQueryServicer, recording: Recording, requests: Sequence[ListEventsRequest]
) -> Sequence[Cost]:
    """The costs of first pages and of those that follow, of all requests in turn."""
    costs: list[Cost] = []
    shuffled = random.Random(0).sample(requests, len(requests))
    most = max(2, min(PAGES, -(-CALLS // len(requests))))
    while len(costs) < CALLS:
        for request in shuffled:
            following = request
            for _ in range(most):
                page = await servicer.ListEvents(following, cast(Context, None))
                costs.append(await recording.explain())
                if not page.next_page_token:
                    break
                following = _with_token(following, page.next_page_token)
            if len(costs) >= CALLS:
                break
    return costs


def _with_token(request: ListEventsRequest, token: str) -> ListEventsRequest:
    following = ListEventsRequest()
    following.CopyFrom(request)
    following.page_token = token
    return following


def _p99(costs: Sequence[Cost]) -> float:
    return percentile([cost.execution for cost in costs], 99)


def _described(costs: Sequence[Cost]) -> str:
    execution = [cost.execution for cost in costs]
    planning = statistics.median(cost.planning for cost in costs)
    return f"p50 {statistics.median(execution):.1f}, p99 {_p99(costs):.1f} (planning {planning:.1f}) ms"


_CALLS = {
    "query_list_1000": query_calls.list_1000,
    "query_company": query_calls.company,
    "query_type": query_calls.types,
    "query_payload": query_calls.payload,
    "query_text": query_calls.text,
}
Query = Callable[[Filled], Awaitable[Measurement]]
QUERIES: Mapping[str, Query] = {name: partial(run, name=name, calls=calls) for name, calls in _CALLS.items()}
QUERIES_10M: Mapping[str, Query] = {
    f"{name}_10m": partial(run, name=f"{name}_10m", calls=calls, events=TEN_MILLION) for name, calls in _CALLS.items()
}
