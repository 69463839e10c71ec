"""The ingest service's SQL, and what its answers mean. Every function names its company."""

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import asyncpg
import msgspec
from uuid_utils.compat import uuid7

from services.ingest.erased_keys import ErasedKeys, Key
from services.ingest.mapping import Mapped
from shared.db import Connection
from shared.statements import Statements

_sql = Statements("services.ingest")

_ERASED_MEANWHILE = "companies_erasure_epoch_check"
_Place = tuple[uuid.UUID, int | None, bytes]
"""An event's id, its number while it is in the log, and its payload's digest."""


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
    def key(self) -> Key:
        return self.event.source, self.event.dedup_key


def candidate(event: Mapped) -> Candidate:
    return Candidate(event, uuid7())


class ErasedMeanwhile(Exception):
    """Events of the company were erased since this process last heard of it: `note_erasures`, then try again."""


async def store_events(
    connection: Connection,
    company_id: str,
    candidates: Sequence[Candidate],
    erased_keys: ErasedKeys,
    *,
    look_first: bool = False,
) -> list[Stored]:
    """Stores what is new among the candidates; says for each, in order, where it lies.

    Committed when it returns. Of several candidates with one key the first counts. With `look_first` it looks which of
    them are known before it stores the rest: the same results, for a third of the work on each that is known.

    Raises ErasedMeanwhile: any of the candidates may be stored then.
    """
    keys = [one.key for one in candidates]
    first: dict[Key, Candidate] = {}
    for key, one in zip(keys, candidates, strict=True):
        first.setdefault(key, one)
    # Before it looks: what is erased between the looking and the storing is told by the storing.
    epoch = erased_keys.epoch(company_id)
    lies = await _find(connection, company_id, list(first)) if look_first else {}
    if erased := erased_keys.look_up(company_id, (key for key in first if key not in lies)):
        found = await _find(connection, company_id, list(erased))
        lies |= {erased[key]: place for key, place in found.items()}
    if new := {key: one for key, one in first.items() if key not in lies}:
        lies |= await _store(connection, company_id, new, epoch)
    if known := [key for key in first if key not in lies]:
        lies |= await _find(connection, company_id, known)
        if len(lies) < len(first):
            # Known a moment ago, and no more: its key was replaced.
            raise ErasedMeanwhile
    stored = []
    for key, one in zip(keys, candidates, strict=True):
        event_id, sequence, digest = lies[key]
        differs = digest != one.event.payload_sha256
        stored.append(Stored(event_id, sequence, is_new=event_id == one.event_id, differs=differs))
    await _store_conflicts(connection, company_id, candidates, stored)
    return stored


async def note_erasures(connection: Connection, company_id: str, erased_keys: ErasedKeys) -> None:
    """Asks whether and how often events of the company were erased."""
    rows = await _sql.fetch(connection, "find_erasure_epoch", company_id=company_id)
    erased_keys.note(company_id, rows[0]["erasure_epoch"] if rows else 0)


async def _store(
    connection: Connection, company_id: str, new: Mapping[Key, Candidate], erasure_epoch: int
) -> dict[Key, _Place]:
    """Stores those whose keys are not taken; says where these lie."""
    try:
        rows = await _insert(connection, company_id, list(new.values()), erasure_epoch)
    except asyncpg.CheckViolationError as error:
        if error.constraint_name == _ERASED_MEANWHILE:
            raise ErasedMeanwhile from None
        raise
    sequences: dict[uuid.UUID, int] = {row["event_id"]: row["sequence"] for row in rows}
    return {
        key: (one.event_id, sequences[one.event_id], one.event.payload_sha256)
        for key, one in new.items()
        if one.event_id in sequences
    }


async def _insert(
    connection: Connection, company_id: str, new: Sequence[Candidate], erasure_epoch: int
) -> Sequence[Mapping[str, Any]]:
    events = [one.event for one in new]
    return await _sql.fetch(
        connection,
        "store_events",
        company_id=company_id,
        event_ids=[one.event_id for one in new],
        sources=[event.source for event in events],
        platforms=[event.platform for event in events],
        types=[event.type for event in events],
        platform_types=[event.platform_type for event in events],
        dedup_keys=[event.dedup_key for event in events],
        customer_names=[event.customer_name for event in events],
        product_names=[event.product_name for event in events],
        totals=[event.total for event in events],
        currencies=[event.currency for event in events],
        occurred_times=[event.occurred_time for event in events],
        payloads=[event.payload for event in events],
        payload_sha256s=[event.payload_sha256 for event in events],
        erasure_epoch=erasure_epoch,
    )


async def _find(connection: Connection, company_id: str, keys: Sequence[Key]) -> dict[Key, _Place]:
    """Where the events of those keys lie that are taken."""
    rows = await _sql.fetch(
        connection,
        "find_keys",
        company_id=company_id,
        sources=[source for source, _ in keys],
        dedup_keys=[key for _, key in keys],
    )
    return {
        (row["source"], row["dedup_key"]): (row["event_id"], row["sequence"], row["payload_sha256"]) for row in rows
    }


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


async def merge_pending(connection: Connection) -> None:
    """Merges what new events have left for the indexes of payloads and words, unless another process is at it."""
    await _sql.fetch(connection, "merge_pending")
