"""What the company's systems have done with events."""

import asyncio
import uuid
from typing import Any

import grpc
import pytest

from hookline.events.v1.events_pb2 import (
    PROCESSING_STATUS_FAILED,
    PROCESSING_STATUS_PENDING,
    PROCESSING_STATUS_PROCESSED,
    PROCESSING_STATUS_UNSPECIFIED,
    Event,
)
from hookline.export.v1.event_query_service_pb2 import GetEventRequest
from hookline.ingest.v1 import ingest_service_pb2 as pb
from shared.db import Connection
from tests.in_process import Exporting, Ingesting
from tests.refusals import refused
from tests.samples import grapfy, send

Mark = pb.MarkEventsRequest.Mark
MARKED = pb.MarkEventsResponse.MARK_OUTCOME_MARKED
UNCHANGED = pb.MarkEventsResponse.MARK_OUTCOME_UNCHANGED
NOT_FOUND = pb.MarkEventsResponse.MARK_OUTCOME_NOT_FOUND


async def mark(ingest: Ingesting, *marks: pb.MarkEventsRequest.Mark, company: str = "acme") -> list[int]:
    return list((await ingest.stub.MarkEvents(pb.MarkEventsRequest(company_id=company, marks=marks))).outcomes)


def processed(event_id: str) -> pb.MarkEventsRequest.Mark:
    return Mark(event_id=event_id, status=PROCESSING_STATUS_PROCESSED)


def failed(event_id: str, error: str = "") -> pb.MarkEventsRequest.Mark:
    return Mark(event_id=event_id, status=PROCESSING_STATUS_FAILED, error=error)


async def get(export: Exporting, event_id: str) -> Event:
    return (await export.query.GetEvent(GetEventRequest(company_id="acme", event_id=event_id))).event


async def stored(ingest: Ingesting, count: int) -> list[str]:
    return [result.event_id for result in await send(ingest.stub, "acme", map(grapfy, range(count)))]


async def test_marks_are_noted_and_shown(ingest: Ingesting, export: Exporting, connection: Connection) -> None:
    ids = await stored(ingest, 4)
    stranger = str(uuid.uuid4())
    found = await mark(ingest, failed(ids[2], "no stock"), processed(stranger), processed(ids[0]))
    assert found == [MARKED, NOT_FOUND, MARKED]
    events = [await get(export, event_id) for event_id in ids]
    assert [(event.status, event.status_error) for event in events] == [
        (PROCESSING_STATUS_PROCESSED, ""),
        (PROCESSING_STATUS_PENDING, ""),
        (PROCESSING_STATUS_FAILED, "no stock"),
        (PROCESSING_STATUS_PENDING, ""),
    ]
    unprocessed = await connection.fetch("SELECT sequence FROM hookline.unprocessed ORDER BY sequence")
    assert [row["sequence"] for row in unprocessed] == [2, 4]
    changes = await connection.fetch("SELECT sequence, change FROM hookline.event_status ORDER BY change")
    assert [tuple(row) for row in changes] == [(3, 1), (1, 2)]


async def test_the_same_mark_again_changes_nothing(
    ingest: Ingesting, export: Exporting, connection: Connection
) -> None:
    [event_id] = await stored(ingest, 1)
    assert await mark(ingest, failed(event_id, "a")) == [MARKED]
    assert await mark(ingest, failed(event_id, "a")) == [UNCHANGED]
    assert await mark(ingest, failed(event_id, "b")) == [MARKED]
    assert await mark(ingest, processed(event_id)) == [MARKED]
    assert await mark(ingest, processed(event_id)) == [UNCHANGED]
    assert await mark(ingest, failed(event_id)) == [MARKED]
    assert (await get(export, event_id)).status == PROCESSING_STATUS_FAILED
    assert await connection.fetchval("SELECT last_change FROM hookline.companies") == 4


async def test_another_companys_event_is_not_found(ingest: Ingesting, export: Exporting) -> None:
    [event_id] = await stored(ingest, 1)
    await send(ingest.stub, "bolt", [grapfy()])
    assert await mark(ingest, processed(event_id), company="bolt") == [NOT_FOUND]
    assert await mark(ingest, processed(event_id), company="nobody") == [NOT_FOUND]
    assert (await get(export, event_id)).status == PROCESSING_STATUS_PENDING


async def test_an_event_is_known_by_an_id_of_another_day_too(ingest: Ingesting, connection: Connection) -> None:
    [event_id] = await stored(ingest, 1)
    # As where a clock was wrong: its id tells another day than it lies in.
    await connection.execute("UPDATE hookline.events SET received_time = received_time + interval '3 days'")
    assert await mark(ingest, processed(event_id)) == [MARKED]
    [again] = await send(ingest.stub, "acme", [grapfy(0)])
    assert (again.event_id, again.sequence) == (event_id, 1)


async def test_no_marks_are_fine(ingest: Ingesting) -> None:
    assert await mark(ingest) == []


@pytest.mark.usefixtures("no_deadlocks")
async def test_many_callers_mark_the_same_events_at_once(ingest: Ingesting, connection: Connection) -> None:
    ids = await stored(ingest, 200)
    calls = [mark(ingest, *(processed(one) for one in (ids if n % 2 else reversed(ids)))) for n in range(8)]
    calls += [mark(ingest, *(failed(one, f"caller {n}") for one in ids[n::3])) for n in range(3)]
    assert all(NOT_FOUND not in outcomes for outcomes in await asyncio.gather(*calls))
    assert await connection.fetchval("SELECT count(*) FROM hookline.unprocessed") == 0
    numbers = await connection.fetchrow(
        "SELECT count(*), count(DISTINCT change), max(change), max(c.last_change)"
        " FROM hookline.event_status s JOIN hookline.companies c USING (company_id)"
    )
    assert numbers is not None
    assert len(set(numbers)) == 1, "changes are numbered densely"


async def test_ten_thousand_marks_are_taken(ingest: Ingesting) -> None:
    ids = await stored(ingest, 10_000)
    assert await mark(ingest, *map(processed, ids)) == [MARKED] * 10_000
    refusal = await refused(mark(ingest, *map(processed, [*ids, str(uuid.uuid4())])))
    assert list(refusal.violations) == ["marks"]


ID = str(uuid.UUID(int=1))


@pytest.mark.parametrize(
    ("marks", "field"),
    [
        ([Mark(status=PROCESSING_STATUS_PROCESSED)], "marks[0].event_id"),
        ([processed(ID), processed("no uuid")], "marks[1].event_id"),
        ([processed("{" + ID + "}")], "marks[0].event_id"),
        ([processed(ID), processed(ID.upper())], "marks[1].event_id"),
        ([Mark(event_id=ID, status=PROCESSING_STATUS_UNSPECIFIED)], "marks[0].status"),
        ([Mark(event_id=ID, status=PROCESSING_STATUS_PENDING)], "marks[0].status"),
        ([Mark(event_id=ID, status=77)], "marks[0].status"),  # type: ignore[arg-type]
        ([Mark(event_id=ID, status=PROCESSING_STATUS_PROCESSED, error="a")], "marks[0].error"),
        ([failed(ID, "a" * 2001)], "marks[0].error"),
        ([failed(ID, "a\0")], "marks[0].error"),
    ],
)
async def test_a_mark_that_makes_no_sense_fails_the_call(ingest: Ingesting, marks: list[Any], field: str) -> None:
    refusal = await refused(mark(ingest, *marks))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert list(refusal.violations) == [field]
