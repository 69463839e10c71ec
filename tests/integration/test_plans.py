"""Plans of the statements that read the log: by an index that leads to the company, never by a look at everything."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import asyncpg
import pytest

from bench import many_events
from bench.explained import Recording
from bench.many_events import BIG, SMALL, TERMS, WORDS
from services.export import event_store, formats, listing, page_store, search_store, store, summaries
from services.export.__main__ import open_pool
from services.export.cache import Cache
from services.export.filters import Filter, Status
from services.export.listing import Walk, read_page
from services.export.search_store import Terms
from services.export.store import Span
from services.export.summaries import Grouping, Question
from services.export.turns import Turns
from services.ingest import store as ingest_store
from services.ingest.erased_keys import ErasedKeys
from services.ingest.mapping import Mapped
from shared import db
from shared.db import Connection
from shared.settings import Settings
from tests.integration.conftest import TEMPLATE, Databases

EVENTS = 60_000
APART = 8
MONTH_START = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
SOME_DAYS = MONTH_START + timedelta(days=40), MONTH_START + timedelta(days=43)
FILTERS = {
    "none": Filter(),
    "types": Filter(types=["pix_created", "order_refunded"]),
    "source": Filter(sources=["shop_2"]),
    "type and source": Filter(types=["pix_created"], sources=["shop_2"]),
    "status": Filter(statuses=[Status.FAILED]),
    "total": Filter(min_total="900", currency="BRL"),
    "platform": Filter(platforms=["grapfy"]),
    "received": Filter(received_start=SOME_DAYS[0], received_end=SOME_DAYS[1]),
    "received since": Filter(received_start=SOME_DAYS[0]),
    "occurred": Filter(occurred_start=SOME_DAYS[0], occurred_end=SOME_DAYS[1]),
    "occurred since": Filter(occurred_start=SOME_DAYS[0]),
    "type and occurred": Filter(types=["pix_created"], occurred_end=SOME_DAYS[1]),
    "customer": Filter(customer=WORDS["two"]),
    "words and contained": Filter(text=WORDS["rare"], payload_contains=TERMS["0.5 %"]),
    **{f"contained, {kind}": Filter(payload_contains=term) for kind, term in TERMS.items()},
    **{f"words, {kind}": Filter(text=word) for kind, word in WORDS.items()},
}
KNOWN_BY = ("source", "dedup_key", "payload_sha256")
Node = Mapping[str, Any]


@pytest.fixture(scope="module")
def filled_url(databases: Databases) -> Iterator[str]:
    """A database of this module's own, with several partitions and up-to-date statistics."""
    with asyncio.Runner() as runner:
        url = runner.run(databases.make(TEMPLATE))
        try:
            runner.run(_fill(url))
            yield url
        finally:
            runner.run(databases.drop(url))


async def _fill(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await many_events.fill(connection, EVENTS)
        # Over several of the indexes' buckets: with one alone there is nothing to choose by it.
        for table in ("events", "event_status", "unprocessed"):
            await connection.execute(
                f"UPDATE hookline.{table} SET sequence = sequence * $1 WHERE company_id = $2", APART, BIG
            )
        await connection.execute(
            "UPDATE hookline.companies SET last_sequence = last_sequence * $1 WHERE company_id = $2", APART, BIG
        )
        await connection.execute("VACUUM (FULL, ANALYZE) hookline.events, hookline.event_status")
    finally:
        await connection.close()


@pytest.fixture
async def reading(filled_url: str) -> AsyncIterator[Connection]:
    """A connection as the service's own."""
    async with await open_pool(Settings(database_url=filled_url), 1) as pool, pool.acquire() as connection:
        yield connection


async def nodes(connection: Connection, query: str, *arguments: Any, options: str = "") -> list[Node]:
    """All nodes of the statement's plan."""
    [explained] = json.loads(await connection.fetchval(f"EXPLAIN ({options}FORMAT JSON) {query}", *arguments))
    return list(_nodes(explained["Plan"]))


def _nodes(plan: Node) -> Iterator[Node]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


async def check(connection: Connection, found: Sequence[Node], what: str) -> None:
    """That no partition with rows is read but by an index, and that each index is asked for the company."""
    rows = await connection.fetch("SELECT relname FROM pg_class WHERE relname ~ '^events_20.._..$' AND relpages > 0")
    partitions = {row["relname"] for row in rows}
    assert len(partitions) == many_events.MONTHS
    assert found
    for node in found:
        assert node["Node Type"] != "Seq Scan" or node["Relation Name"] not in {*partitions, "event_status"}, (
            what,
            node,
        )
        if node.get("Index Name", "").startswith(("events_20", "event_status")):
            assert "company_id = " in node.get("Index Cond", ""), (what, node)


async def statements(connection: Connection, company_id: str, which: Filter, walk: Walk) -> Recording:
    """What one page of a list, or of a live tail, runs."""
    recording = Recording(connection)
    await read_page(cast(Connection, recording), company_id, which, walk, 100, with_payload=False)
    return recording


@pytest.mark.parametrize("kind", FILTERS)
async def test_lists_searches_and_live_tails(reading: Connection, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A small part of the log, as it is of a large one.
    monkeypatch.setattr(listing, "MAX_OCCURRED", 100)
    for company_id in (BIG, SMALL):
        end = (await store.mark(reading, company_id)).last_sequence
        for walk in (Walk(end, end, down=True), Walk(end, 0, down=False), Walk(end, end - 500, down=False)):
            recording = await statements(reading, company_id, FILTERS[kind], walk)
            assert recording.statements
            for query, arguments in recording.statements:
                await check(reading, await nodes(reading, query, *arguments), f"{kind}, {company_id}, {walk}: {query}")


@pytest.mark.parametrize("kind", FILTERS)
async def test_exports(reading: Connection, kind: str) -> None:
    for file_format in (formats.csv_format(), formats.json_format()):
        for newest_first in (False, True):
            for company_id, span in ((BIG, Span(80_000, 100_000)), (SMALL, Span(0, 1_000))):
                changes = (await store.mark(reading, company_id)).last_change
                query = page_store.page_query(
                    company_id, file_format, span, changes, FILTERS[kind], newest_first, 3_000
                )
                await check(reading, await nodes(reading, query.text), f"{kind}, {company_id}")


@pytest.mark.parametrize("kind", [kind for kind in FILTERS if FILTERS[kind].statuses is None])
async def test_summaries(reading: Connection, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Several spans, as of a large log.
    monkeypatch.setattr(summaries, "SPAN", 20_000)
    question = Question(FILTERS[kind], [Grouping.DAY, Grouping.TYPE], "America/Sao_Paulo")
    for company_id in (BIG, SMALL):
        recording = Recording(reading)
        pool = cast("db.Pool", recording)
        await summaries.summarize(pool, Turns(1), Cache(None, ""), company_id, question)
        for query, arguments in recording.statements:
            await check(reading, await nodes(reading, query, *arguments), f"{kind}, {company_id}: {query}")


async def test_times_are_led_to_by_an_index(reading: Connection) -> None:
    whole = Span(0, (await store.mark(reading, BIG)).last_sequence)
    which = FILTERS["occurred"]
    recording = Recording(reading)
    connection = cast(Connection, recording)
    part = await store.occurred_part(connection, BIG, whole, which)
    found = await search_store.find_occurred(connection, BIG, which, False, 10_000)
    # They occurred a few seconds before they were received.
    assert found
    assert (part.after + 1, part.upto) == (found[0].sequence, found[-1].sequence)
    assert await search_store.find_occurred(connection, BIG, which, True, 10) is None
    for query, arguments in recording.statements:
        read = await nodes(reading, query, *arguments)
        await check(reading, read, query)
        of_partitions = [node for node in read if node.get("Relation Name", "").startswith("events_20")]
        assert of_partitions
        # Bitmap scans are led by an index that stands below them.
        led = [node for node in read if "Index Cond" in node]
        assert all("occurred_time" in node["Index Cond"] for node in led), led


async def test_received_times_are_found_by_a_few_looks_into_an_index(reading: Connection) -> None:
    last = (await store.mark(reading, BIG)).last_sequence
    recording = Recording(reading)
    part = await store.received_part(cast(Connection, recording), BIG, Span(0, last), FILTERS["received"])
    [within] = await reading.fetch(
        "SELECT count(*), min(sequence), max(sequence) FROM hookline.events"
        " WHERE company_id = $1 AND received_time >= $2 AND received_time < $3",
        BIG,
        *SOME_DAYS,
    )
    assert within["count"] > 0
    assert part.after < within["min"] <= within["max"] <= part.upto
    assert part.upto - part.after <= within["max"] - within["min"] + 2 * APART
    [(query, arguments)] = recording.statements
    await check(reading, await nodes(reading, query, *arguments), query)


@pytest.mark.parametrize("page_cost", [1.1, 4, 40])
@pytest.mark.parametrize(
    ("terms", "condition"),
    [
        (Terms(payload_contains=TERMS["0.5 %"]), "payload @>"),
        (Terms(payload_contains=TERMS["20 %"]), "payload @>"),
        (Terms(text_words="'zoraide'"), "to_tsvector"),
        (Terms(text_words="'silva'"), "to_tsvector"),
        (Terms(customer_words="'marina' & 'silva':*"), "to_tsvector"),
    ],
)
async def test_terms_are_found_by_all_keys_of_their_index(
    reading: Connection, terms: Terms, condition: str, page_cost: float
) -> None:
    recording = Recording(reading)
    last = (await store.mark(reading, BIG)).last_sequence
    month = (await search_store.months(reading, BIG, Span(0, last)))[1]
    await search_store.find_terms(cast(Connection, recording), BIG, month, month.span, [2], terms, True, 100, 1)
    [(query, arguments)] = recording.statements
    # Whatever a row looked at in vain costs. Neither the term nor the bucket may silently be no condition of the index.
    await reading.execute(f"SET random_page_cost = {page_cost}")
    conditions = [
        node["Index Cond"]
        for node in await nodes(reading, query, *arguments)
        if node["Node Type"] == "Bitmap Index Scan"
    ]
    assert conditions
    for wanted in ("company_id = ", "(sequence >> 16) = b.bucket", condition):
        assert all(wanted in one for one in conditions), conditions


async def test_one_event_is_found_by_its_id(reading: Connection) -> None:
    recording = Recording(reading)
    event = await reading.fetchval("SELECT event_id FROM hookline.events WHERE company_id = $1 LIMIT 1", BIG)
    assert await event_store.get_event(cast(Connection, recording), BIG, event)
    [(query, arguments)] = recording.statements
    found = await nodes(reading, query, *arguments)
    await check(reading, found, query)
    assert any("event_id = " in node.get("Index Cond", "") for node in found)


@pytest.mark.parametrize("statement", ["find_keys", "mark_events"])
async def test_what_is_known_by_its_id_is_looked_for_in_its_month_alone(filled_url: str, statement: str) -> None:
    async with await db.open_pool(filled_url, 1) as pool, pool.acquire() as connection:
        rows = await connection.fetch(
            # Within a day of a month's end an id may be of either month.
            "SELECT e.event_id, e.source, e.dedup_key, k.payload_sha256"
            " FROM hookline.events e JOIN hookline.event_keys k USING (company_id, source, dedup_key)"
            " WHERE company_id = $1 AND date_part('day', received_time) BETWEEN 3 AND 26 ORDER BY dedup_key LIMIT 300",
            BIG,
        )
        transaction = connection.transaction()
        await transaction.start()
        recording = Recording(connection)
        told = cast(Connection, recording)
        if statement == "find_keys":
            names = dict.fromkeys(Mapped.__struct_fields__)
            events = [Mapped(**{**names, **{name: row[name] for name in KNOWN_BY}}) for row in rows]
            candidates = [ingest_store.candidate(event) for event in events]
            stored = await ingest_store.store_events(told, BIG, candidates, ErasedKeys(""), look_first=True)
            assert all(one.sequence and not one.is_new for one in stored)
        else:
            marks = [ingest_store.Mark(row["event_id"], ingest_store.Status.FAILED, "again") for row in rows]
            assert await ingest_store.mark_events(told, BIG, marks) == [True] * len(rows)
        [(query, arguments)] = recording.statements
        found = await nodes(connection, query, *arguments, options="ANALYZE, ")
        await transaction.rollback()
        looks = [node for node in found if "event_id = " in node.get("Index Cond", "")]
        assert sum(node["Actual Loops"] for node in looks) == len(rows)
