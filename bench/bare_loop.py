"""The rival of sync, in one process: `python -m bench.bare_loop <database URL> <shop's URL> <company>`.

Fetches the shop's history page by page, maps the events and copies them into the tables that ingest writes, committing
each page. No queue, no run, no lease, no retry, no look at what is known: one duplicate, or one error, ends it. Prints
how many events, seconds and CPU seconds it took, as JSON."""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import asyncpg
import msgspec
import uvloop
from uuid_utils.compat import uuid7

from services.ingest.mapping import Incoming, Mapped, Mapper
from services.sandbox.shop import TOKEN, WEBHOOK_SETTING_ID
from shared.platforms import platforms

PAGE = 100
_COLUMNS = {
    "event_keys": ("company_id", "source", "dedup_key", "event_id", "payload_sha256"),
    "events": (
        *("company_id", "sequence", "received_time", "occurred_time", "event_id", "source", "platform", "type"),
        *("platform_type", "dedup_key", "customer_name", "product_name", "total", "currency", "payload"),
    ),
    "unprocessed": ("company_id", "sequence"),
}


class Took(msgspec.Struct, frozen=True):
    """What it prints."""

    events: int
    seconds: float
    cpu_seconds: float


class _Item(msgspec.Struct):
    id: str
    created_at: str = msgspec.field(name="createdAt")
    payload: msgspec.Raw


class _Page(msgspec.Struct):
    events: list[_Item]


_read = msgspec.json.Decoder(_Page).decode


async def main(database_url: str, shop: str, company: str) -> Took:
    mapper = Mapper(platforms(), 1024 * 1024)
    connection = await asyncpg.connect(database_url)
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", format="binary", encoder=b"\x01".__add__, decoder=bytes
    )
    since = (datetime.now(UTC) - timedelta(days=30)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    seen: set[str] = set()
    events = 0
    began, cpu_began = time.perf_counter(), time.process_time()
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:
        while True:
            query = {"webhookSettingId": WEBHOOK_SETTING_ID, "since": since, "limit": str(PAGE)}
            async with session.get(f"{shop}/webhook-events", params=query) as response:
                response.raise_for_status()
                items = _read(await response.read()).events
            # As sync does: a page begins at the last one's time, with what was read of that time again.
            new = [item for item in items if item.id not in seen]
            if not new:
                break
            since = items[-1].created_at
            seen = {item.id for item in items if item.created_at == since}
            await _store(connection, _rows(company, events, _mapped(mapper, new)))
            events += len(new)
    took = Took(events, time.perf_counter() - began, time.process_time() - cpu_began)
    await connection.close()
    return took


def _mapped(mapper: Mapper, items: Iterable[_Item]) -> Iterator[Mapped]:
    for item in items:
        mapped = mapper.map(Incoming("grapfy", "shop", bytes(item.payload)))
        assert isinstance(mapped, Mapped)
        yield mapped


def _rows(company: str, events: int, page: Iterable[Mapped]) -> Sequence[Sequence[tuple[Any, ...]]]:
    """A page's rows, table by table; `events` came before."""
    now = datetime.now(UTC)
    keys, rows, unprocessed = [], [], []
    for sequence, one in enumerate(page, events + 1):
        event_id = uuid7()
        keys.append((company, one.source, one.dedup_key, event_id, one.payload_sha256))
        named = (one.source, one.platform, one.type, one.platform_type, one.dedup_key)
        told = (*named, one.customer_name, one.product_name, one.total, one.currency, one.payload)
        rows.append((company, sequence, now, one.occurred_time or now, event_id, *told))
        unprocessed.append((company, sequence))
    return keys, rows, unprocessed


async def _store(connection: "asyncpg.Connection[Any]", page: Sequence[Sequence[tuple[Any, ...]]]) -> None:
    async with connection.transaction():
        for (table, columns), rows in zip(_COLUMNS.items(), page, strict=True):
            await connection.copy_records_to_table(table, schema_name="hookline", columns=columns, records=rows)


if __name__ == "__main__":
    print(msgspec.json.encode(uvloop.run(main(*sys.argv[1:]))).decode())
