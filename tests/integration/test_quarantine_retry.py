"""What was set aside, tried again: stored exactly once, by the mappings of now, as the event it would have been."""

import asyncio
import uuid

import grpc
import pytest

from hookline.ingest.v1 import ingest_service_pb2 as pb
from services.ingest import quarantine_store
from shared.db import Connection
from tests.blocking import blocked, is_waiting_for_a_lock
from tests.in_process import Ingesting, ingesting
from tests.ledger import check_ledger
from tests.padoca import RECOGNISE, mapping, padoca, put
from tests.quarantined import discarded, listed, results, retried, whole
from tests.refusals import refused
from tests.samples import grapfy, incoming, outcomes, send
from tests.waiting import eventually

ALL = pb.QuarantineFilter()


async def test_what_is_understood_now_is_stored_and_leaves(ingest: Ingesting, connection: Connection) -> None:
    event = pb.IncomingEvent(
        platform="padoca", source="loja", payload=padoca(7, produto=None), headers={"X-Padoca-Product": "Bolo"}
    )
    # The first mapping reads the header and not the total: that is how the header is kept.
    await put(ingest, total="cliente")
    [aside] = await send(ingest.stub, "acme", [event])
    assert outcomes([aside]) == ["QUARANTINED TOTAL_MALFORMED"]
    await put(ingest)
    answer = await retried(ingest, [aside.quarantine_id])
    assert outcomes(results(answer)) == ["ACCEPTED"]
    [one] = answer.retried
    assert (one.quarantine_id, one.result.quarantine_id, one.result.sequence) == (aside.quarantine_id, "", 1)
    assert not (await listed(ingest, include_discarded=True)).quarantined_events
    row = await connection.fetchrow(
        """SELECT event_id::text, source, platform, type, platform_type, dedup_key, customer_name, product_name,
                  total::text, currency, occurred_time::text, payload FROM hookline.events"""
    )
    assert row is not None
    assert tuple(row)[:-1] == (
        *(one.result.event_id, "loja", "padoca", "order_approved", "venda_aprovada", "7", "Rui Prates", "Bolo"),
        *("10.50", "BRL", "2026-10-01 12:30:00+00"),
    )
    [again] = await send(ingest.stub, "acme", [event])
    assert (outcomes([again]), again.event_id, again.payload_differs) == (["DUPLICATE"], one.result.event_id, False)
    await check_ledger(connection, {"acme": 1})


@pytest.mark.parametrize(
    ("source", "platform"), [("", ""), ("", "padoca"), ("loja", ""), ("unknown", ""), ("padoca", "")]
)
async def test_its_source_is_the_one_that_it_would_have_come_under(
    ingest: Ingesting, connection: Connection, source: str, platform: str
) -> None:
    event = incoming(padoca(), platform, source)
    [aside] = await send(ingest.stub, "acme", [event])
    await put(ingest, RECOGNISE)
    [result] = results(await retried(ingest, [aside.quarantine_id]))
    assert outcomes([result]) == ["ACCEPTED"]
    assert await connection.fetchval("SELECT source FROM hookline.events") == (source or "padoca")
    [again] = await send(ingest.stub, "acme", [event])
    assert (outcomes([again]), again.event_id) == (["DUPLICATE"], result.event_id)


async def test_what_is_still_not_understood_stays_with_the_reason_of_now(ingest: Ingesting) -> None:
    body = padoca(token="secret")
    [aside] = await send(ingest.stub, "acme", [pb.IncomingEvent(payload=body)])
    assert outcomes([aside]) == ["QUARANTINED PLATFORM_UNRECOGNISED"]
    [same] = results(await retried(ingest, [aside.quarantine_id]))
    assert (outcomes([same]), same.quarantine_id) == (["QUARANTINED PLATFORM_UNRECOGNISED"], aside.quarantine_id)
    await put(ingest, RECOGNISE, total="cliente", secrets='secrets = ["token"]')
    [result] = results(await retried(ingest, [aside.quarantine_id]))
    assert (outcomes([result]), result.quarantine_id) == (["QUARANTINED TOTAL_MALFORMED"], aside.quarantine_id)
    shown = await whole(ingest, aside.quarantine_id)
    assert (shown.source, shown.platform, shown.reason) == ("padoca", "padoca", pb.OUTCOME_REASON_TOTAL_MALFORMED)
    assert (shown.message, shown.quarantined_time.seconds > 0, shown.times_received) == (result.message, True, 1)
    assert b"secret" not in shown.payload, "now that it is known what in it is a secret"
    # The same body again is still the same.
    [again] = await send(ingest.stub, "acme", [body])
    assert again.quarantine_id == aside.quarantine_id
    assert (await whole(ingest, aside.quarantine_id)).times_received == 2
    await put(ingest, RECOGNISE)
    assert outcomes(results(await retried(ingest, filter=ALL))) == ["ACCEPTED"]


async def test_the_same_under_the_key_of_now_does_not_stand_in_the_way(ingest: Ingesting) -> None:
    bodies = [padoca(1), padoca(2), padoca(3, valor=None)]
    before = await send(ingest.stub, "acme", bodies)
    await put(ingest, RECOGNISE, total="cliente")
    # Two of them come again: they are known by now, and lie under another source.
    after = await send(ingest.stub, "acme", bodies[:2])
    assert len({one.quarantine_id for one in (*before, *after)}) == 5
    ids = [one.quarantine_id for one in before]
    answer = await retried(ingest, ids)
    assert [one.quarantine_id for one in answer.retried] == ids
    assert outcomes(results(answer)) == ["QUARANTINED TOTAL_MALFORMED"] * 3
    rows = (await listed(ingest)).quarantined_events
    assert {row.reason for row in rows} == {pb.OUTCOME_REASON_TOTAL_MALFORMED}
    assert len(rows) == 5
    await put(ingest, RECOGNISE)
    answer = await retried(ingest, filter=ALL)
    assert outcomes(results(answer)) == ["ACCEPTED"] * 3 + ["DUPLICATE"] * 2
    assert not (await listed(ingest)).quarantined_events


async def test_a_filter_goes_page_by_page_the_oldest_first(ingest: Ingesting, connection: Connection) -> None:
    aside = await send(ingest.stub, "acme", [incoming(padoca(number), "padoca", "loja") for number in range(25)])
    ids = [one.quarantine_id for one in aside]
    await send(ingest.stub, "acme", [incoming(padoca(99), "padoca", "other"), b"nonsense"])
    await send(ingest.stub, "bolt", [incoming(padoca(0), "padoca", "loja")])
    await discarded(ingest, [ids[3]])
    await put(ingest)
    which = pb.QuarantineFilter(source="loja", reason=pb.OUTCOME_REASON_PLATFORM_UNKNOWN)
    tried: list[str] = []
    token, sizes = "", []
    while True:
        page = await retried(ingest, filter=which, page_size=10, page_token=token)
        tried += [one.quarantine_id for one in page.retried]
        sizes.append(len(page.retried))
        assert set(outcomes(results(page))) == {"ACCEPTED"}
        if not (token := page.next_page_token):
            break
    assert (tried, sizes) == (ids[:3] + ids[4:], [10, 10, 4])
    keys = await connection.fetch("SELECT dedup_key FROM hookline.events ORDER BY sequence")
    assert [row["dedup_key"] for row in keys] == [str(number) for number in range(25) if number != 3]
    await check_ledger(connection, {"acme": 24})
    assert len((await listed(ingest)).quarantined_events) == 2
    assert len((await listed(ingest, "bolt")).quarantined_events) == 1


async def test_pages_come_to_an_end_though_nothing_is_understood(ingest: Ingesting) -> None:
    aside = await send(ingest.stub, "acme", [b"bad %d" % number for number in range(5)])
    token, tried = "", []
    while True:
        page = await retried(ingest, filter=ALL, page_size=2, page_token=token)
        tried += [one.quarantine_id for one in page.retried]
        if not (token := page.next_page_token):
            break
        wrong = await refused(retried(ingest, filter=pb.QuarantineFilter(source="x"), page_token=token))
        assert wrong.reason == "INVALID_PAGE_TOKEN"
    assert tried == [one.quarantine_id for one in aside]
    assert len((await listed(ingest)).quarantined_events) == 5


async def test_a_discarded_one_can_be_retried_by_its_id(ingest: Ingesting) -> None:
    [aside] = await send(ingest.stub, "acme", [incoming(padoca(), "padoca")])
    await discarded(ingest, [aside.quarantine_id], reason="why not")
    assert not (await retried(ingest, filter=ALL)).retried
    [still] = results(await retried(ingest, [aside.quarantine_id]))
    assert outcomes([still]) == ["QUARANTINED PLATFORM_UNKNOWN"]
    assert (await whole(ingest, aside.quarantine_id)).discard_reason == "why not"
    await put(ingest)
    assert outcomes(results(await retried(ingest, [aside.quarantine_id]))) == ["ACCEPTED"]
    assert not (await listed(ingest, include_discarded=True)).quarantined_events


async def test_nothing_is_tried_when_one_is_not_there(ingest: Ingesting, connection: Connection) -> None:
    [aside] = await send(ingest.stub, "acme", [incoming(padoca(), "padoca")])
    [others] = await send(ingest.stub, "bolt", [b"nonsense"])
    await put(ingest)
    refusal = await refused(retried(ingest, [aside.quarantine_id, others.quarantine_id]))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "QUARANTINED_EVENT_NOT_FOUND")
    assert refusal.metadata == {"quarantine_id": others.quarantine_id}
    assert await connection.fetchval("SELECT count(*) FROM hookline.events") == 0


async def test_requests_that_mean_nothing_are_refused(ingest: Ingesting) -> None:
    [aside] = await send(ingest.stub, "acme", [b"nonsense"])
    one = aside.quarantine_id
    many = [f"00000000-0000-7000-8000-{number:012d}" for number in range(501)]
    for call, field in (
        (retried(ingest), "quarantine_ids"),
        (retried(ingest, [one], filter=ALL), "filter"),
        (retried(ingest, many), "quarantine_ids"),
        (retried(ingest, [one, one]), "quarantine_ids[1]"),
        (retried(ingest, [one, "x"]), "quarantine_ids[1]"),
        (retried(ingest, [one], page_size=1), "page_size"),
        (retried(ingest, [one], page_token="x"), "page_token"),
        (retried(ingest, filter=pb.QuarantineFilter(source=" ")), "filter.source"),
        (retried(ingest, filter=ALL, page_size=-1), "page_size"),
        (retried(ingest, [one], company=""), "company_id"),
    ):
        refusal = await refused(call)
        assert (refusal.code, list(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, [field])


async def test_one_that_has_come_right_in_the_meantime_is_a_duplicate(
    ingest: Ingesting, connection: Connection
) -> None:
    asides = await send(ingest.stub, "acme", [incoming(padoca(number), "padoca") for number in range(2)])
    await put(ingest)
    stored = await send(ingest.stub, "acme", [incoming(padoca(0), "padoca"), incoming(padoca(1, valor=1), "padoca")])
    again = results(await retried(ingest, [one.quarantine_id for one in asides]))
    assert outcomes(again) == ["DUPLICATE"] * 2
    assert [(one.event_id, one.payload_differs) for one in again] == [
        (stored[0].event_id, False),
        (stored[1].event_id, True),
    ]
    assert not (await listed(ingest)).quarantined_events
    assert await connection.fetchval("SELECT payload FROM hookline.event_conflicts") == padoca(1)
    await check_ledger(connection, {"acme": 2})


async def test_a_death_between_storing_and_taking_out_heals(ingest: Ingesting, connection: Connection) -> None:
    [aside] = await send(ingest.stub, "acme", [incoming(padoca(), "padoca")])
    await put(ingest)
    await connection.execute(
        """
        CREATE FUNCTION dies() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'died'; END $$;
        CREATE TRIGGER dies BEFORE DELETE ON hookline.quarantine FOR EACH ROW EXECUTE FUNCTION dies();
        """
    )
    assert (await refused(retried(ingest, [aside.quarantine_id]))).code == grpc.StatusCode.INTERNAL
    await check_ledger(connection, {"acme": 1})
    assert (await whole(ingest, aside.quarantine_id)).payload == padoca()
    await connection.execute("DROP TRIGGER dies ON hookline.quarantine")
    assert outcomes(results(await retried(ingest, [aside.quarantine_id]))) == ["DUPLICATE"]
    assert not (await listed(ingest)).quarantined_events
    await check_ledger(connection, {"acme": 1})


async def test_retries_at_once_store_it_once(ingest: Ingesting, database_url: str, connection: Connection) -> None:
    [aside] = await send(ingest.stub, "acme", [incoming(padoca(), "padoca")])
    await put(ingest)
    async with ingesting(database_url) as other:
        async with blocked(connection):
            calls = [
                asyncio.ensure_future(call)
                for one in (ingest, other)
                for call in (retried(one, [aside.quarantine_id]), retried(one, filter=ALL))
            ]
            # … while the same body comes again.
            coming = asyncio.ensure_future(send(ingest.stub, "acme", [incoming(padoca(), "padoca")]))
            await eventually(lambda: is_waiting_for_a_lock(connection), what="they wait for the company's row")
        came = list(await coming)
        answers = await asyncio.gather(*calls, return_exceptions=True)
    # Whoever looked only when it was gone found nothing.
    late = [one for one in answers if isinstance(one, grpc.aio.AioRpcError)]
    assert {one.code() for one in late} <= {grpc.StatusCode.NOT_FOUND}
    tried = [result for one in answers if isinstance(one, pb.RetryQuarantinedEventsResponse) for result in results(one)]
    assert tried
    assert sorted(outcomes([*tried, *came])) == ["ACCEPTED"] + ["DUPLICATE"] * (len(tried) + len(came) - 1)
    assert len({result.event_id for result in [*tried, *came]}) == 1
    assert not (await listed(ingest)).quarantined_events
    await check_ledger(connection, {"acme": 1})


async def test_a_client_that_freezes_holds_nobody_up_for_long(ingest: Ingesting, connection: Connection) -> None:
    [aside] = await send(ingest.stub, "acme", [incoming(padoca(), "padoca")])
    its_id = uuid.UUID(aside.quarantine_id)
    async with connection.transaction():
        assert await quarantine_store.hold(connection, "acme", [its_id, uuid.UUID(int=1)]) == {its_id}
        assert await connection.fetchval("SHOW idle_in_transaction_session_timeout") == "10s"
    assert await connection.fetchval("SHOW idle_in_transaction_session_timeout") == "0"


async def test_a_topic_that_no_mapping_read_is_there_when_one_does(ingest: Ingesting, connection: Connection) -> None:
    def event(topic: str) -> pb.IncomingEvent:
        return pb.IncomingEvent(payload=b'{"pedido": 7}', headers={"X-WC-Webhook-Topic": topic})

    asides = await send(ingest.stub, "acme", [event("order.updated"), event("order.deleted")])
    shop = """
        name = "loja"
        title = "Loja"
        recognise.present = ["pedido"]
        fields.type = ["header:x-wc-webhook-topic"]
        fields.dedup_key = [["header:x-wc-webhook-topic", "pedido"]]
        """
    # First one that understands nothing yet.
    first = shop.replace("fields.type", 'fields.total = ["header:x-wc-webhook-topic"]\nfields.type')
    for text, expected in ((first, "QUARANTINED TOTAL_MALFORMED"), (shop, "ACCEPTED")):
        await ingest.stub.PutPlatformMapping(pb.PutPlatformMappingRequest(company_id="acme", mapping=text))
        answer = await retried(ingest, [one.quarantine_id for one in asides])
        assert outcomes(results(answer)) == [expected] * 2
    rows = await connection.fetch("SELECT dedup_key FROM hookline.events ORDER BY sequence")
    assert [row["dedup_key"] for row in rows] == [":order.updated:7", ":order.deleted:7"]


async def test_large_ones_are_tried_by_and_by(ingest: Ingesting, connection: Connection) -> None:
    bodies = [padoca(number, x="x" * 1_000_000) for number in range(10)]
    ids = []
    for body in bodies:
        [aside] = await send(ingest.stub, "acme", [incoming(body, "padoca")])
        ids.append(aside.quarantine_id)
    await put(ingest)
    answer = await retried(ingest, ids[::-1])
    assert [one.quarantine_id for one in answer.retried] == ids[::-1], "in the request's order"
    assert outcomes(results(answer)) == ["ACCEPTED"] * 10
    await check_ledger(connection, {"acme": 10})


async def test_what_postgresql_will_not_hold_stays(ingest: Ingesting, connection: Connection) -> None:
    asides = await send(ingest.stub, "acme", [incoming(padoca(number), "padoca") for number in range(3)])
    await connection.execute(
        """
        CREATE FUNCTION wont() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '22P05'; END $$;
        CREATE TRIGGER wont BEFORE INSERT ON hookline.events
        FOR EACH ROW WHEN (NEW.dedup_key = '1') EXECUTE FUNCTION wont();
        """
    )
    await put(ingest)
    ids = [one.quarantine_id for one in asides]
    answer = await retried(ingest, ids)
    assert outcomes(results(answer)) == ["ACCEPTED", "QUARANTINED JSON_UNSTORABLE", "ACCEPTED"]
    assert answer.retried[1].result.quarantine_id == ids[1]
    assert (await whole(ingest, ids[1])).reason == pb.OUTCOME_REASON_JSON_UNSTORABLE
    assert [one.quarantine_id for one in (await listed(ingest)).quarantined_events] == [ids[1]], "and makes no other"
    await connection.execute("DROP TRIGGER wont ON hookline.events")
    assert outcomes(results(await retried(ingest, [ids[1]]))) == ["ACCEPTED"]
    await check_ledger(connection, {"acme": 3})


async def test_what_postgresql_did_not_hold_is_tried_again_as_it_came(
    ingest: Ingesting, connection: Connection
) -> None:
    await connection.execute(
        """
        CREATE FUNCTION wont() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '22P05'; END $$;
        CREATE TRIGGER wont BEFORE INSERT ON hookline.events FOR EACH ROW EXECUTE FUNCTION wont();
        """
    )
    event = pb.IncomingEvent(
        payload=b'{"id": 1, "total_price": "10.50", "currency": "BRL"}',
        headers={"X-Shopify-Topic": "orders/paid", "X-Shopify-Event-Id": "e-1", "X-Shopify-Hmac-Sha256": "s3cret"},
    )
    [aside] = await send(ingest.stub, "acme", [event])
    assert outcomes([aside]) == ["QUARANTINED JSON_UNSTORABLE"]
    assert aside.message == "PostgreSQL can't hold the payload (SQLSTATE 22P05)"
    row = await connection.fetchrow("SELECT source, platform, named_source, named_platform FROM hookline.quarantine")
    assert row is not None
    assert tuple(row) == ("shopify", "shopify", "", "")
    kept = dict((await whole(ingest, aside.quarantine_id)).headers)
    assert kept == {"x-shopify-topic": "orders/paid", "x-shopify-event-id": "e-1"}
    await connection.execute("DROP TRIGGER wont ON hookline.events")
    assert outcomes(results(await retried(ingest, filter=ALL))) == ["ACCEPTED"]
    assert await connection.fetchval("SELECT type FROM hookline.events") == "order_approved"
    assert outcomes(await send(ingest.stub, "acme", [event])) == ["DUPLICATE"]


async def test_what_is_too_large_by_now_is_rejected_and_stays(database_url: str) -> None:
    body = grapfy(x="x" * 5_000, total="much")
    async with ingesting(database_url) as before:
        [aside] = await send(before.stub, "acme", [body])
    async with ingesting(database_url, max_event_bytes=1024) as now:
        assert outcomes(results(await retried(now, filter=ALL))) == ["REJECTED PAYLOAD_TOO_LARGE"]
        assert (await whole(now, aside.quarantine_id)).payload == body


async def test_a_retry_reads_the_rules_of_now(ingest: Ingesting, connection: Connection) -> None:
    [aside] = await send(ingest.stub, "acme", [incoming(padoca(), "padoca")])
    # Without a word to anyone: what is remembered is still good for seconds.
    await connection.execute(
        "INSERT INTO hookline.platform_mappings (company_id, name, mapping) VALUES ('acme', 'padoca', $1)", mapping()
    )
    assert outcomes(await send(ingest.stub, "acme", [incoming(padoca(2), "padoca")])) == [
        "QUARANTINED PLATFORM_UNKNOWN"
    ]
    assert outcomes(results(await retried(ingest, [aside.quarantine_id]))) == ["ACCEPTED"]
