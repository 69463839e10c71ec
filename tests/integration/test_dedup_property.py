"""Dedup against a plain model: a dict from (company, source, key) to what came first."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.ingest.v1 import ingest_service_pb2 as pb
from shared.db import Connection
from tests.in_process import Ingesting, ingesting
from tests.ledger import check_ledger
from tests.samples import DUPLICATE, grapfy, incoming, outcomes, send


@dataclass(frozen=True)
class Sent:
    """An event of few companies, sources, keys and contents: most of them have come before."""

    company: str
    source: str
    key: str
    total: int


@dataclass
class Model:
    """What must come of it. Each example's companies are new ones: `suffix` tells them apart."""

    suffix: str = field(default_factory=lambda: uuid.uuid4().hex)
    first: dict[tuple[str, str, str], tuple[int, int]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    conflicts: set[Sent] = field(default_factory=set)
    ids: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def company(self, name: str) -> str:
        return f"{name}_{self.suffix}"

    def check(self, event: Sent, result: pb.IngestResult) -> None:
        place = (event.company, event.source, event.key)
        if place not in self.first:
            self.counts[event.company] = self.counts.get(event.company, 0) + 1
            self.first[place] = (self.counts[event.company], event.total)
            self.ids[place] = result.event_id
            assert outcomes([result]) == ["ACCEPTED"]
        else:
            assert result.outcome == DUPLICATE
        sequence, total = self.first[place]
        assert (result.sequence, result.event_id) == (sequence, self.ids[place])
        assert result.payload_differs == (event.total != total)
        if event.total != total:
            self.conflicts.add(event)

    async def check_database(self, connection: Connection) -> None:
        """Compares all that is stored."""
        companies = [self.company(name) for name in ("a", "b")]
        events = await connection.fetch(
            "SELECT company_id, source, dedup_key, sequence, event_id::text, total::int FROM hookline.events"
            " WHERE company_id = ANY ($1)",
            companies,
        )
        assert {tuple(row) for row in events} == {
            (self.company(company), source, key, sequence, self.ids[company, source, key], total)
            for (company, source, key), (sequence, total) in self.first.items()
        }
        conflicts = await connection.fetch(
            "SELECT company_id, source, dedup_key, payload FROM hookline.event_conflicts WHERE company_id = ANY ($1)",
            companies,
        )
        assert {tuple(row) for row in conflicts} == {
            (self.company(one.company), one.source, one.key, grapfy(one.key, total=one.total)) for one in self.conflicts
        }


@pytest.fixture
async def other_ingest(database_url: str) -> AsyncIterator[Ingesting]:
    """A second service on the same database."""
    async with ingesting(database_url) as running:
        yield running


sent = st.builds(
    Sent,
    company=st.sampled_from(["a", "b"]),
    source=st.sampled_from(["s", "t"]),
    key=st.sampled_from(["k1", "k2", "K1", "k:1"]),
    total=st.integers(0, 2),
)


@settings(max_examples=40)
@given(batches=st.lists(st.tuples(st.booleans(), st.lists(sent, min_size=1, max_size=12)), max_size=8))
async def test_whatever_comes_in_whatever_order_is_there_once(
    ingest: Ingesting, other_ingest: Ingesting, connection: Connection, batches: list[tuple[bool, list[Sent]]]
) -> None:
    model = Model()
    for through_the_other, events in batches:
        stub = (other_ingest if through_the_other else ingest).stub
        # A call is of one company.
        for name in ("a", "b"):
            ours = [event for event in events if event.company == name]
            messages = [incoming(grapfy(event.key, total=event.total), source=event.source) for event in ours]
            for event, result in zip(ours, await send(stub, model.company(name), messages), strict=True):
                model.check(event, result)
    await model.check_database(connection)
    await check_ledger(connection)
