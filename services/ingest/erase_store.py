"""The SQL that erases persons. Every function names its company."""

import uuid
from collections.abc import Sequence
from datetime import datetime

import msgspec

from services.ingest.erased_keys import Key
from shared.db import Connection
from shared.statements import Statements

_sql = Statements("services.ingest")


class Found(msgspec.Struct, frozen=True):
    """An event that may be a person's."""

    sequence: int
    received_time: datetime
    event_id: uuid.UUID
    source: str
    dedup_key: str
    type: str
    platform_type: str | None
    customer_name: str | None
    product_name: str | None
    payload: bytes


class Left(msgspec.Struct, frozen=True):
    """What is left of an event: the names that are not the person's."""

    sequence: int
    received_time: datetime
    dedup_key: str
    type: str
    platform_type: str | None
    product_name: str | None


class FoundError(msgspec.Struct, frozen=True):
    """What an event was marked with."""

    sequence: int
    change: int
    error: str


class FoundAside(msgspec.Struct, frozen=True):
    """Something in quarantine; all but the id is None where it can't be the person's."""

    quarantine_id: uuid.UUID
    may_be: bool
    payload: bytes | None
    headers: bytes | None
    texts: str | None


class FoundConflict(msgspec.Struct, frozen=True):
    """A conflict; its payload is None where it can't be the person's."""

    source: str
    dedup_key: str
    payload_sha256: bytes
    may_be: bool
    payload: bytes | None

    @property
    def key(self) -> tuple[str, str, bytes]:
        return self.source, self.dedup_key, self.payload_sha256


class FoundDifference(msgspec.Struct, frozen=True):
    """What a run has found missing; the platform's id for it is None where it can't be the person's."""

    run_id: uuid.UUID
    difference: int
    item_id: str | None


class Counts(msgspec.Struct):
    """How much was found so far."""

    looked_through: int = 0
    events: int = 0
    quarantined: int = 0
    conflicts: int = 0


async def lock(connection: Connection, company_id: str) -> None:
    """Waits for other erasures of the company; holds them off until the transaction ends."""
    await _sql.fetch(connection, "lock_erasure", company_id=company_id)


async def begin(connection: Connection, company_id: str, erasure_id: uuid.UUID) -> None:
    """Notes that an erasure begins."""
    await _sql.fetch(connection, "begin_erasure", company_id=company_id, erasure_id=erasure_id)


async def note(connection: Connection, company_id: str, erasure_id: uuid.UUID, counts: Counts, *, done: bool) -> None:
    """Notes how far it has come."""
    await _sql.fetch(
        connection,
        "note_erasure",
        company_id=company_id,
        erasure_id=erasure_id,
        events=counts.events,
        quarantined=counts.quarantined,
        conflicts=counts.conflicts,
        is_done=done,
    )


async def last_sequence(connection: Connection, company_id: str) -> int:
    """Where the company's log ends."""
    rows = await _sql.fetch(connection, "find_erasure_epoch", company_id=company_id)
    return rows[0]["last_sequence"] if rows else 0


async def count_erasure(connection: Connection, company_id: str) -> None:
    """Tells that events are not what they were. Last in the transaction that changes them."""
    await _sql.fetch(connection, "count_erasure", company_id=company_id)


async def find_events(
    connection: Connection, company_id: str, after: int, upto: int, pattern: str, max_rows: int
) -> list[Found]:
    """The events of a span that may be a person's, at most so many, in the order of the log."""
    rows = await _sql.fetch(
        connection,
        "find_persons_events",
        company_id=company_id,
        after=after,
        upto=upto,
        pattern=pattern,
        max_rows=max_rows,
    )
    return [Found(**row) for row in rows]


async def find_errors(connection: Connection, company_id: str, after: int, upto: int, pattern: str) -> list[FoundError]:
    """The errors of a span's events that may be about a person."""
    rows = await _sql.fetch(
        connection, "find_persons_errors", company_id=company_id, after=after, upto=upto, pattern=pattern
    )
    return [FoundError(**row) for row in rows]


async def erase_events(connection: Connection, company_id: str, left: Sequence[Left]) -> None:
    """Takes away what events were about."""
    await _sql.fetch(
        connection,
        "erase_events",
        company_id=company_id,
        sequences=[one.sequence for one in left],
        received_times=[one.received_time for one in left],
        dedup_keys=[one.dedup_key for one in left],
        types=[one.type for one in left],
        platform_types=[one.platform_type for one in left],
        product_names=[one.product_name for one in left],
    )


async def erase_errors(
    connection: Connection, company_id: str, sequences: Sequence[int], errors: Sequence[FoundError]
) -> None:
    """Takes away all errors of the events, and those errors."""
    await _sql.fetch(
        connection,
        "erase_errors",
        company_id=company_id,
        sequences=sequences,
        error_sequences=[one.sequence for one in errors],
        error_changes=[one.change for one in errors],
    )


async def replace_keys(connection: Connection, company_id: str, keys: Sequence[Key], new_keys: Sequence[str]) -> None:
    """Puts other keys into the ledger in place of those."""
    await _sql.fetch(
        connection,
        "replace_keys",
        company_id=company_id,
        sources=[source for source, _ in keys],
        dedup_keys=[key for _, key in keys],
        new_keys=new_keys,
    )


async def look_through_quarantine(
    connection: Connection, company_id: str, after: uuid.UUID | None, pattern: str, max_rows: int
) -> list[FoundAside]:
    """The next ones in quarantine."""
    rows = await _sql.fetch(
        connection,
        "look_through_quarantine",
        company_id=company_id,
        after_id=after,
        pattern=pattern,
        max_rows=max_rows,
    )
    return [FoundAside(**row) for row in rows]


async def remove_quarantined(connection: Connection, company_id: str, quarantine_ids: Sequence[uuid.UUID]) -> None:
    """Takes out what is in quarantine."""
    await _sql.fetch(connection, "remove_quarantined", company_id=company_id, quarantine_ids=quarantine_ids)


async def look_through_conflicts(
    connection: Connection, company_id: str, after: FoundConflict | None, pattern: str, max_rows: int
) -> list[FoundConflict]:
    """The next conflicts."""
    source, key, digest = after.key if after else (None, None, None)
    rows = await _sql.fetch(
        connection,
        "look_through_conflicts",
        company_id=company_id,
        after_source=source,
        after_key=key,
        after_sha256=digest,
        pattern=pattern,
        max_rows=max_rows,
    )
    return [FoundConflict(**row) for row in rows]


async def remove_conflicts(connection: Connection, company_id: str, conflicts: Sequence[FoundConflict]) -> None:
    """Takes conflicts out."""
    await _sql.fetch(
        connection,
        "remove_conflicts",
        company_id=company_id,
        sources=[one.source for one in conflicts],
        dedup_keys=[one.dedup_key for one in conflicts],
        payload_sha256s=[one.payload_sha256 for one in conflicts],
    )


async def look_through_differences(
    connection: Connection, company_id: str, after: FoundDifference | None, pattern: str, max_rows: int
) -> list[FoundDifference]:
    """The next of what runs have found missing."""
    rows = await _sql.fetch(
        connection,
        "look_through_differences",
        company_id=company_id,
        after_run_id=after and after.run_id,
        after_difference=after and after.difference,
        pattern=pattern,
        max_rows=max_rows,
    )
    return [FoundDifference(**row) for row in rows]


async def erase_differences(connection: Connection, company_id: str, differences: Sequence[FoundDifference]) -> None:
    """Takes away whose they are."""
    await _sql.fetch(
        connection,
        "erase_differences",
        company_id=company_id,
        run_ids=[one.run_id for one in differences],
        differences=[one.difference for one in differences],
    )
