"""A person is erased from everywhere: what is left of her, in PostgreSQL and in Redis, is nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import asyncpg
import pytest
import redis.asyncio

from hookline.client import AsyncClient, InvalidRequest
from hookline.events.v1 import events_pb2
from hookline.export.v1 import event_query_service_pb2 as query_pb
from hookline.export.v1 import export_service_pb2 as export_pb
from hookline.ingest.v1 import ingest_service_pb2 as pb
from services.ingest import erase_store, erasure
from services.ingest.erased_keys import ErasedKeys
from services.ingest.erasing import Person
from services.suite.embedded_valkey import EmbeddedValkey
from services.suite.ports import free_address
from shared.db import Connection
from shared.errors import DatabaseUnavailable
from tests.blocking import blocked
from tests.exports import CSV, exported
from tests.in_process import SECRET_KEY, Exporting, Ingesting, exporting, ingesting
from tests.integration.conftest import Databases
from tests.ledger import check_ledger
from tests.padoca import padoca, put
from tests.quarantined import retried
from tests.refusals import refused
from tests.samples import ACCEPTED, DUPLICATE, QUARANTINED, grapfy, incoming, send
from tests.unit.test_erasing import ANA, HERS
from tests.waiting import eventually

EMAIL, DOCUMENT = "bia.forget@example.com", "529.982.247-25"
STRINGS = ["bia.forget", "bia%2eforget", "529.982.247-25", "52998224725", "Beatriz Esquecida", "11 98888-7766"]
PERSON = {"name": "Beatriz Esquecida", "email": "Bia.Forget@Example.com", "phoneNumber": "+55 11 98888-7766"}
OTHER = {"name": "Davi Lembrado", "email": "davi@example.com", "document": "111.444.777-35"}


def strings_in(text: str | bytes) -> list[str]:
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    return [one for one in STRINGS if one.lower() in text.lower()]


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[EmbeddedValkey]:
    one = EmbeddedValkey(tmp_path)
    await one.start()
    try:
        yield one
    finally:
        await one.stop()


def client(ingest: Ingesting) -> AsyncClient:
    return AsyncClient(ingest=ingest.address, patience=5)


async def erase(ingest: Ingesting, company: str = "acme", **who: Any) -> Any:
    """Erases; gives the last response."""
    who = who or {"email": EMAIL, "document": DOCUMENT}
    async with client(ingest) as one:
        responses = [response async for response in one.erase_subject(company, **who)]
    assert [response.done for response in responses] == [False] * (len(responses) - 1) + [True]
    return responses[-1]


def hers() -> list[bytes]:
    """Events of the person, one for each way to be hers."""
    return [
        grapfy("evt_her_1", customer=PERSON),
        grapfy("evt_her_2", customer={"name": "Beatriz Esquecida", "document": DOCUMENT}),
        grapfy("evt_her_3", customer={"name": "Beatriz Esquecida", "document": 52998224725}),
        grapfy("evt_her_4", customer=OTHER, meta={"deep": [[{"texts": ["x", f"fale com {EMAIL}."]}]]}),
        grapfy("evt_her_5", customer=None, product={"name": f"Consultoria {EMAIL}"}),
        grapfy("evt_her_6", customer={"name": EMAIL}, url="https://pay.example/?email=bia.forget%40example.com"),
        # Her address is in the key.
        grapfy(f"lead:{EMAIL}", customer={"name": "Beatriz Esquecida"}),
    ]


async def test_nothing_of_a_person_is_left(
    databases: Databases, database_url: str, connection: Connection, valkey: EmbeddedValkey
) -> None:
    async with (
        ingesting(database_url, redis_url=valkey.url) as ingest,
        exporting(database_url, redis_url=valkey.url) as export,
    ):
        others = [grapfy(number, customer=OTHER) for number in range(20)]
        results = await send(ingest.stub, "acme", [*others[:10], *hers(), *others[10:]])
        assert {result.outcome for result in results} == {ACCEPTED}
        ids = [result.event_id for result in results]
        # The same again with another content, hers and another's.
        contradicting = [
            grapfy("evt_her_1", customer=PERSON, total=5),
            grapfy(0, customer=PERSON),
            grapfy(1, customer=OTHER, total=5),
        ]
        again = await send(ingest.stub, "acme", contradicting)
        assert all(result.payload_differs for result in again)
        form = urlencode({"nobody": "knows", "email": EMAIL, "name": "Beatriz Esquecida"}).encode()
        aside = [
            incoming(b'{"no": "type", "customer": {"email": "BIA.FORGET@example.com"}}'),
            incoming(b"\xff\xfe not even text, CPF 529.982.247-25"),
            pb.IncomingEvent(payload=form, headers={"Content-Type": "application/x-www-form-urlencoded"}),
            pb.IncomingEvent(payload=b"[1]", headers={"X-Shopify-Topic": EMAIL}),
            incoming(b'{"no": "type", "customer": {"email": "davi@example.com"}}'),
        ]
        results = await send(ingest.stub, "acme", aside)
        assert {result.outcome for result in results} == {QUARANTINED}
        failed = events_pb2.PROCESSING_STATUS_FAILED
        marks = [(ids[10], "Beatriz Esquecida has no account"), (ids[0], f"no mail to {EMAIL}"), (ids[1], "Davi")]
        await ingest.stub.MarkEvents(
            pb.MarkEventsRequest(
                company_id="acme",
                marks=[pb.MarkEventsRequest.Mark(event_id=one, status=failed, error=text) for one, text in marks],
            )
        )
        await connection.execute(
            """
            WITH source AS (
                INSERT INTO hookline.sources (company_id, source, platform, base_url, credential)
                VALUES ('acme', 'shop', 'grapfy', 'https://api.example.com', 'x')
            ), run AS (
                INSERT INTO hookline.sync_runs (company_id, run_id, source, trigger, start_time)
                VALUES ('acme', gen_random_uuid(), 'shop', 'request', now()) RETURNING company_id, run_id
            )
            INSERT INTO hookline.sync_differences (company_id, run_id, difference, kind, item_id, reason, message)
            SELECT company_id, run_id, d.difference, 'missing', d.item_id, 'TYPE_MISSING', d.item_id || ' has no type'
            FROM run, unnest($1::text[]) WITH ORDINALITY AS d (item_id, difference)
            """,
            [EMAIL, DOCUMENT, "davi@example.com"],
        )
        # Another company's own Beatriz is none of acme's business.
        await send(ingest.stub, "bolt", [grapfy(1, customer={"name": "x", "email": "someone@example.com"})])
        await fill_caches(export)
        token = await first_resume_token(export)
        before = await exported(export.export, "acme", CSV)
        dump = await dumped(databases, database_url)
        assert set(strings_in(dump)) == set(STRINGS) - {"bia%2eforget"}

        counted = await erase(ingest, email=EMAIL, document=DOCUMENT, dry_run=True)
        assert await dumped(databases, database_url) == dump
        last = await erase(ingest)
        assert last == counted
        assert (last.looked_through, last.events, last.quarantined, last.conflicts) == (27, 7, 4, 2)

        assert strings_in(await dumped(databases, database_url)) == []
        assert [key for key, value in await cached(valkey) if strings_in(value)] == []
        assert [key for key, _ in await cached(valkey) if b":acme:" in key] == []

        # The log is as long as it was, and tells the same of what is left.
        await check_ledger(connection, {"acme": 27, "bolt": 1})
        now = await exported(export.export, "acme", CSV)
        rows = list(zip(before.csv(), now.csv(), strict=True))
        assert [old["event_id"] for old, _ in rows] == [new["event_id"] for _, new in rows]
        for position, (old, new) in enumerate(reversed(rows)):
            is_hers = 10 <= position < 17
            assert [old[name] for name in ("type", "total", "source", "occurred_time", "status")] == [
                new[name] for name in ("type", "total", "source", "occurred_time", "status")
            ]
            assert new["customer_name"] == ("" if is_hers else "Davi Lembrado")
        [erased] = await connection.fetch(
            "SELECT payload::text, erase_time FROM hookline.events WHERE company_id = 'acme' AND sequence = 11"
        )
        assert erased["payload"] == b"{}" or erased["payload"] == "{}"
        assert erased["erase_time"] is not None
        shown = [
            (await export.query.GetEvent(query_pb.GetEventRequest(company_id="acme", event_id=ids[position]))).event
            for position in (9, 10)
        ]
        assert [event.HasField("erase_time") for event in shown] == [False, True]
        assert shown[1].erase_time.ToDatetime(UTC) == erased["erase_time"]
        listed = await export.query.ListEvents(query_pb.ListEventsRequest(company_id="acme"))
        assert [event.sequence for event in listed.events if event.HasField("erase_time")] == [*range(17, 10, -1)]
        told = await exported(export.export, "acme", CSV, columns=["sequence", "erase_time"])
        assert [row["sequence"] for row in told.csv() if row["erase_time"]] == [str(one) for one in range(11, 18)]
        untouched = await connection.fetchval("SELECT count(*) FROM hookline.events WHERE erase_time IS NULL")
        assert untouched == 21
        errors = await connection.fetch("SELECT error FROM hookline.event_status ORDER BY change")
        assert [row["error"] for row in errors] == [None, None, "Davi"]

        missing = await connection.fetch("SELECT item_id FROM hookline.sync_differences ORDER BY difference")
        assert [row["item_id"] for row in missing] == [None, None, "davi@example.com"]

        # The same webhooks again are known, and what they hold is stored nowhere.
        results = await send(ingest.stub, "acme", hers())
        assert [(result.outcome, result.event_id) for result in results] == [(DUPLICATE, one) for one in ids[10:17]]
        assert not any(result.payload_differs for result in results)
        assert strings_in(await dumped(databases, database_url)) == []
        # In another process, which knows of nothing, too.
        async with ingesting(database_url) as other:
            results = await send(other.stub, "acme", [*hers(), grapfy("new", customer=OTHER)])
        assert [result.outcome for result in results] == [DUPLICATE] * 7 + [ACCEPTED]
        assert results[-1].sequence == 28

        # What began before can't go on.
        request = export_pb.ExportEventsRequest(company_id="acme", format=CSV, resume_token=token)
        refusal = await refused(export.export.ExportEvents(request))
        assert refusal.reason == "EXPORT_NOT_RESUMABLE"

        # Who and how much is written down, not whom.
        trail = await connection.fetch("SELECT action, subject, details FROM hookline.audit_log ORDER BY entry")
        erasures = [row for row in trail if row["action"] == "SUBJECT_ERASED"]
        assert [json.loads(row["details"])["state"] for row in erasures] == ["begun", "done"]
        [noted] = await connection.fetch("SELECT erasure_id, events, quarantined, conflicts, end_time FROM erasures")
        assert (noted["events"], noted["quarantined"], noted["conflicts"]) == (7, 4, 2)
        assert noted["end_time"] is not None
        assert {row["subject"] for row in erasures} == {str(noted["erasure_id"])}

        # Again does no harm.
        last = await erase(ingest)
        assert (last.looked_through, last.events, last.quarantined, last.conflicts) == (28, 0, 0, 0)
        assert len(await connection.fetch("SELECT FROM hookline.erasures")) == 2


async def fill_caches(export: Exporting) -> None:
    """Asks for what is cached: first pages, sums."""
    for _ in range(2):
        for company in ("acme", "bolt"):
            view = query_pb.EVENT_VIEW_FULL
            await export.query.ListEvents(query_pb.ListEventsRequest(company_id=company, view=view, page_size=100))
            for group in (query_pb.GROUPING_PRODUCT, query_pb.GROUPING_TYPE):
                request = query_pb.SummarizeEventsRequest(company_id=company, group_by=[group])
                await export.query.SummarizeEvents(request)


async def first_resume_token(export: Exporting) -> str:
    async for message in export.export.ExportEvents(export_pb.ExportEventsRequest(company_id="acme", format=CSV)):
        if message.HasField("chunk"):
            return message.chunk.resume_token
    raise AssertionError("no chunk")


async def cached(valkey: EmbeddedValkey) -> list[tuple[bytes, bytes]]:
    async with redis.asyncio.Redis.from_url(valkey.url) as one:
        return [(key, await one.dump(key) or b"") async for key in one.scan_iter()]


async def dumped(databases: Databases, url: str) -> str:
    """All that the database holds, texts and bytes."""
    process = await asyncio.create_subprocess_exec(
        databases.pg_dump, "--data-only", "--schema=hookline", "--inserts", url,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 0
    text = out.decode()
    # Bytes are dumped as hex; keys of psql's own go with each dump.
    for word in set(text.split("'")):
        if word.startswith("\\x"):
            text += "\n" + bytes.fromhex(word[2:]).decode(errors="replace")
    return "\n".join(line for line in text.splitlines() if "restrict" not in line)


async def test_steps_do_not_stop_at_their_bounds(
    ingest: Ingesting, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FEWEST": 3, "MOST": 7, "_MOST_FOUND": 2, "_ROWS": 2}.items():
        monkeypatch.setattr(erasure, name, value)
    events = [grapfy(number, customer=PERSON if number % 3 else OTHER) for number in range(60)]
    await send(ingest.stub, "acme", events)
    await send(ingest.stub, "acme", [grapfy(number, customer=PERSON, total=1) for number in range(7)])
    await send(ingest.stub, "acme", [b'{"n": %d, "e": "%s"}' % (n, EMAIL.encode()) for n in range(7)])
    await send(ingest.stub, "acme", [b'{"n": %d}' % n for n in range(4)])
    last = await erase(ingest)
    assert (last.looked_through, last.events, last.quarantined, last.conflicts) == (60, 40, 7, 7)
    assert await connection.fetchval("SELECT count(*) FROM hookline.events WHERE payload = '{}'") == 40
    assert await connection.fetchval("SELECT count(*) FROM hookline.quarantine") == 4


async def test_a_company_without_anything_is_erased_at_once(ingest: Ingesting) -> None:
    last = await erase(ingest, "nobody")
    assert (last.looked_through, last.events) == (0, 0)


async def test_requests_that_name_nobody_are_refused(ingest: Ingesting) -> None:
    async with client(ingest) as one:
        unknown: list[dict[str, Any]] = [{"email": "nobody"}, {"document": "123"}]
        for who in unknown:
            with pytest.raises(InvalidRequest) as raised:
                [_ async for _ in one.erase_subject("acme", **who)]
            assert [violation.field for violation in raised.value.violations] == list(who)


async def test_the_same_webhook_during_its_erasure_is_stored_once(
    ingest: Ingesting, database_url: str, connection: Connection
) -> None:
    """An event that comes again waits for the key that is being replaced, and must then not take it for a new one."""
    payload = grapfy(f"lead:{EMAIL}", customer=PERSON)
    [first] = await send(ingest.stub, "acme", [payload])
    step = await asyncpg.connect(database_url)
    try:
        # A step of an erasure, stopped just before its commit.
        async with step.transaction():
            for table in ("events", "event_keys"):
                await step.execute(f"UPDATE hookline.{table} SET dedup_key = $1", erased_key())
            again = asyncio.create_task(send(ingest.stub, "acme", [payload]))
            await waits(connection)
            await step.execute("UPDATE hookline.companies SET erasure_epoch = erasure_epoch + 1")
        [second] = await again
    finally:
        await step.close()
    assert (second.outcome, second.event_id) == (DUPLICATE, first.event_id)
    await check_ledger(connection, {"acme": 1})


def erased_key() -> str:
    return ErasedKeys(SECRET_KEY).erased("acme", "grapfy", f"lead:{EMAIL}")


async def waits(connection: Connection, statements: int = 1) -> None:
    """Until so many statements wait for others' transactions."""
    query = "SELECT count(*) >= $1 FROM pg_locks WHERE NOT granted"
    await eventually(lambda: connection.fetchval(query, statements), what="it waits")


async def test_a_retry_under_way_carries_nobody_past_an_erasure(ingest: Ingesting, connection: Connection) -> None:
    [aside] = await send(ingest.stub, "acme", [incoming(padoca(contato=EMAIL), "padoca")])
    await put(ingest)
    async with blocked(connection):
        # Stopped just before its commit.
        retrying = asyncio.create_task(retried(ingest, [aside.quarantine_id]))
        await waits(connection)
        erasing = asyncio.create_task(erase(ingest))
        await waits(connection, 2)
    assert [one.result.outcome for one in (await retrying).retried] == [ACCEPTED]
    counts = await erasing
    assert (counts.quarantined, counts.events) == (1, 1)
    row = await connection.fetchrow("SELECT payload, erase_time IS NULL AS is_there FROM hookline.events")
    assert row is not None
    assert tuple(row) == (b"{}", False)


async def test_what_was_erased_is_not_retried(ingest: Ingesting, connection: Connection, database_url: str) -> None:
    asides = await send(ingest.stub, "acme", [incoming(padoca(n, contato=EMAIL * n), "padoca") for n in range(2)])
    await put(ingest)
    other = await asyncpg.connect(database_url)
    try:
        async with other.transaction():
            await other.execute("SELECT FROM hookline.quarantine FOR UPDATE")
            erasing = asyncio.create_task(erase(ingest))
            await waits(connection)
            # It has looked at what is there, and would store it now.
            retrying = asyncio.create_task(retried(ingest, [one.quarantine_id for one in asides]))
            await waits(connection, 2)
    finally:
        await other.close()
    assert (await erasing).quarantined == 1
    assert [one.quarantine_id for one in (await retrying).retried] == [asides[0].quarantine_id]
    assert await connection.fetchval("SELECT count(*) FROM hookline.events WHERE erase_time IS NULL") == 1
    await check_ledger(connection, {"acme": 1})


async def test_ingest_and_erasures_at_once_neither_lose_nor_double(ingest: Ingesting, connection: Connection) -> None:
    people = [f"p{number}@example.com" for number in range(6)]
    events = [grapfy(f"{n}:{one}", customer={"name": one, "email": one}) for one in people for n in range(20)]

    async def again(times: int) -> None:
        for _ in range(times):
            await send(ingest.stub, "acme", events)

    await send(ingest.stub, "acme", events)
    await asyncio.gather(*(erase(ingest, email=one) for one in people), again(10), again(10))
    await check_ledger(connection, {"acme": 120})
    assert await connection.fetchval("SELECT count(*) FROM hookline.events WHERE erase_time IS NOT NULL") == 120
    assert await connection.fetchval("SELECT count(*) FROM hookline.event_conflicts") == 0


async def test_an_erasure_that_breaks_off_has_told_how_far_it_was(
    ingest: Ingesting, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "FEWEST", 10)
    await send(ingest.stub, "acme", [grapfy(number, customer=PERSON) for number in range(40)])
    async with client(ingest) as one:
        steps = one.erase_subject("acme", email=EMAIL)
        async for step in steps:
            if step.events:
                break
        await steps.aclose()
    row = await connection.fetchrow("SELECT events, end_time FROM hookline.erasures")
    assert row is not None
    assert row["events"] >= 10
    assert await connection.fetchval("SELECT details FROM hookline.audit_log") is not None
    assert (await erase(ingest)).done
    assert await connection.fetchval("SELECT count(*) FROM hookline.events WHERE erase_time IS NULL") == 0


async def test_redis_that_is_away_holds_nobody_up(database_url: str) -> None:
    async with ingesting(database_url, redis_url=f"redis://{free_address()}/0") as ingest:
        await send(ingest.stub, "acme", [grapfy(1, customer=PERSON)])
        assert (await erase(ingest)).events == 1


async def test_a_step_that_takes_too_long_is_made_smaller(
    ingest: Ingesting, monkeypatch: pytest.MonkeyPatch, connection: Connection
) -> None:
    find, spans = erase_store.find_events, []

    async def slow(one: Connection, company: str, after: int, upto: int, *rest: Any) -> list[erase_store.Found]:
        spans.append(upto - after)
        if upto - after > 10:
            raise DatabaseUnavailable
        return await find(one, company, after, upto, *rest)

    monkeypatch.setattr(erase_store, "find_events", slow)
    monkeypatch.setattr(erasure, "FEWEST", 10)
    await send(ingest.stub, "acme", [grapfy(number, customer=PERSON) for number in range(60)])
    assert (await erase(ingest)).events == 60
    assert max(spans) == 20


async def test_what_postgresql_sorts_out_is_nobodys(connection: Connection) -> None:
    joao = Person("joão.conceição@exemplo.com.br", "")
    places = [(ANA, text) for text in HERS] + [
        (joao, "João.Conceição@exemplo.com.br"),
        (joao, "<joão.conceição@exemplo.com.br>"),
    ]
    for person, text in places:
        payload = {"a": [{text: 1}, text], "json": json.dumps({"b": text})}
        for each in (json.dumps(payload), json.dumps(payload, ensure_ascii=False), json.dumps(json.dumps(payload))):
            assert person.is_in_json(each.encode())
            query = "SELECT $1::jsonb::text ~* $2"
            assert await connection.fetchval(query, each.encode(), person.pattern), each
        for body in (json.dumps(payload), text, f"x={quote(text)}&y=1", f"x={quote_plus(text)}", f"\xff {text}"):
            assert person.is_in_body(body.encode()), body
            query = "SELECT encode($1::bytea, 'escape') ~* $2"
            assert await connection.fetchval(query, body.encode(), person.pattern), body
    assert await connection.fetchval("SELECT '{\"document\": 1234567890.0}'::jsonb::text ~* $1", ANA.pattern)
