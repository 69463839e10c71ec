"""What was set aside and is of no use: out of sight, for a reason, and never deleted."""

import asyncio

import grpc

from hookline.ingest.v1 import ingest_service_pb2 as pb
from shared.db import Connection
from tests.in_process import Ingesting
from tests.quarantined import discarded, listed, whole
from tests.refusals import refused
from tests.samples import incoming, send


async def test_it_is_out_of_sight_with_its_reason(ingest: Ingesting, connection: Connection) -> None:
    results = await send(ingest.stub, "acme", [b"a", b"b", b"c"])
    ids = [one.quarantine_id for one in results]
    answer = await discarded(ingest, [ids[2], ids[0]], reason="probes of a scanner")
    assert (list(answer.quarantine_ids), answer.more) == ([ids[2], ids[0]], False)
    assert [one.quarantine_id for one in (await listed(ingest)).quarantined_events] == [ids[1]]
    shown = await whole(ingest, ids[0])
    assert (shown.payload, shown.discard_reason) == (b"a", "probes of a scanner")
    now = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float")
    assert abs(shown.discarded_time.seconds - now) < 60


async def test_the_same_coming_again_stays_discarded_and_is_counted(ingest: Ingesting) -> None:
    [first] = await send(ingest.stub, "acme", [b"a"])
    await discarded(ingest, [first.quarantine_id])
    [again] = await send(ingest.stub, "acme", [b"a"])
    assert again.quarantine_id == first.quarantine_id
    assert not (await listed(ingest)).quarantined_events
    assert (await whole(ingest, first.quarantine_id)).times_received == 2


async def test_discarding_again_changes_nothing(ingest: Ingesting) -> None:
    results = await send(ingest.stub, "acme", [b"a", b"b"])
    ids = [one.quarantine_id for one in results]
    await discarded(ingest, ids[:1], reason="first")
    before = await whole(ingest, ids[0])
    answer = await discarded(ingest, ids, reason="second")
    assert list(answer.quarantine_ids) == ids[1:], "those that this call discarded"
    assert await whole(ingest, ids[0]) == before
    assert (await whole(ingest, ids[1])).discard_reason == "second"


async def test_nothing_is_discarded_when_one_is_not_there(ingest: Ingesting) -> None:
    [own] = await send(ingest.stub, "acme", [b"a"])
    [others] = await send(ingest.stub, "bolt", [b"a"])
    refusal = await refused(discarded(ingest, [own.quarantine_id, others.quarantine_id]))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "QUARANTINED_EVENT_NOT_FOUND")
    assert refusal.metadata == {"quarantine_id": others.quarantine_id}
    for company in ("acme", "bolt"):
        assert len((await listed(ingest, company)).quarantined_events) == 1


async def test_a_filter_takes_the_oldest_500_and_says_whether_there_are_more(ingest: Ingesting) -> None:
    aside = await send(ingest.stub, "acme", [incoming(b"%d x" % number, "", "shop") for number in range(501)])
    await send(ingest.stub, "acme", [incoming(b"stays", "", "other")])
    which = pb.QuarantineFilter(source="shop", reason=pb.OUTCOME_REASON_JSON_MALFORMED)
    first = await discarded(ingest, filter=which)
    assert list(first.quarantine_ids) == [one.quarantine_id for one in aside[:500]]
    assert first.more
    second = await discarded(ingest, filter=which)
    assert (list(second.quarantine_ids), second.more) == ([aside[500].quarantine_id], False)
    third = await discarded(ingest, filter=which)
    assert (list(third.quarantine_ids), third.more) == ([], False)
    assert [one.payload_prefix for one in (await listed(ingest)).quarantined_events] == [b"stays"]


async def test_two_that_discard_at_once_share_the_work(ingest: Ingesting) -> None:
    aside = await send(ingest.stub, "acme", [b"%d x" % number for number in range(50)])
    ids = [one.quarantine_id for one in aside]
    answers = await asyncio.gather(*(discarded(ingest, ids[::step]) for step in (1, -1) * 4))
    said = [quarantine_id for answer in answers for quarantine_id in answer.quarantine_ids]
    assert sorted(said) == sorted(ids)


async def test_requests_that_mean_nothing_are_refused(ingest: Ingesting) -> None:
    [aside] = await send(ingest.stub, "acme", [b"a"])
    one = aside.quarantine_id
    for call, field in (
        (discarded(ingest), "quarantine_ids"),
        (discarded(ingest, [one], filter=pb.QuarantineFilter()), "filter"),
        (discarded(ingest, [one] * 501), "quarantine_ids"),
        (discarded(ingest, [one, one]), "quarantine_ids[1]"),
        (discarded(ingest, ["x"]), "quarantine_ids[0]"),
        (discarded(ingest, [one], reason=""), "reason"),
        (discarded(ingest, [one], reason=" \n"), "reason"),
        (discarded(ingest, [one], reason="x" * 501), "reason"),
        (discarded(ingest, [one], reason="\0"), "reason"),
        (discarded(ingest, filter=pb.QuarantineFilter(platform="a b")), "filter.platform"),
        (discarded(ingest, [one], company="a b"), "company_id"),
    ):
        refusal = await refused(call)
        assert (refusal.code, list(refusal.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, [field])
    assert not (await whole(ingest, one)).HasField("discarded_time")
