"""The ingest service's SQL, and what its answers mean. Every function names its company."""

import hashlib
import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import msgspec
from uuid_utils.compat import uuid7

from services.ingest.mapping import Mapped, SetAside
from shared.db import Connection
from shared.statements import Statements

_sql = Statements("services.ingest")


class Stored(msgspec.Struct, frozen=True):
    """Where an event lies. `is_new`: this call stored it. `differs`: what lies there has another content."""

    event_id: uuid.UUID
    sequence: int | None
    is_new: bool
    differs: bool = False


class Candidate(msgspec.Struct, frozen=True):
    """An event with the id that it gets if it is new. The same candidate can be stored again after a lost connection:
    the id tells whether it was stored then."""

    event: Mapped
    event_id: uuid.UUID

    @property
    def key(self) -> tuple[str, str]:
        return self.event.source, self.event.dedup_key


def candidate(event: Mapped) -> Candidate:
    return Candidate(event, uuid7())


async def store_events(connection: Connection, company_id: str, candidates: Sequence[Candidate]) -> list[Stored]:
    """Stores what is new among the candidates; says for each, in order, where it lies.

    Committed when it returns. Of several candidates with one key the first counts.
    """
    first: dict[tuple[str, str], Candidate] = {}
    for one in candidates:
        first.setdefault(one.key, one)
    events = [one.event for one in first.values()]
    rows = await _sql.fetch(
        connection,
        "store_events",
        company_id=company_id,
        event_ids=[one.event_id for one in first.values()],
        sources=[event.source for event in events],
        platforms=[event.platform for event in events],
        types=[event.type for event in events],
        dedup_keys=[event.dedup_key for event in events],
        customer_names=[event.customer_name for event in events],
        product_names=[event.product_name for event in events],
        totals=[event.total for event in events],
        currencies=[event.currency for event in events],
        occurred_times=[event.occurred_time for event in events],
        payloads=[event.payload for event in events],
        payload_sha256s=[event.payload_sha256 for event in events],
    )
    sequences: dict[uuid.UUID, int | None] = {row["event_id"]: row["sequence"] for row in rows}
    lies = {
        one.key: (one.event_id, sequences[one.event_id], one.event.payload_sha256)
        for one in first.values()
        if one.event_id in sequences
    }
    known = [key for key in first if key not in lies]
    if known:
        for row in await _sql.fetch(
            connection,
            "find_keys",
            company_id=company_id,
            sources=[source for source, _ in known],
            dedup_keys=[key for _, key in known],
        ):
            lies[row["source"], row["dedup_key"]] = (row["event_id"], row["sequence"], row["payload_sha256"])
    stored = []
    for one in candidates:
        event_id, sequence, digest = lies[one.key]
        differs = digest != one.event.payload_sha256
        stored.append(Stored(event_id, sequence, is_new=event_id == one.event_id, differs=differs))
    await _store_conflicts(connection, company_id, candidates, stored)
    return stored


async def _store_conflicts(
    connection: Connection, company_id: str, candidates: Sequence[Candidate], stored: Sequence[Stored]
) -> None:
    differing = [(one, lies.event_id) for one, lies in zip(candidates, stored, strict=True) if lies.differs]
    conflicts = {(*one.key, one.event.payload_sha256): (one, event_id) for one, event_id in differing}
    times = Counter((*one.key, one.event.payload_sha256) for one, _ in differing)
    if conflicts:
        await _sql.fetch(
            connection,
            "store_conflicts",
            company_id=company_id,
            sources=[source for source, _, _ in conflicts],
            dedup_keys=[key for _, key, _ in conflicts],
            payload_sha256s=[digest for _, _, digest in conflicts],
            event_ids=[event_id for _, event_id in conflicts.values()],
            payloads=[one.event.payload for one, _ in conflicts.values()],
            times=[times[key] for key in conflicts],
        )


async def store_quarantined(connection: Connection, company_id: str, events: Sequence[SetAside]) -> list[uuid.UUID]:
    """Sets events aside; gives the id under which each lies. Committed when it returns."""
    keys = [(event.source, hashlib.sha256(event.payload).digest()) for event in events]
    first = dict(zip(reversed(keys), reversed(events), strict=True))
    times = Counter(keys)
    rows = await _sql.fetch(
        connection,
        "store_quarantined",
        company_id=company_id,
        sources=[source for source, _ in first],
        payload_sha256s=[digest for _, digest in first],
        quarantine_ids=[uuid7() for _ in first],
        platforms=[event.platform for event in first.values()],
        reasons=[event.reason for event in first.values()],
        messages=[event.message for event in first.values()],
        payloads=[event.payload for event in first.values()],
        times=[times[key] for key in first],
    )
    ids = {(row["source"], row["payload_sha256"]): row["quarantine_id"] for row in rows}
    return [ids[key] for key in keys]


class Quarantined(msgspec.Struct, frozen=True):
    """What lies in quarantine; of the payload only its start."""

    quarantine_id: uuid.UUID
    source: str
    platform: str
    reason: str
    message: str
    quarantined_time: datetime
    times_received: int
    payload_size: int
    payload_prefix: bytes


async def list_quarantined(
    connection: Connection, company_id: str, before: uuid.UUID | None, max_rows: int, prefix_bytes: int
) -> list[Quarantined]:
    """The newest first; `before` is the last id of the page before."""
    rows = await _sql.fetch(
        connection,
        "list_quarantined",
        company_id=company_id,
        before_id=before,
        max_rows=max_rows,
        prefix_bytes=prefix_bytes,
    )
    return [Quarantined(**row) for row in rows]


class Status(StrEnum):
    """What an event can be marked as."""

    PROCESSED = "processed"
    FAILED = "failed"


class Mark(msgspec.Struct, frozen=True):
    """One event's status. `error` only with FAILED."""

    event_id: uuid.UUID
    status: Status
    error: str | None


async def mark_events(connection: Connection, company_id: str, marks: Sequence[Mark]) -> list[bool | None]:
    """Notes statuses. For each mark: whether it changed anything, or None where there is no such event."""
    rows = await _sql.fetch(
        connection,
        "mark_events",
        company_id=company_id,
        event_ids=[mark.event_id for mark in marks],
        statuses=[mark.status for mark in marks],
        errors=[mark.error for mark in marks],
    )
    changed: list[bool | None] = [None] * len(marks)
    for row in rows:
        changed[row["position"] - 1] = not row["unchanged"]
    return changed


async def create_partitions(connection: Connection, months_ahead: int) -> list[str]:
    """Makes the monthly partitions that are missing; gives their names."""
    rows = await _sql.fetch(connection, "create_partitions", months_ahead=months_ahead)
    return [row["name"] for row in rows]
