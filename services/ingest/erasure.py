"""Erasing a person: a walk through all that a company has stored, in steps that are committed one by one.

A step looks through a bounded number of rows. It holds locks on the person's rows only, and on the company's row, which
events that come wait for, just before its commit.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator

import msgspec
from uuid_utils.compat import uuid7

from services.ingest import erase_store as store
from services.ingest.erase_store import Counts, Found, FoundConflict, Left
from services.ingest.erased_keys import ErasedKeys
from services.ingest.erasing import Person
from shared import audit, db
from shared.audit import Action
from shared.errors import DatabaseUnavailable

_ERASED_TYPE = "erased"
# A step of the log, in events; of the rest, in rows that may have a payload each.
FEWEST, MOST = 500, 8000
_MOST_FOUND = 50
_ROWS = 50
# Longer ones become smaller, shorter ones larger.
_SHORT_SECONDS, _LONG_SECONDS = 0.1, 0.5


class Erasure:
    """Erases a person from a company; with `dry_run` only counts. `steps` is to be gone through once."""

    def __init__(
        self, pool: db.Pool, erased_keys: ErasedKeys, company_id: str, person: Person, *, dry_run: bool
    ) -> None:
        self._pool = pool
        self._keys = erased_keys
        self._company_id = company_id
        self._person = person
        self._dry_run = dry_run
        self._id: uuid.UUID = uuid7()
        self._counts = Counts()

    async def steps(self) -> AsyncIterator[Counts]:
        """How far it has come, after each step. Raises DatabaseUnavailable; what was committed stays so."""
        if not self._dry_run:
            async with db.acquired(self._pool) as connection, connection.transaction():
                await store.begin(connection, self._company_id, self._id)
                # Before anything goes: an erasure that breaks off has been done, too.
                await self._record(connection, "begun")
        # What is in quarantine may be tried again meanwhile, and become an event: the log comes after it. What is under
        # way to that holds its row (`hold_quarantined`), which is waited for.
        async for counts in self._through_quarantine():
            yield counts
        async for counts in self._through_conflicts():
            yield counts
        async for counts in self._through_events():
            yield counts
        if not self._dry_run:
            await self._through_differences()
            async with db.acquired(self._pool) as connection, connection.transaction():
                await store.note(connection, self._company_id, self._id, self._counts, done=True)
                await self._record(connection, "done")

    async def _through_quarantine(self) -> AsyncIterator[Counts]:
        after: uuid.UUID | None = None
        is_over = False
        while not is_over:
            async with db.acquired(self._pool) as connection, connection.transaction():
                await store.lock(connection, self._company_id)
                rows = await store.look_through_quarantine(
                    connection, self._company_id, after, self._person.pattern, _ROWS
                )
                ids = [row.quarantine_id for row in rows if row.may_be and self._is_aside(row)]
                if ids and not self._dry_run:
                    await store.remove_quarantined(connection, self._company_id, ids)
                    await self._note(connection, quarantined=len(ids))
            self._counts.quarantined += len(ids)
            is_over = len(rows) < _ROWS
            after = rows[-1].quarantine_id if rows else after
            yield self._counts

    async def _through_conflicts(self) -> AsyncIterator[Counts]:
        after: FoundConflict | None = None
        is_over = False
        while not is_over:
            async with db.acquired(self._pool) as connection, connection.transaction():
                await store.lock(connection, self._company_id)
                rows = await store.look_through_conflicts(
                    connection, self._company_id, after, self._person.pattern, _ROWS
                )
                gone = [row for row in rows if row.may_be and self._is_conflict(row)]
                if gone and not self._dry_run:
                    await store.remove_conflicts(connection, self._company_id, gone)
                    await self._note(connection, conflicts=len(gone))
            self._counts.conflicts += len(gone)
            is_over = len(rows) < _ROWS
            after = rows[-1] if rows else after
            yield self._counts

    async def _through_differences(self) -> None:
        """Of runs of the sync, what their platforms call the person's; it counts for nothing."""
        after: store.FoundDifference | None = None
        is_over = False
        while not is_over:
            async with db.acquired(self._pool) as connection, connection.transaction():
                await store.lock(connection, self._company_id)
                rows = await store.look_through_differences(
                    connection, self._company_id, after, self._person.pattern, MOST
                )
                if hers := [row for row in rows if self._person.is_in_text(row.item_id)]:
                    await store.erase_differences(connection, self._company_id, hers)
            is_over = len(rows) < MOST
            after = rows[-1] if rows else after

    async def _through_events(self) -> AsyncIterator[Counts]:
        async with db.acquired(self._pool) as connection:
            last = await store.last_sequence(connection, self._company_id)
        after, step = 0, FEWEST
        while after < last:
            began = time.monotonic()
            try:
                upto, found = await self._step(after, min(after + step, last))
            except DatabaseUnavailable:
                if step == FEWEST:
                    raise
                # The payloads here may be so large that it took too long.
                step = FEWEST
                continue
            self._counts.events += found
            self._counts.looked_through += upto - after
            after = upto
            took = time.monotonic() - began
            if took < _SHORT_SECONDS:
                step = min(2 * step, MOST)
            elif took > _LONG_SECONDS:
                step = max(step // 2, FEWEST)
            yield self._counts

    async def _step(self, after: int, upto: int) -> tuple[int, int]:
        """Looks through a span of the log; gives how far it has come and how many events were the person's."""
        company_id, pattern = self._company_id, self._person.pattern
        async with db.acquired(self._pool) as connection, connection.transaction():
            await store.lock(connection, company_id)
            rows = await store.find_events(connection, company_id, after, upto, pattern, _MOST_FOUND)
            if len(rows) == _MOST_FOUND:
                # No more payloads at a time.
                upto = rows[-1].sequence
            errors = await store.find_errors(connection, company_id, after, upto, pattern)
            # Off the event loop: other calls go on meanwhile.
            found = await asyncio.to_thread(lambda: [row for row in rows if self._is_event(row)])
            errors = [row for row in errors if self._person.is_in_text(row.error)]
            if (found or errors) and not self._dry_run:
                await self._erase(connection, found, errors)
        return upto, len(found)

    async def _erase(self, connection: db.Connection, found: list[Found], errors: list[store.FoundError]) -> None:
        company_id = self._company_id
        left = [self._left(row) for row in found]
        replaced = [(row, one) for row, one in zip(found, left, strict=True) if row.dedup_key != one.dedup_key]
        if left:
            await store.erase_events(connection, company_id, left)
        if replaced:
            keys = [(row.source, row.dedup_key) for row, _ in replaced]
            await store.replace_keys(connection, company_id, keys, [one.dedup_key for _, one in replaced])
        await store.erase_errors(connection, company_id, [one.sequence for one in left], errors)
        await self._note(connection, events=len(found))
        await store.count_erasure(connection, company_id)

    def _left(self, row: Found) -> Left:
        is_persons = self._person.is_in_text
        return Left(
            row.sequence,
            row.received_time,
            self._keys.erased(self._company_id, row.source, row.dedup_key)
            if self._person.is_in_key(row.dedup_key)
            else row.dedup_key,
            _ERASED_TYPE if is_persons(row.type) else row.type,
            None if is_persons(row.platform_type) else row.platform_type,
            None if is_persons(row.product_name) else row.product_name,
        )

    def _is_event(self, row: Found) -> bool:
        person = self._person
        names = (row.customer_name, row.product_name, row.platform_type, row.type)
        return person.is_in_key(row.dedup_key) or any(map(person.is_in_text, names)) or person.is_in_json(row.payload)

    def _is_aside(self, row: store.FoundAside) -> bool:
        return (
            self._person.is_in_body(row.payload or b"")
            or self._person.is_in_json(row.headers or b"{}")
            or self._person.is_in_text(row.texts)
        )

    def _is_conflict(self, row: FoundConflict) -> bool:
        return self._person.is_in_key(row.dedup_key) or self._person.is_in_body(row.payload or b"")

    async def _note(self, connection: db.Connection, **more: int) -> None:
        """Writes down what this step comes to; it counts once it is committed."""
        counts = msgspec.structs.replace(
            self._counts, **{name: getattr(self._counts, name) + count for name, count in more.items()}
        )
        await store.note(connection, self._company_id, self._id, counts, done=False)

    async def _record(self, connection: db.Connection, state: str) -> None:
        counts = self._counts
        await audit.record(
            connection,
            self._company_id,
            Action.SUBJECT_ERASED,
            str(self._id),
            state=state,
            events=counts.events,
            quarantined=counts.quarantined,
            conflicts=counts.conflicts,
        )
