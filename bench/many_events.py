"""A database with millions of events, made by PostgreSQL itself: the same rows as ingest would store, far faster.

Sixteen companies share them: `big` has two thirds, each of the others a thirtieth of what `big` has. The events lie in
four monthly partitions. The payloads hold terms of every selectivity, for searches: see `TERMS`.
"""

import asyncpg

from shared.db import Connection

BIG, SMALL = "big", "small_1"
COMPANIES = {BIG: 30, **{f"small_{number}": 1 for number in range(1, 16)}}
MONTHS = 4
TERMS = {
    "unique": '{"eventId": "big-77777"}',
    "1 in 200,000": '{"mark": "rare"}',
    "0.5 %": '{"coupon": "HALF"}',
    "2 %": '{"utm": {"campaign": "two"}}',
    "20 %": '{"utm": {"source": "ads"}}',
    "two at once": '{"utm": {"source": "ads"}, "coupon": "HALF"}',
    "absent": '{"coupon": "NOBODY"}',
}
WORDS = {"common": "Silva", "two": "Marina Souza", "begun": "Mar", "rare": "Zoraide", "absent": "Nabucodonosor"}

_SECONDARY = """
    SELECT indexname, pg_get_indexdef(format('hookline.%I', indexname)::regclass) AS definition
    FROM pg_indexes
    WHERE schemaname = 'hookline' AND tablename = 'events' AND indexname <> 'events_pkey'
"""
_FILL = """
    WITH numbered AS (
        SELECT n,
               $3::timestamptz + ($4::timestamptz - $3::timestamptz) * (n::float8 / ($2::bigint + 1)) AS received_time,
               -- The same numbers in every run, and no pattern along the log.
               abs(hashint8(n)::bigint) AS dice, abs(hashint8(n + 1000000007)::bigint) AS other
        FROM generate_series(1, $2::bigint) AS n
    ), told AS (
        SELECT n, received_time, dice, other,
               -- A version 7 UUID: it begins with its time in milliseconds.
               overlay(md5($1 || n)
                       PLACING lpad(to_hex((extract(epoch FROM received_time) * 1000)::bigint), 12, '0') || '7'
                       FROM 1)::uuid AS event_id,
               (ARRAY['pix_created', 'order_approved', 'order_refused', 'cart_abandoned', 'order_refunded',
                      'lead_created'])
                   [1 + dice % 6] AS type,
               CASE WHEN other % 200000 = 7 THEN 'Zoraide' ELSE
                   (ARRAY['Marina', 'João', 'Beatriz', 'Rafael', 'Larissa', 'Pedro', 'Camila', 'Tiago', 'Helena',
                          'Caio'])
                       [1 + dice / 7 % 10] END
                   || ' '
                   || (ARRAY['Silva', 'Souza', 'Lima', 'Costa', 'Rocha', 'Alves', 'Gomes', 'Dias', 'Melo', 'Reis'])
                       [1 + other / 11 % 10] AS customer_name,
               'Curso de ' || (ARRAY['Finanças', 'Violão', 'Culinária', 'Inglês', 'Fotografia', 'Vendas', 'Yoga'])
                   [1 + dice / 13 % 7] AS product_name,
               round((dice % 200000)::numeric / 100, 2) AS total
        FROM numbered
    ), stored AS (
        INSERT INTO hookline.events (company_id, sequence, received_time, occurred_time, event_id, source, platform,
                                     type, dedup_key, customer_name, product_name, total, currency, payload)
        SELECT $1, n, received_time, received_time - interval '3 seconds', event_id,
               CASE WHEN other % 3 = 0 THEN 'shop_2' ELSE 'shop_1' END, 'grapfy', type, $1 || '-' || n, customer_name,
               product_name, total, 'BRL',
               jsonb_build_object(
                   'eventId', $1 || '-' || n, 'eventType', type, 'orderId', 'ord-' || dice,
                   'storeId', 'store-' || other % 3,
                   'total', total, 'currency', 'BRL', 'createdAt', received_time,
                   'customer', jsonb_build_object('name', customer_name, 'email', 'person' || other || '@example.com',
                                                  'phoneNumber', '+55 11 9' || other % 100000000),
                   'product', jsonb_build_object('id', 'prod-' || dice % 7, 'name', product_name, 'quantity', 1),
                   'utm', jsonb_build_object(
                       'source', CASE WHEN dice % 5 = 0 THEN 'ads' ELSE 'organic-' || dice % 40 END,
                       'campaign', CASE WHEN other % 50 = 0 THEN 'two' ELSE 'c' || other % 900 END))
               || CASE WHEN other % 200 = 1 THEN '{"coupon": "HALF"}' ELSE '{}' END::jsonb
               || CASE WHEN dice % 200000 = 3 THEN '{"mark": "rare"}' ELSE '{}' END::jsonb
        FROM told
    )
    INSERT INTO hookline.event_keys (company_id, source, dedup_key, event_id, payload_sha256)
    SELECT $1, CASE WHEN other % 3 = 0 THEN 'shop_2' ELSE 'shop_1' END, $1 || '-' || n, event_id,
           sha256(int8send(n))
    FROM told
"""
# What became of half of them; every second one of these has failed.
_MARK = """
    INSERT INTO hookline.event_status (company_id, sequence, change, status, error)
    SELECT $1, 2 * n, n, CASE WHEN n % 2 = 0 THEN 'processed' ELSE 'failed' END::hookline.processing_status,
           CASE WHEN n % 2 = 1 THEN 'no such plan' END
    FROM generate_series(1, $2::bigint / 2) AS n
"""
_LEAVE = """
    INSERT INTO hookline.unprocessed (company_id, sequence) SELECT $1, n FROM generate_series(1, $2::bigint, 2) AS n
"""


async def fill(connection: Connection, events: int) -> None:
    """Stores so many events, half of them marked, in an empty, migrated database. Takes about a minute for a million,
    half of it for the indexes, which are made when the rows are there."""
    await connection.fetch("SELECT hookline.create_event_partitions($1)", MONTHS)
    first, last = await connection.fetchrow(
        "SELECT date_trunc('month', now(), 'UTC'), date_trunc('month', now(), 'UTC') + make_interval(months => $1)",
        MONTHS,
    )
    indexes: list[asyncpg.Record] = await connection.fetch(_SECONDARY)
    for index in indexes:
        await connection.execute(f"DROP INDEX hookline.{index['indexname']}")
    shares = sum(COMPANIES.values())
    for company, share in COMPANIES.items():
        count = events * share // shares
        await connection.execute(_FILL, company, count, first, last)
        await connection.execute(_MARK, company, count)
        await connection.execute(_LEAVE, company, count)
        await connection.execute(
            "INSERT INTO hookline.companies (company_id, last_sequence, last_change, last_received_time)"
            " VALUES ($1, $2::bigint, $2::bigint / 2, $3)",
            company,
            count,
            last,
        )
    await connection.execute("SET maintenance_work_mem = '512MB'; SET max_parallel_maintenance_workers = 2")
    for index in indexes:
        # As PostgreSQL gives it, it would leave the partitions out.
        await connection.execute(index["definition"].replace(" ON ONLY ", " ON "))
    await connection.execute(
        "VACUUM (ANALYZE, FREEZE) hookline.events, hookline.event_keys, hookline.event_status, hookline.unprocessed,"
        " hookline.companies"
    )
    await connection.execute("CHECKPOINT")
