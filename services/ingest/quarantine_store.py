"""The SQL of what was set aside: setting it aside, looking at it, taking it out, discarding it; and of looking at
conflicts. Every function names its company."""

import hashlib
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import asyncpg
import msgspec
from uuid_utils.compat import uuid7

from services.ingest.mapping import SetAside
from shared.db import Connection
from shared.statements import Statements

PREFIX_BYTES = 4096
NO_NUL = r"^[^\x00]*$"

_sql = Statements("services.ingest")


class Which(msgspec.Struct, frozen=True):
    """Which of a company's quarantined events are meant. None: any."""

    source: str | None = None
    platform: str | None = None
    reason: str | None = None


class Quarantined(msgspec.Struct, frozen=True, kw_only=True):
    """What lies in quarantine; of the payload only its start."""

    quarantine_id: uuid.UUID
    source: str
    platform: str
    reason: str
    message: str
    quarantined_time: datetime
    times_received: int
    discarded_time: datetime | None
    discard_reason: str | None
    payload_size: int
    payload_prefix: bytes


class Whole(Quarantined, frozen=True, kw_only=True):
    """All of it, as it came."""

    payload: bytes
    named_source: str
    """Empty where the sender named none; so is `named_platform`."""
    named_platform: str
    headers: dict[str, str]
    trusted: bool
    """Whether it may become an event without a signature."""


class Sized(msgspec.Struct, frozen=True):
    """What lies there, before it is loaded."""

    quarantine_id: uuid.UUID
    payload_size: int


class Conflict(msgspec.Struct, frozen=True):
    """A payload that came under a known key with another content."""

    event_id: uuid.UUID
    source: str
    dedup_key: str
    payload_sha256: bytes
    payload: bytes
    first_received_time: datetime
    times_received: int


class ConflictKey(msgspec.Struct, frozen=True, array_like=True):
    """What conflicts are ordered by. It goes into page tokens, and comes back as a caller sends it."""

    source: Annotated[str, msgspec.Meta(pattern=NO_NUL)]
    dedup_key: Annotated[str, msgspec.Meta(pattern=NO_NUL)]
    payload_sha256: bytes


async def set_aside(connection: Connection, company_id: str, events: Sequence[SetAside]) -> list[uuid.UUID]:
    """Sets events aside; gives the id under which each lies. Committed when it returns."""
    keys = [(event.source, digest(event)) for event in events]
    first: dict[tuple[str, bytes], SetAside] = {}
    for key, event in zip(keys, events, strict=True):
        if key not in first or (event.trusted and not first[key].trusted):
            first[key] = event
    times = Counter(keys)
    rows = await _sql.fetch(
        connection,
        "set_aside",
        company_id=company_id,
        sources=[source for source, _ in first],
        payload_sha256s=[payload_sha256 for _, payload_sha256 in first],
        quarantine_ids=[uuid7() for _ in first],
        platforms=[event.platform for event in first.values()],
        reasons=[event.reason for event in first.values()],
        messages=[event.message for event in first.values()],
        payloads=[event.payload for event in first.values()],
        times=[times[key] for key in first],
        named_sources=[event.named_source for event in first.values()],
        named_platforms=[event.named_platform for event in first.values()],
        headers=[msgspec.json.encode(event.headers) for event in first.values()],
        trusted=[event.trusted for event in first.values()],
    )
    ids = {(row["source"], row["payload_sha256"]): row["quarantine_id"] for row in rows}
    return [ids[key] for key in keys]


def digest(event: SetAside) -> bytes:
    """What makes something set aside the same again, within its source: all that tells it from another event. The same
    body under another topic of a shop is another, and may not get lost."""
    payload_sha256 = hashlib.sha256(event.payload).digest()
    told = [(name, event.headers[name]) for name in sorted(event.telling)]
    beside = (event.named_source, event.named_platform, told)
    return hashlib.sha256(payload_sha256 + msgspec.json.encode(beside)).digest() if any(beside) else payload_sha256


async def list_quarantined(
    connection: Connection,
    company_id: str,
    which: Which,
    include_discarded: bool,
    before: uuid.UUID | None,
    max_rows: int,
) -> list[Quarantined]:
    """The newest first; `before` is the last id of the page before."""
    rows = await _sql.fetch(
        connection,
        "list_quarantined",
        company_id=company_id,
        include_discarded=include_discarded,
        before_id=before,
        max_rows=max_rows,
        prefix_bytes=PREFIX_BYTES,
        **msgspec.structs.asdict(which),
    )
    return [Quarantined(**row) for row in rows]


async def find(
    connection: Connection, company_id: str, which: Which, after: uuid.UUID | None, max_rows: int
) -> list[Sized]:
    """Those that are meant and not discarded, the oldest first; `after` is the last id of the page before."""
    arguments = {"company_id": company_id, "after_id": after, "max_rows": max_rows, **msgspec.structs.asdict(which)}
    return [Sized(**row) for row in await _sql.fetch(connection, "find_quarantined", **arguments)]


async def sizes(connection: Connection, company_id: str, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Sized]:
    """Those of the ids that are there."""
    rows = await _sql.fetch(connection, "size_quarantined", company_id=company_id, quarantine_ids=ids)
    return {row["quarantine_id"]: Sized(**row) for row in rows}


async def load(connection: Connection, company_id: str, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Whole]:
    """Those of the ids that are there, whole."""
    rows = await _sql.fetch(
        connection, "load_quarantined", company_id=company_id, quarantine_ids=ids, prefix_bytes=PREFIX_BYTES
    )
    return {row["quarantine_id"]: _whole(row) for row in rows}


async def hold(connection: Connection, company_id: str, ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Which of the ids are there. They stay until the transaction ends: whoever takes them out waits for it."""
    rows = await _sql.fetch(connection, "hold_quarantined", company_id=company_id, quarantine_ids=ids)
    return {row["quarantine_id"] for row in rows}


async def remove(connection: Connection, company_id: str, ids: Sequence[uuid.UUID]) -> None:
    """Takes out what has been stored. What is gone already is no mistake."""
    await _sql.fetch(connection, "remove_quarantined", company_id=company_id, quarantine_ids=ids)


async def judge(connection: Connection, company_id: str, events: Mapping[uuid.UUID, tuple[Whole, SetAside]]) -> None:
    """Notes what is wrong with events now. What nothing has changed about is not written."""
    changed = {quarantine_id: one for quarantine_id, one in events.items() if _verdict(one[0]) != _verdict(one[1])}
    while changed:
        try:
            await _sql.fetch(
                connection,
                "judge_quarantined",
                company_id=company_id,
                quarantine_ids=list(changed),
                sources=[now.source for _, now in changed.values()],
                payload_sha256s=[digest(now) for _, now in changed.values()],
                platforms=[now.platform for _, now in changed.values()],
                reasons=[now.reason for _, now in changed.values()],
                messages=[now.message for _, now in changed.values()],
                payloads=[None if now.payload == lies.payload else now.payload for lies, now in changed.values()],
                headers=[msgspec.json.encode(now.headers) for _, now in changed.values()],
                trusted=[now.trusted for _, now in changed.values()],
            )
            return
        except asyncpg.UniqueViolationError:
            # The same came again in this very moment, under the key that was free: the next look sees it.
            continue


def _verdict(event: Whole | SetAside) -> tuple[object, ...]:
    return event.source, event.platform, event.reason, event.message, event.payload, event.headers, event.trusted


async def discard(
    connection: Connection, company_id: str, ids: Sequence[uuid.UUID], reason: str, *, all_or_none: bool
) -> dict[uuid.UUID, bool]:
    """Which of the ids are there, and whether each was discarded by this: not when it was before, and with
    `all_or_none` not when one of them is not there."""
    rows = await _sql.fetch(
        connection,
        "discard_quarantined",
        company_id=company_id,
        quarantine_ids=ids,
        reason=reason,
        all_or_none=all_or_none,
    )
    return {row["quarantine_id"]: row["is_discarded_now"] for row in rows}


async def list_conflicts(
    connection: Connection,
    company_id: str,
    event_id: uuid.UUID | None,
    after: ConflictKey | None,
    max_rows: int,
    max_bytes: int,
) -> tuple[list[Conflict], bool]:
    """A page of at most `max_rows`, ending with the payload that reaches `max_bytes`; and whether there are more."""
    rows = await _sql.fetch(
        connection,
        "list_conflicts",
        company_id=company_id,
        event_id=event_id,
        after_source=after and after.source,
        after_key=after and after.dedup_key,
        after_sha256=after and after.payload_sha256,
        # One more than asked for: it tells whether there is a next page.
        max_rows=max_rows + 1,
        max_bytes=max_bytes,
    )
    page = [Conflict(**{name: value for name, value in row.items() if name != "found"}) for row in rows[:max_rows]]
    return page, bool(rows) and rows[0]["found"] > len(page)


def _whole(row: Mapping[str, Any]) -> Whole:
    return Whole(**{**row, "headers": msgspec.json.decode(row["headers"], type=dict[str, str])})
