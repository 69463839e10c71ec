"""The database is slow, or lost in the middle of things: nothing acknowledged is lost, nothing is stored twice."""

import asyncio
import os
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest

from hookline.export.v1.event_query_service_pb2 import GetEventRequest, ListEventsRequest
from hookline.export.v1.export_service_pb2 import EXPORT_FORMAT_NDJSON, ExportEventsRequest, ExportEventsResponse
from hookline.ingest.v1 import ingest_service_pb2 as pb
from services.ingest import committer
from services.suite.embedded_postgres import EmbeddedPostgres
from shared.db import Connection
from shared.migrate import migrate
from tests.blocking import blocked, is_waiting_for_a_lock
from tests.in_process import Ingesting, exporting, ingesting
from tests.ledger import check_ledger
from tests.proxy import proxied
from tests.refusals import refused
from tests.samples import grapfy, incoming, outcomes, send
from tests.waiting import eventually


async def lose_connections(connection: Connection) -> None:
    lost = await connection.fetch(
        "SELECT pg_terminate_backend(pid, 5000) AS gone FROM pg_stat_activity"
        " WHERE application_name = 'hookline' AND datname = current_database()"
    )
    assert lost
    assert all(row["gone"] for row in lost)


def demote(data: Path) -> None:
    """Makes a server that is stopped a standby."""
    signal = data / "standby.signal"
    signal.touch()
    os.chown(signal, data.stat().st_uid, data.stat().st_gid)


async def test_a_full_queue_refuses_calls_and_says_when_to_try_again(database_url: str, connection: Connection) -> None:
    async with ingesting(database_url, max_queued_bytes=1024 * 1024) as ingest:
        async with blocked(connection):
            first = asyncio.ensure_future(send(ingest.stub, "acme", [grapfy(1, x="x" * 900_000)]))
            await eventually(lambda: is_waiting_for_a_lock(connection), what="the first batch waits for the row")
            for refusal in (
                await refused(send(ingest.stub, "bolt", [grapfy(2, x="x" * 900_000)])),
                await refused(
                    ingest.stub.IngestEvent(
                        pb.IngestEventRequest(company_id="acme", event=incoming(grapfy(3, x="x" * 900_000)))
                    )
                ),
            ):
                assert refusal.code == grpc.StatusCode.RESOURCE_EXHAUSTED
                assert refusal.reason == "INGEST_QUEUE_FULL"
                assert refusal.retry_seconds is not None
                assert 0 < refusal.retry_seconds <= 5
            # What still fits is taken, and another company waits for nobody.
            assert outcomes(await send(ingest.stub, "bolt", [grapfy(4)])) == ["ACCEPTED"]
        assert outcomes(await first) == ["ACCEPTED"]
        # A request larger than the whole queue gets in when it is alone; whoever has been acknowledged is gone from it.
        large = [grapfy(number, x="x" * 900_000) for number in (5, 6)]
        assert outcomes(await send(ingest.stub, "acme", large)) == ["ACCEPTED"] * 2
    await check_ledger(connection, {"acme": 3, "bolt": 1})


async def test_a_stream_waits_where_a_call_is_refused(database_url: str, connection: Connection) -> None:
    async with ingesting(database_url, max_queued_bytes=1024 * 1024) as ingest:
        stream = ingest.stub.IngestEventStream()
        async with blocked(connection):
            for number in range(3):
                await stream.write(
                    pb.IngestEventStreamRequest(
                        company_id="acme", batch_number=number, events=[incoming(grapfy(number, x="x" * 900_000))]
                    )
                )
            await eventually(lambda: is_waiting_for_a_lock(connection), what="the first batch waits for the row")
        for number in range(3):
            ack = await stream.read()
            assert isinstance(ack, pb.IngestEventStreamResponse)
            assert (ack.batch_number, outcomes(ack.results)) == (number, ["ACCEPTED"])
        await stream.done_writing()
    await check_ledger(connection, {"acme": 3})


async def test_a_batch_survives_the_loss_of_its_connection(database_url: str, connection: Connection) -> None:
    async with ingesting(database_url) as ingest:
        async with blocked(connection):
            sending = asyncio.ensure_future(send(ingest.stub, "acme", [grapfy(1), b"nonsense", grapfy(2)]))
            await eventually(lambda: is_waiting_for_a_lock(connection), what="the batch waits for the row")
            await lose_connections(connection)
        assert outcomes(await sending) == ["ACCEPTED", "QUARANTINED JSON_MALFORMED", "ACCEPTED"]
    await check_ledger(connection, {"acme": 2})


async def test_what_was_settled_before_the_connection_was_lost_is_not_stored_again(
    ingest: Ingesting, connection: Connection
) -> None:
    await connection.execute(
        """
        CREATE FUNCTION wont() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.dedup_key = '2' THEN RAISE EXCEPTION 'no' USING ERRCODE = '22P05'; END IF;
            IF NEW.dedup_key = '4' THEN PERFORM pg_advisory_xact_lock(4); END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER wont BEFORE INSERT ON hookline.events FOR EACH ROW EXECUTE FUNCTION wont();
        SELECT pg_advisory_lock(4);
        """
    )
    sending = asyncio.ensure_future(send(ingest.stub, "acme", map(grapfy, range(1, 5))))
    await eventually(lambda: is_waiting_for_a_lock(connection), what="the second half waits")
    await lose_connections(connection)
    await connection.execute("SELECT pg_advisory_unlock(4)")
    assert outcomes(await sending) == ["ACCEPTED", "QUARANTINED JSON_UNSTORABLE", "ACCEPTED", "ACCEPTED"]
    assert await connection.fetchval("SELECT times_received FROM hookline.quarantine") == 1
    await check_ledger(connection, {"acme": 3})


async def test_a_primary_that_is_none_any_more_is_away(
    ingest: Ingesting, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "_RETRY_SECONDS", ())
    name = await connection.fetchval("SELECT quote_ident(current_database())")
    await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await lose_connections(connection)
    for _ in range(2):
        refusal = await refused(send(ingest.stub, "acme", [grapfy(1)]))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
    await connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    # The sessions that were opened meanwhile read only until they end.
    assert outcomes(await send(ingest.stub, "acme", [grapfy(1)])) == ["ACCEPTED"]


async def test_from_a_standby_nothing_is_exported_until_it_is_the_primary(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path, {"shared_buffers": "16MB"})
    await postgres.start()
    try:
        await migrate(postgres.dsn)
        connection = await asyncpg.connect(postgres.dsn)
        data = Path(await connection.fetchval("SHOW data_directory"))
        await connection.close()
        await postgres.stop()
        demote(data)
        await postgres.start()
        request = ExportEventsRequest(company_id="acme", format=EXPORT_FORMAT_NDJSON)
        async with exporting(postgres.dsn) as export:
            refusal = await refused(export.export.ExportEvents(request))
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
            connection = await asyncpg.connect(postgres.dsn)
            assert await connection.fetchval("SELECT pg_promote()")
            await connection.close()
            assert [part.WhichOneof("part") async for part in export.export.ExportEvents(request)][-1] == "trailer"
    finally:
        await postgres.destroy()


async def test_a_batch_whose_commit_was_not_heard_of_is_accepted_once(
    database_url: str, connection: Connection
) -> None:
    async with proxied(database_url) as proxy, ingesting(proxy.url) as ingest:
        await send(ingest.stub, "acme", [grapfy(0)])
        proxy.lose_answers_to(b"evt_unheard")
        sending = asyncio.ensure_future(
            send(ingest.stub, "acme", [grapfy(0), grapfy("evt_unheard"), grapfy(2), grapfy("evt_unheard")])
        )

        async def committed() -> bool:
            return bool(await connection.fetchval("SELECT last_sequence = 3 FROM hookline.companies"))

        await eventually(committed, what="the batch is committed")
        proxy.break_connections()
        results = await sending
    # Told apart by the event's id, which the retry brings again: accepted, not a duplicate of itself.
    assert outcomes(results) == ["DUPLICATE", "ACCEPTED", "ACCEPTED", "DUPLICATE"]
    assert [result.sequence for result in results] == [1, 2, 3, 2]
    assert not any(result.payload_differs for result in results)
    await check_ledger(connection, {"acme": 3})


async def test_everything_says_that_the_database_is_away_and_goes_on_when_it_is_back(database_url: str) -> None:
    async with proxied(database_url) as proxy, ingesting(proxy.url) as ingest, exporting(proxy.url) as export:
        [result] = await send(ingest.stub, "acme", [grapfy(1)])
        get = GetEventRequest(company_id="acme", event_id=result.event_id)
        proxy.cut()
        mark = pb.MarkEventsRequest.Mark(event_id=result.event_id, status=2)  # type: ignore[arg-type]  # PROCESSED
        calls: list[Any] = [
            send(ingest.stub, "acme", [grapfy(2)]),
            ingest.stub.IngestEvent(pb.IngestEventRequest(company_id="acme", event=incoming(grapfy(3)))),
            ingest.stub.IngestEventStream(
                iter([pb.IngestEventStreamRequest(company_id="bolt", events=[incoming(grapfy())])])
            ),
            ingest.stub.MarkEvents(pb.MarkEventsRequest(company_id="acme", marks=[mark])),
            ingest.stub.ListQuarantinedEvents(pb.ListQuarantinedEventsRequest(company_id="acme")),
            export.query.GetEvent(get),
            export.query.ListEvents(ListEventsRequest(company_id="acme")),
            export.export.ExportEvents(ExportEventsRequest(company_id="acme", format=EXPORT_FORMAT_NDJSON)),
        ]
        for refusal in await asyncio.gather(*(refused(call) for call in calls)):
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
        await proxy.mend()
        assert outcomes(await send(ingest.stub, "acme", [grapfy(2), grapfy(1)])) == ["ACCEPTED", "DUPLICATE"]
        assert (await export.query.GetEvent(get)).event.event_id == result.event_id


async def test_an_export_that_loses_the_database_has_no_trailer(database_url: str) -> None:
    async with proxied(database_url) as proxy, ingesting(database_url) as ingest, exporting(proxy.url) as export:
        for start in range(0, 30, 10):
            await send(ingest.stub, "acme", [grapfy(start + n, x="x" * 1_000_000) for n in range(10)])
        stream = export.export.ExportEvents(ExportEventsRequest(company_id="acme", format=EXPORT_FORMAT_NDJSON))
        kinds = []

        async def read() -> None:
            while isinstance(part := await stream.read(), ExportEventsResponse):
                kinds.append(part.WhichOneof("part"))
                # From the header on.
                proxy.cut()

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read()
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert kinds[0] == "header"
        assert "trailer" not in kinds


async def test_a_call_is_cut_off_in_time_and_what_it_brought_is_still_stored(
    database_url: str, connection: Connection
) -> None:
    async with ingesting(database_url, max_call_seconds=0.5) as ingest:
        async with blocked(connection):
            refusal = await refused(send(ingest.stub, "acme", [grapfy(1)]))
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
        [result] = await send(ingest.stub, "acme", [grapfy(1)])
        assert outcomes([result]) == ["DUPLICATE"]
    await check_ledger(connection, {"acme": 1})


async def test_a_month_without_a_partition_gets_one(database_url: str, connection: Connection) -> None:
    async with ingesting(database_url) as ingest, ingesting(database_url) as other:
        await send(ingest.stub, "acme", [grapfy(0)])
        partitions = await connection.fetch(
            "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'hookline.events'::regclass"
        )
        await connection.execute(f"DROP TABLE {', '.join(row['name'] for row in partitions)}")
        await connection.execute("TRUNCATE hookline.event_keys, hookline.companies, hookline.unprocessed")
        # Both find it missing; only one of them makes it.
        making = "hashtext('hookline.create_event_partitions')"
        await connection.execute(f"SELECT pg_advisory_lock({making})")
        both = [asyncio.ensure_future(send(one.stub, "acme", [grapfy(n)])) for n, one in enumerate((ingest, other))]

        async def both_wait() -> bool:
            return bool(
                await connection.fetchval(
                    "SELECT count(*) = 2 FROM pg_stat_activity"
                    " WHERE datname = current_database() AND wait_event = 'advisory'"
                )
            )

        await eventually(both_wait, what="both are about to make it")
        await connection.execute(f"SELECT pg_advisory_unlock({making})")
        assert [outcomes(results) for results in await asyncio.gather(*both)] == [["ACCEPTED"]] * 2
    await check_ledger(connection, {"acme": 2})
