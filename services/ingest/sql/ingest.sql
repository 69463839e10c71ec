-- name: store_events(company_id, event_ids, sources, platforms, types, platform_types, dedup_keys, customer_names, product_names, totals, currencies, occurred_times, payloads, payload_sha256s, erasure_epoch)
-- Stores the new ones among a batch of events, numbers them, and gives back those that it stored; the rest were known.
-- One statement, so that keys, numbers and events commit together or not at all, without a transaction that a frozen
-- client could leave open on the company's row.
-- Keys go in sorted: two batches that overlap then wait for each other in one direction only, and never deadlock.
-- The company's row is taken after the keys and held until the commit: numbers are dense and in commit order. Its upsert
-- lets a company without a row lose nothing. received_time comes from that row too, since a clock may run backwards.
-- It also has the say on whether erased keys were looked for: where the epoch is another one than the caller knows, a
-- CHECK of that row fails the statement. The row is read as it is now, not as of the statement's beginning: a key that
-- was replaced while this waited for it is not stored a second time.
WITH incoming AS (
    SELECT *
    FROM unnest(:event_ids::uuid[], :sources::text[], :platforms::text[], :types::text[],
                :platform_types::text[], :dedup_keys::text[], :customer_names::text[], :product_names::text[],
                :totals::text[], :currencies::text[], :occurred_times::timestamptz[], :payloads::jsonb[],
                :payload_sha256s::bytea[]) WITH ORDINALITY
        AS i (event_id, source, platform, type, platform_type, dedup_key, customer_name, product_name, total,
              currency, occurred_time, payload, payload_sha256, position)
), new_keys AS (
    INSERT INTO hookline.event_keys (company_id, source, dedup_key, event_id, payload_sha256)
    SELECT :company_id::text, source, dedup_key, event_id, payload_sha256
    FROM incoming
    ORDER BY source COLLATE "C", dedup_key COLLATE "C"
    ON CONFLICT (company_id, source, dedup_key) DO NOTHING
    RETURNING event_id
), counter AS (
    INSERT INTO hookline.companies AS c (company_id, last_sequence, last_received_time, erasure_epoch)
    SELECT :company_id::text, count(*), clock_timestamp(), :erasure_epoch::bigint FROM new_keys HAVING count(*) > 0
    ON CONFLICT (company_id) DO UPDATE
    SET last_sequence = c.last_sequence + excluded.last_sequence,
        last_received_time = greatest(c.last_received_time, excluded.last_received_time),
        erasure_epoch = CASE WHEN c.erasure_epoch = excluded.erasure_epoch THEN c.erasure_epoch ELSE -1 END
    RETURNING last_sequence, last_received_time
), numbered AS (
    SELECT i.*, c.last_received_time AS received_time,
           c.last_sequence - (SELECT count(*) FROM new_keys) + row_number() OVER (ORDER BY i.position) AS sequence
    FROM incoming i JOIN new_keys USING (event_id) CROSS JOIN counter c
), stored AS (
    INSERT INTO hookline.events (company_id, sequence, received_time, occurred_time, event_id, source, platform, type,
                                 platform_type, dedup_key, customer_name, product_name, total, currency, payload)
    SELECT :company_id::text, sequence, received_time, coalesce(occurred_time, received_time), event_id, source,
           platform, type, platform_type, dedup_key, customer_name, product_name, total::numeric, currency, payload
    FROM numbered
), pending AS (
    INSERT INTO hookline.unprocessed (company_id, sequence)
    SELECT :company_id::text, sequence FROM numbered
)
SELECT event_id, sequence FROM numbered;

-- name: find_keys(company_id, sources, dedup_keys)
-- What is stored under keys that turned out to be known. A statement of its own: the loser of a race can't see the
-- winner's rows in the statement that lost.
SELECT one.source, one.dedup_key, one.event_id, one.payload_sha256,
       -- include: number
FROM unnest(:sources::text[], :dedup_keys::text[]) AS i (source, dedup_key)
JOIN hookline.event_keys one
    ON one.company_id = :company_id::text AND one.source = i.source AND one.dedup_key = i.dedup_key;

-- name: store_conflicts(company_id, sources, dedup_keys, payload_sha256s, event_ids, payloads, times)
-- Keeps payloads that came under a known key with another content. Sorted for the same reason as keys. Counting how
-- often each came tells a platform that retries from one that contradicts itself.
INSERT INTO hookline.event_conflicts AS c
    (company_id, source, dedup_key, payload_sha256, event_id, payload, times_received)
SELECT :company_id::text, i.source, i.dedup_key, i.payload_sha256, i.event_id, i.payload, i.times
FROM unnest(:sources::text[], :dedup_keys::text[], :payload_sha256s::bytea[], :event_ids::uuid[], :payloads::bytea[],
            :times::bigint[])
    AS i (source, dedup_key, payload_sha256, event_id, payload, times)
ORDER BY i.source COLLATE "C", i.dedup_key COLLATE "C", i.payload_sha256
ON CONFLICT (company_id, source, dedup_key, payload_sha256) DO UPDATE
SET times_received = c.times_received + excluded.times_received;

-- name: mark_events(company_id, event_ids, statuses, errors)
-- Notes statuses, numbered from the company's row, and says of each mark's position whether it changed anything;
-- positions that are missing are unknown events. `changed` is evaluated before the row is taken, so the same mark by
-- two callers at once may be noted twice: the status is the same. Rows of `unprocessed` go only after the company's
-- row is held (the join with counter): the other way round two calls could deadlock.
WITH marks AS (
    SELECT * FROM unnest(:event_ids::uuid[], :statuses::hookline.processing_status[], :errors::text[]) WITH ORDINALITY
        AS m (event_id, status, error, position)
), numbered AS MATERIALIZED (
    -- Each once: left to itself, PostgreSQL would look a number up wherever it stands below.
    SELECT one.position, one.status, one.error,
           -- include: number
    FROM marks one
), found AS (
    SELECT m.position, m.status, m.error, m.sequence,
           last.status IS NOT DISTINCT FROM m.status AND last.error IS NOT DISTINCT FROM m.error AS unchanged
    FROM numbered m
    LEFT JOIN LATERAL (
        SELECT s.status, s.error FROM hookline.event_status s
        WHERE s.company_id = :company_id::text AND s.sequence = m.sequence
        ORDER BY s.change DESC
        LIMIT 1
    ) last ON true
    WHERE m.sequence IS NOT NULL
), changed AS (
    SELECT * FROM found WHERE NOT unchanged
), counter AS (
    UPDATE hookline.companies
    SET last_change = last_change + (SELECT count(*) FROM changed)
    WHERE company_id = :company_id::text AND EXISTS (SELECT FROM changed)
    RETURNING last_change
), noted AS (
    INSERT INTO hookline.event_status (company_id, sequence, change, status, error)
    SELECT :company_id::text, changed.sequence,
           counter.last_change - (SELECT count(*) FROM changed) + row_number() OVER (ORDER BY changed.position),
           changed.status, changed.error
    FROM changed CROSS JOIN counter
), no_longer_pending AS (
    DELETE FROM hookline.unprocessed u
    USING changed CROSS JOIN counter
    WHERE u.company_id = :company_id::text AND u.sequence = changed.sequence
)
SELECT position, unchanged FROM found;

-- name: create_partitions(months_ahead)
-- Of no company's: the months are the same for all.
SELECT name FROM hookline.create_event_partitions(:months_ahead::int) AS name;

-- name: merge_pending()
-- Of no company's: the indexes are those of all. Only this month's partition gets new events; what the last ones of a
-- month leave is merged by autovacuum. The lock goes with the statement: processes at the same work would wait for each
-- other and find nothing left to do.
WITH lock AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock(hashtext('hookline.merge_pending')) AS is_mine
)
SELECT gin_clean_pending_list(i.indexrelid)
FROM lock
JOIN pg_index i ON lock.is_mine
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_am a ON a.oid = c.relam AND a.amname = 'gin'
WHERE i.indrelid = to_regclass('hookline.events_' || to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY_MM'));
