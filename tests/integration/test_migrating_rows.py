"""Migrations run on rows: one of each kind and state, as each version could hold them, through all versions after it.

A migration that adds a table, a column, or a state has to add rows of it to `ROWS`; one that fills what it adds with
anything but its default says in `FILLED` with what.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import asyncpg
import pytest

from shared import migrate as module
from shared.migrate import migrate, migrations

Snapshot = dict[str, list[dict[str, Any]]]
"""By table: its rows."""

NEWEST = sys.maxsize

ROWS: Mapping[tuple[int, int], Sequence[str]] = {
    # By the first and the last version that can hold them.
    (1, NEWEST): [
        "INSERT INTO companies VALUES (:company, 4, clock_timestamp(), 3), (:other, 0, NULL, 0)",
        """
        INSERT INTO event_keys
        SELECT :company, 'grapfy', 'key ' || n, md5('event ' || n)::uuid, sha256(n::text::bytea)
        FROM generate_series(1, 4) AS n
        """,
        """
        INSERT INTO events VALUES
            (:company, 1, clock_timestamp(), '2026-01-31 23:59:59.999999Z', md5('event 1')::uuid, 'grapfy', 'grapfy',
             'pix_created', 'key 1', 'Ana Souza', 'Curso', 197.90, 'BRL', '{"total": 197.90, "a": [null]}'),
            (:company, 2, clock_timestamp(), now(), md5('event 2')::uuid, 'grapfy', 'grapfy', 'other', 'key 2',
             NULL, NULL, NULL, NULL, '{}'),
            (:company, 3, clock_timestamp(), now(), md5('event 3')::uuid, 'grapfy', 'grapfy', 'order_approved', 'key 3',
             'Rui Prates', NULL, 0, NULL, '{"x": "\\\\"}'),
            (:company, 4, clock_timestamp(), now(), md5('event 4')::uuid, 'grapfy', 'grapfy', 'order_approved', 'key 4',
             NULL, 'Curso', 1e12, 'USD', '[]')
        """,
        """
        INSERT INTO event_status VALUES
            (:company, 1, 1, 'failed', 'no stock'),
            (:company, 2, 2, 'failed', NULL),
            (:company, 1, 3, 'processed', NULL)
        """,
        "INSERT INTO unprocessed VALUES (:company, 3), (:company, 4)",
        """
        INSERT INTO quarantine (company_id, source, payload_sha256, quarantine_id, platform, reason, message, payload)
        SELECT :company, source, sha256(source::bytea), md5(source)::uuid, platform, reason, 'what', '\\x00ff'
        FROM (VALUES ('grapfy', 'grapfy', 'TYPE_MISSING'), ('unknown', 'unknown', 'PLATFORM_UNRECOGNIZED'),
                     ('shop', 'grapfy', 'INVALID_JSON'), ('till', 'tilly', 'PLATFORM_UNKNOWN')
             ) AS rows (source, platform, reason)
        """,
        """
        INSERT INTO event_conflicts
        VALUES (:company, 'grapfy', 'key 1', sha256('other'), md5('event 1')::uuid, '\\x00', now(), 2)
        """,
    ],
    (2, NEWEST): [
        """
        INSERT INTO sources (company_id, source, platform, base_url, credential, parameters)
        SELECT :company, source, 'grapfy', 'https://x.example', '\\x01', '{"page": "1"}'
        FROM unnest(ARRAY ['queued', 'running', 'waiting', 'ended']) AS source
        """,
        """
        INSERT INTO sync_runs (company_id, run_id, source, state, trigger, start_time, created_time, ended_time,
                               attempt, failures, lease_until, next_attempt_time, kicked_time, cancel_requested, error,
                               cursor, synced_time, pages, fetched, accepted, duplicates, quarantined, rejected,
                               retries)
        SELECT :company, md5(name)::uuid, source, state::sync_run_state, trigger::sync_trigger, '2026-01-01Z',
               '2026-01-02Z'::timestamptz + day * interval '1 day', ended, attempt, attempt, lease, next, kicked,
               state = 'cancelled', error, cursor, synced, 1, 10, 1, 2, 3, 4, 5
        FROM (VALUES
            ('1', 1, 'queued', 'queued', 'schedule', NULL::timestamptz, 0, NULL::timestamptz, NULL::timestamptz,
             NULL::timestamptz, NULL, NULL, NULL::timestamptz),
            ('2', 2, 'running', 'running', 'request', NULL, 1, '2026-02-01Z', NULL, '2026-02-01Z', NULL, '2',
             '2026-01-05Z'),
            ('3', 3, 'waiting', 'waiting', 'request', NULL, 2, NULL, '2026-02-01Z', '2026-02-01Z', 'HTTP 503', '2',
             NULL),
            ('4', 4, 'ended', 'succeeded', 'schedule', '2026-02-01Z', 1, NULL, NULL, NULL, NULL, NULL, '2026-01-07Z'),
            ('5', 5, 'ended', 'succeeded', 'request', '2026-02-01Z', 1, NULL, NULL, NULL, NULL, NULL, '2026-01-06Z'),
            ('6', 6, 'ended', 'failed', 'request', '2026-02-01Z', 9, NULL, NULL, NULL, 'HTTP 401', NULL, '2026-01-08Z'),
            ('7', 7, 'ended', 'cancelled', 'request', '2026-02-01Z', 0, NULL, NULL, NULL, NULL, NULL, NULL)
        ) AS rows (name, day, source, state, trigger, ended, attempt, lease, next, kicked, error, cursor, synced)
        """,
        "INSERT INTO sync_requests VALUES (:company, 'a', md5('1')::uuid), (:company, 'b', md5('1')::uuid)",
    ],
    (2, 5): [
        """
        UPDATE sources SET schedule_interval = '6 hours', next_run_time = '2026-02-01 06:00Z'
        WHERE company_id = :company AND source IN ('queued', 'ended')
        """,
    ],
    (3, NEWEST): [
        "UPDATE events SET platform_type = 'pix' WHERE company_id = :company AND type = 'other'",
        """
        UPDATE quarantine
        SET named_source = source, named_platform = platform, headers = '{"x-topic": "y"}', discarded_time = now(),
            discard_reason = ''
        WHERE company_id = :company AND source IN ('shop', 'unknown')
        """,
        """
        INSERT INTO endpoints VALUES
            (:company, md5('1')::uuid, 'grapfy', 'grapfy', sha256('a'), 'a', now(), sha256('b'), now(), now(), now()),
            (:company, md5('2')::uuid, 'shop', '', sha256('c'), 'c', now(), NULL, NULL, now(), NULL)
        """,
        """
        INSERT INTO signing_secrets
        VALUES (:company, 'grapfy', '\\x01', '\\x02', now()), (:company, 'shop', '\\x01', NULL, NULL)
        """,
        "INSERT INTO platform_mappings VALUES (:company, 'own', 'name = \"own\"')",
    ],
    (4, NEWEST): [
        "UPDATE companies SET erasure_epoch = 2 WHERE company_id = :company",
    ],
    (6, NEWEST): [
        """
        UPDATE sources
        SET look_back = '0', run_deadline = '30 days', synced_time = '2026-01-07Z', schedule_jitter = '5 minutes',
            schedule_interval = CASE WHEN source <> 'running' THEN interval '6 hours' END,
            schedule_cron = CASE WHEN source = 'running' THEN '0 5 * * *' END,
            schedule_time_zone = CASE WHEN source = 'running' THEN 'America/Sao_Paulo' ELSE 'UTC' END,
            schedule_start_time = '2026-02-01Z',
            schedule_paused_time = CASE WHEN source = 'ended' THEN now() END,
            next_run_time = CASE WHEN source <> 'ended' THEN timestamptz '2026-02-01 06:00Z' END
        WHERE company_id = :company AND source <> 'waiting'
        """,
        """
        UPDATE sync_runs
        SET until_time = CASE WHEN source = 'running' THEN timestamptz '2026-01-31Z' END, deadline_time = '2026-02-02Z',
            known_until_time = CASE WHEN trigger = 'request' THEN timestamptz '2026-01-03Z' END, late = 1, windows = 2,
            windows_done = 1, window_start_time = '2026-01-01Z', window_until_time = '2026-01-15Z', said = 12
        WHERE company_id = :company AND attempt > 0
        """,
        """
        INSERT INTO sync_runs (company_id, run_id, source, state, trigger, start_time, ended_time, attempt, error,
                               behind)
        VALUES (:company, md5('8')::uuid, 'running', 'queued', 'request', '2026-01-01Z', NULL, 0, NULL, true),
               (:company, md5('9')::uuid, 'ended', 'incomplete', 'request', '2026-01-01Z', now(), 1, 'said more', false)
        """,
        """
        INSERT INTO sync_pages
        VALUES (:company, md5('2')::uuid, 1, '{a,b}', ARRAY [md5('event 1')::uuid, NULL], '{"b": {"reason": "X"}}')
        """,
        """
        INSERT INTO sync_reconciliations
        VALUES (:company, md5('4')::uuid, now(), 3, 2, 1, NULL), (:company, md5('5')::uuid, now(), 3, 2, 1, 4)
        """,
        """
        INSERT INTO sync_differences
        VALUES (:company, md5('4')::uuid, 1, 'missing', 'b', NULL, 'X', 'x'),
               (:company, md5('5')::uuid, 1, 'unlisted', NULL, md5('event 1')::uuid, 'NOT_LISTED', 'y')
        """,
        """
        INSERT INTO sync_log (company_id, run_id, attempt, level, code, message)
        SELECT :company, md5('2')::uuid, 1, level, 'PAGE_RETRIED', 'HTTP 503'
        FROM unnest(ARRAY ['info', 'warning', 'error']) AS level
        """,
        """
        INSERT INTO alerts (company_id, alert_id, kind, source, run_id, message, times, gap_start_time, resolve_time)
        VALUES (:company, md5('1')::uuid, 'run_failed', 'ended', md5('6')::uuid, 'm', 2, NULL, NULL),
               (:company, md5('2')::uuid, 'failures_in_a_row', 'ended', NULL, 'm', 1, NULL, now()),
               (:company, md5('3')::uuid, 'schedule_overdue', 'queued', NULL, 'm', 1, NULL, NULL),
               (:company, md5('4')::uuid, 'gap_found', 'ended', md5('9')::uuid, 'm', 1, '2026-01-01Z', NULL)
        """,
        """
        INSERT INTO alert_channels
        VALUES (:company, 'hook', 'https://x.example', NULL, '\\x01'), (:company, 'mail', NULL, 'x@x.example', NULL)
        """,
        """
        INSERT INTO alert_deliveries
        VALUES (:company, md5('1')::uuid, 'hook', md5('1')::uuid, 'opened', now(), 0, now(), NULL, NULL),
               (:company, md5('2')::uuid, 'hook', md5('2')::uuid, 'resolved', now(), 1, NULL, now(), NULL),
               (:company, md5('3')::uuid, 'mail', md5('3')::uuid, 'opened', now(), 9, NULL, NULL, 'refused')
        """,
    ],
    (7, NEWEST): [
        """
        INSERT INTO api_tokens VALUES
            (:company, md5('1')::uuid, sha256('a'), 'a', 'all', '{ingest,sync,export,admin}', now(), NULL, NULL, NULL),
            (:company, md5('2')::uuid, sha256('b'), 'b', '', '{ingest}', now(), now(), now(), now())
        """,
        "INSERT INTO company_limits VALUES (:company, 0.5, 1, 1e9, 1), (:other, NULL, NULL, NULL, NULL)",
        """
        INSERT INTO audit_log (company_id, actor, action, subject, details)
        VALUES (:company, 'operator', 'TOKEN_REVOKED', 'x', '{"a": 1}')
        """,
        """
        INSERT INTO erasures
        VALUES (:company, md5('1')::uuid, now(), now(), 1, 2, 3), (:company, md5('2')::uuid, now(), NULL, 0, 0, 0)
        """,
        "UPDATE events SET erase_time = now(), payload = '{}' WHERE company_id = :company AND sequence = 2",
    ],
    (8, NEWEST): [
        "INSERT INTO readers VALUES (:company, 'reader')",
    ],
    (9, NEWEST): [
        "UPDATE quarantine SET trusted = true WHERE company_id = :company AND source = 'shop'",
    ],
    (10, NEWEST): [
        """
        UPDATE sources SET history = 2, complete_until_time = '2026-01-06Z'
        WHERE company_id = :company AND source = 'ended'
        """,
        """
        UPDATE sync_runs SET history = 2, let_go_time = now()
        WHERE company_id = :company AND state = 'succeeded'
        """,
    ],
}

Filled = Mapping[str, str | None]
"""What a column of a source's holds, by the source."""
NOTHING: Filled = dict.fromkeys(("queued", "running", "waiting", "ended"))
FILLED: Mapping[tuple[int, str, str], Sequence[tuple[int, Filled]]] = {
    # By version, table, and column; from the version on that the rows were made at.
    (3, "quarantine", "named_source"): [(1, {"grapfy": "", "unknown": "", "shop": "shop", "till": "till"})],
    (3, "quarantine", "named_platform"): [(1, {"grapfy": "", "unknown": "", "shop": "", "till": "tilly"})],
    (6, "sources", "schedule_start_time"): [
        (2, {**NOTHING, "queued": "2026-02-01T00:00:00+00:00", "ended": "2026-02-01T00:00:00+00:00"})
    ],
    # The latest that a run read which succeeded, though a run that failed read further.
    (6, "sources", "synced_time"): [(2, {**NOTHING, "ended": "2026-01-07T00:00:00+00:00"})],
    # Of the runs that succeeded only one went on from the one before; not the last of them is counted but that one.
    (10, "sources", "complete_until_time"): [(2, NOTHING), (6, {**NOTHING, "ended": "2026-01-07T00:00:00+00:00"})],
}


async def test_rows_of_every_version_come_through_all_that_follow(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = migrations()
    options = {"search_path": "hookline, public", "TimeZone": "UTC"}
    connection = await asyncpg.connect(empty_database_url, server_settings=options)
    try:
        before: Snapshot = {}
        for version in range(1, len(every) + 1):
            monkeypatch.setattr(module, "migrations", lambda known=every[:version]: known)
            assert len(await migrate(empty_database_url)) == 1
            await compare(connection, version, before, await snapshot(connection))
            await insert(connection, version)
            before = await snapshot(connection)
        await check_each_kind_and_state(connection, before, f"at_{len(every)}")
    finally:
        await connection.close()


async def insert(connection: asyncpg.Connection, version: int) -> None:
    """Inserts what the version can hold, as two companies of its own."""
    for (first, last), statements in ROWS.items():
        for statement in statements if first <= version <= last else []:
            named = statement.replace(":company", f"'at_{version}'").replace(":other", f"'empty_at_{version}'")
            assert not (await connection.execute(named)).endswith(" 0"), statement


async def snapshot(connection: asyncpg.Connection) -> Snapshot:
    """All rows of companies."""
    tables = await connection.fetch(
        """
        SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'company_id'
        WHERE c.relnamespace = 'hookline'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        """
    )
    return {
        table: [json.loads(row[0]) for row in await connection.fetch(f"SELECT to_jsonb(t) FROM {table} t")]
        for (table,) in tables
    }


async def compare(connection: asyncpg.Connection, version: int, before: Snapshot, after: Snapshot) -> None:
    """Holds that a migration has kept all that was there, and has filled what is new as it is meant to."""
    for table, rows in before.items():
        kept = sorted_rows({column: row[column] for column in rows[0]} for row in after[table])
        assert kept == sorted_rows(rows), f"migration {version} changes {table}"
        for column in after[table][0].keys() - rows[0].keys():
            expected = FILLED.get((version, table, column))
            default = None if expected else await default_of(connection, table, column)
            for row in after[table]:
                made_at = int(row["company_id"].rpartition("_")[2])
                if expected:
                    default = next(filled for first, filled in reversed(expected) if made_at >= first)[row["source"]]
                assert row[column] == default, (version, table, column, row)


def sorted_rows(rows: Iterable[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


async def default_of(connection: asyncpg.Connection, table: str, column: str) -> Any:
    expression = await connection.fetchval(
        """
        SELECT pg_get_expr(d.adbin, d.adrelid)
        FROM pg_attribute a JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = $1::text::regclass AND a.attname = $2
        """,
        table,
        column,
    )
    return json.loads(await connection.fetchval(f"SELECT to_jsonb({expression})")) if expression else None


async def check_each_kind_and_state(connection: asyncpg.Connection, rows: Snapshot, company: str) -> None:
    """Holds that what the newest version can hold is there: else its rows would not be tried by the next migration."""
    columns = await connection.fetch(
        """
        SELECT c.relname AS table, a.attname AS column, NOT a.attnotnull AS nullable,
               (SELECT array_agg(e.enumlabel::text) FROM pg_enum e WHERE e.enumtypid = a.atttypid) AS values
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace = 'hookline'::regnamespace AND c.relname = ANY ($1)
        """,
        list(rows),
    )
    for table, column, nullable, values in columns:
        held = [row[column] for row in rows[table] if row["company_id"] in (company, f"empty_{company}")]
        assert held, f"no row of {table}"
        if nullable:
            assert {value is None for value in held} == {True, False}, f"{table}.{column} is not both NULL and not"
        if values:
            # Pending is what an event is before it has a status.
            missing = set(values) - set(held) - ({"pending"} if table == "event_status" else set())
            assert not missing, f"{table}.{column} is never {missing}"
