"""Making commits wait, and seeing that they do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.db import Connection


@asynccontextmanager
async def blocked(connection: Connection, company: str = "acme") -> AsyncIterator[None]:
    """Holds a company's row, whether it has been heard of before or not: inside the block nothing of it can be
    committed."""
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(
        "INSERT INTO hookline.companies AS c (company_id) VALUES ($1)"
        " ON CONFLICT (company_id) DO UPDATE SET last_change = c.last_change",
        company,
    )
    try:
        yield
    finally:
        await transaction.rollback()


async def is_waiting_for_a_lock(connection: Connection) -> bool:
    return bool(
        await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'hookline' AND wait_event_type = 'Lock'"
            " AND datname = current_database()"
        )
    )
