"""Each event once: whoever brings it, however often, with whatever content."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import grpc
import pytest

from hookline.client.requests import CHANNEL_OPTIONS
from hookline.ingest.v1 import ingest_service_pb2 as pb
from hookline.ingest.v1.ingest_service_pb2_grpc import IngestServiceStub
from shared.db import Connection
from tests.in_process import Ingesting, ingesting
from tests.ledger import check_ledger
from tests.samples import grapfy, incoming, outcomes, send


def places(results: Sequence[pb.IngestResult]) -> list[tuple[str, int]]:
    return [(result.event_id, result.sequence) for result in results]


async def test_the_same_event_twice_in_a_batch_is_stored_once(ingest: Ingesting, connection: Connection) -> None:
    results = await send(ingest.stub, "acme", [grapfy(1), grapfy(1), grapfy(2), grapfy(1)])
    assert outcomes(results) == ["ACCEPTED", "DUPLICATE", "ACCEPTED", "DUPLICATE"]
    first = places(results)[0]
    assert places(results) == [first, first, (results[2].event_id, 2), first]
    await check_ledger(connection, {"acme": 2})


async def test_a_batch_sent_again_is_answered_with_the_first_ones(ingest: Ingesting, connection: Connection) -> None:
    first = await send(ingest.stub, "acme", [grapfy(number) for number in range(20)])
    again = await send(ingest.stub, "acme", [grapfy(number) for number in reversed(range(20))])
    assert outcomes(again) == ["DUPLICATE"] * 20
    assert places(again) == places(first)[::-1]
    assert not any(result.payload_differs for result in again)
    await check_ledger(connection, {"acme": 20})


async def test_the_same_event_through_two_services_at_once_is_stored_once(
    ingest: Ingesting, database_url: str, connection: Connection
) -> None:
    async with ingesting(database_url) as other:
        batches = await asyncio.gather(
            *(send(one.stub, "acme", [grapfy(number) for number in range(50)]) for one in (ingest, other) * 4)
        )
    assert len({tuple(places(results)) for results in batches}) == 1
    for results in zip(*batches, strict=True):
        assert sorted(outcomes(results)) == ["ACCEPTED"] + ["DUPLICATE"] * 7
    await check_ledger(connection, {"acme": 50})


async def test_one_event_by_fifty_callers_at_once_is_stored_once(ingest: Ingesting, connection: Connection) -> None:
    request = pb.IngestEventRequest(company_id="acme", event=incoming(grapfy()))
    answers = await asyncio.gather(*(ingest.stub.IngestEvent(request) for _ in range(50)))
    results = [answer.result for answer in answers]
    assert sorted(outcomes(results)) == ["ACCEPTED"] + ["DUPLICATE"] * 49
    assert len(set(places(results))) == 1
    await check_ledger(connection, {"acme": 1})


async def test_companies_and_sources_are_apart(ingest: Ingesting, connection: Connection) -> None:
    for company in ("acme", "bolt", "ACME"):
        events = [incoming(grapfy(), source=source) for source in ("", "shop_1", "shop_2", "Shop_1")]
        results = await send(ingest.stub, company, events)
        assert outcomes(results) == ["ACCEPTED"] * 4
        assert [result.sequence for result in results] == [1, 2, 3, 4]
        [default] = await send(ingest.stub, company, [incoming(grapfy(), source="grapfy")])
        assert places([default]) == places(results)[:1]
    await check_ledger(connection, {"acme": 4, "bolt": 4, "ACME": 4})


async def test_another_content_under_the_same_key_is_kept_beside_the_first(
    ingest: Ingesting, connection: Connection
) -> None:
    [first] = await send(ingest.stub, "acme", [grapfy(1, total=1)])
    results = await send(
        ingest.stub, "acme", [grapfy(1, total=2), grapfy(1, total=2), grapfy(1, total=3), grapfy(1, total=1)]
    )
    assert outcomes(results) == ["DUPLICATE"] * 4
    assert [result.payload_differs for result in results] == [True, True, True, False]
    assert places(results) == places([first]) * 4
    await send(ingest.stub, "acme", [grapfy(1, total=3)])
    rows = await connection.fetch(
        """SELECT company_id, source, dedup_key, event_id::text, payload, times_received
           FROM hookline.event_conflicts ORDER BY payload"""
    )
    assert [tuple(row) for row in rows] == [
        ("acme", "grapfy", "1", first.event_id, grapfy(1, total=2), 2),
        ("acme", "grapfy", "1", first.event_id, grapfy(1, total=3), 2),
    ]
    stored = await connection.fetchval("SELECT total::text FROM hookline.events WHERE company_id = 'acme'")
    assert stored == "1"


async def test_of_two_contents_in_one_batch_the_first_counts(ingest: Ingesting, connection: Connection) -> None:
    results = await send(ingest.stub, "acme", [grapfy(1, total=1), grapfy(1, total=2)])
    assert outcomes(results) == ["ACCEPTED", "DUPLICATE"]
    assert [result.payload_differs for result in results] == [False, True]
    assert await connection.fetchval("SELECT count(*) FROM hookline.event_conflicts") == 1


async def test_the_same_content_written_otherwise_does_not_differ(ingest: Ingesting) -> None:
    first = b'{"eventId":"1","eventType":"a","total":10,"x":{"a":1e2,"b":[1.50]}}'
    again = b'{ "x": {"b": [1.5], "a": 100.0}, "total": 10.00,\n"eventType": "\\u0061", "eventId": "1" }'
    [one] = await send(ingest.stub, "acme", [first])
    [two] = await send(ingest.stub, "acme", [again])
    assert (outcomes([two]), two.payload_differs, two.event_id) == (["DUPLICATE"], False, one.event_id)


async def test_events_without_an_id_are_told_apart_by_their_content(ingest: Ingesting) -> None:
    results = await send(
        ingest.stub, "acme", [b'{"type":"a","x":1}', b'{"type":"a","x":2}', b'{ "x":1.0, "type":"a" }']
    )
    assert outcomes(results) == ["ACCEPTED", "ACCEPTED", "DUPLICATE"]


async def test_received_times_follow_the_sequence_though_the_clock_runs_backwards(
    ingest: Ingesting, connection: Connection
) -> None:
    await send(ingest.stub, "acme", [grapfy(0)])
    # As if the clock had been an hour ahead until now.
    await connection.execute("UPDATE hookline.companies SET last_received_time = last_received_time + interval '1 h'")
    ahead = await connection.fetchval("SELECT last_received_time FROM hookline.companies")
    await asyncio.gather(*(send(ingest.stub, "acme", [grapfy(number)]) for number in range(1, 30)))
    rows = await connection.fetch("SELECT received_time FROM hookline.events ORDER BY sequence")
    assert len(rows) == 30
    assert all(row["received_time"] == ahead for row in rows[1:])
    await check_ledger(connection, {"acme": 30})


async def test_the_same_event_over_two_connections_at_once_is_stored_once(
    ingest: Ingesting, connection: Connection
) -> None:
    options = [*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(ingest.address, options) as channel:
        stubs = (ingest.stub, IngestServiceStub(channel))
        batches = await asyncio.gather(*(send(stub, "acme", [grapfy(n) for n in range(20)]) for stub in stubs * 4))
    for results in zip(*batches, strict=True):
        assert sorted(outcomes(results)) == ["ACCEPTED"] + ["DUPLICATE"] * 7
        assert len(set(places(results))) == 1
    await check_ledger(connection, {"acme": 20})


async def test_the_same_event_after_a_restart_is_a_duplicate(database_url: str, connection: Connection) -> None:
    async with ingesting(database_url) as before:
        [first] = await send(before.stub, "acme", [grapfy(1)])
    async with ingesting(database_url) as after:
        results = await send(after.stub, "acme", [grapfy(1), grapfy(1, total=5), grapfy(2)])
    assert outcomes(results) == ["DUPLICATE", "DUPLICATE", "ACCEPTED"]
    assert places(results[:2]) == places([first]) * 2
    assert [result.payload_differs for result in results] == [False, True, False]
    await check_ledger(connection, {"acme": 2})


async def remove(connection: Connection) -> None:
    await connection.execute("DELETE FROM hookline.events")


async def archive(connection: Connection) -> None:
    """As an archive does: a month that is over is detached, with all its events."""
    await connection.execute(
        """
        CREATE TABLE hookline.events_2020_01 PARTITION OF hookline.events
        FOR VALUES FROM ('2020-01-01') TO ('2020-02-01');
        UPDATE hookline.events SET received_time = '2020-01-15';
        ALTER TABLE hookline.events DETACH PARTITION hookline.events_2020_01;
        """
    )


@pytest.mark.parametrize("leave", [remove, archive])
async def test_an_event_that_left_the_log_is_still_a_duplicate(
    ingest: Ingesting, connection: Connection, leave: Callable[[Connection], Awaitable[None]]
) -> None:
    [first] = await send(ingest.stub, "acme", [grapfy(1)])
    await leave(connection)
    results = await send(ingest.stub, "acme", [grapfy(1), grapfy(1, total=5), grapfy(1, total=5), grapfy(2)])
    assert outcomes(results) == ["DUPLICATE"] * 3 + ["ACCEPTED"]
    assert places(results) == [(first.event_id, 0)] * 3 + [(results[3].event_id, 2)]
    assert [result.payload_differs for result in results] == [False, True, True, False]
    answer = await ingest.stub.ListEventConflicts(
        pb.ListEventConflictsRequest(company_id="acme", event_id=first.event_id)
    )
    [conflict] = answer.conflicts
    assert (conflict.event_id, conflict.dedup_key) == (first.event_id, "1")
    assert (conflict.payload, conflict.times_received) == (grapfy(1, total=5), 2)
    assert await connection.fetchval("SELECT count(*) FROM hookline.events") == 1
