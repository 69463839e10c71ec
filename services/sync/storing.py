"""Hands a page to ingest, and says what came of each item."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from hookline.client import AsyncClient
from hookline.client.quarantine import reason_name
from hookline.ingest.v1.ingest_service_pb2 import IncomingEvent, IngestResult, Outcome
from services.sync.attempt_store import Claim, Stored
from services.sync.connectors import Item

_BATCH = 1000


async def store(
    ingest: AsyncClient, claim: Claim, platform: str, items: Sequence[Item], headers: Mapping[str, str]
) -> Stored:
    """Returns when ingest has acknowledged all of them, each under the headers. Raises what the client raises."""
    if not items:
        return Stored()
    count = len(items)
    results: list[Any] = [None] * count
    events = [
        IncomingEvent(platform=item.platform, source=claim.source, payload=item.payload, headers=headers)
        if item.platform
        else item.payload
        for item in items
    ]
    summary = await ingest.ingest_many(
        claim.company_id,
        events,
        platform=platform,
        source=claim.source,
        headers=headers,
        batch_size=_BATCH,
        on_result=results.__setitem__,
    )
    return Stored(
        fetched=count,
        accepted=summary.accepted,
        duplicates=summary.duplicates,
        quarantined=summary.quarantined,
        rejected=summary.rejected,
        late=_late(items, results, claim.known_until_time) if summary.accepted else 0,
        item_ids=_ids(items),
        event_ids=[result.event_id or None for result in results],
        problems=_problems(items, results) if summary.quarantined or summary.rejected else {},
    )


def _ids(items: Iterable[Item]) -> list[str]:
    ids = [item.id for item in items]
    # PostgreSQL's texts can't hold NUL.
    return [one.replace("\0", "\ufffd") for one in ids] if "\0" in "".join(ids) else ids


def _late(items: Iterable[Item], results: Iterable[IngestResult], known_until: datetime | None) -> int:
    """Accepted ones that are dated before what runs before had read up to."""
    if known_until is None:
        return 0
    accepted = Outcome.OUTCOME_ACCEPTED
    return sum(
        item.moment is not None and item.moment < known_until and result.outcome == accepted
        for item, result in zip(items, results, strict=True)
    )


def _problems(items: Iterable[Item], results: Iterable[IngestResult]) -> dict[str, dict[str, str]]:
    """By the id of an item that was not stored, why."""
    return {
        item_id: {"reason": reason_name(result.reason), "message": result.message}
        for item_id, result in zip(_ids(items), results, strict=True)
        if not result.event_id
    }
