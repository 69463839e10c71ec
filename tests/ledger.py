"""What must hold in the database at any time, whatever happened before."""

from collections.abc import Mapping

from shared.db import Connection


async def check_ledger(
    connection: Connection, expected: Mapping[str, int] | None = None, company: str | None = None
) -> None:
    """Checks that keys and events are the same, each event is there once, and every company's log is dense, in order
    and as long as its counter says. `expected` are the companies' numbers of events; `company` is the only one to
    check."""
    rows = await connection.fetch(
        """
        SELECT c.company_id, c.last_sequence, count(e.sequence) AS events, min(e.sequence) AS first,
               max(e.sequence) AS last, count(DISTINCT e.sequence) AS sequences,
               count(DISTINCT e.event_id) AS ids, count(DISTINCT (e.source, e.dedup_key)) AS keys
        FROM hookline.companies c LEFT JOIN hookline.events e USING (company_id)
        WHERE $1::text IS NULL OR c.company_id = $1
        GROUP BY c.company_id ORDER BY c.company_id
        """,
        company,
    )
    for row in rows:
        count = row["last_sequence"]
        assert [row[name] for name in ("events", "sequences", "ids", "keys")] == [count] * 4, dict(row)
        assert (row["first"], row["last"]) == ((1, count) if count else (None, None)), dict(row)
    unmatched = await connection.fetchval(
        """
        SELECT count(*)
        FROM hookline.event_keys k
        FULL JOIN hookline.events e USING (company_id, source, dedup_key, event_id)
        WHERE (k.company_id IS NULL OR e.company_id IS NULL)
            AND ($1::text IS NULL OR coalesce(k.company_id, e.company_id) = $1)
        """,
        company,
    )
    assert unmatched == 0
    backwards = await connection.fetchval(
        """
        SELECT count(*)
        FROM (SELECT received_time, lag(received_time) OVER (PARTITION BY company_id ORDER BY sequence) AS before
              FROM hookline.events
              WHERE $1::text IS NULL OR company_id = $1) AS steps
        WHERE received_time < before
        """,
        company,
    )
    assert backwards == 0
    if expected is not None:
        assert {row["company_id"]: row["last_sequence"] for row in rows} == expected
