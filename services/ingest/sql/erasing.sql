-- name: lock_erasure(company_id)
-- First in each step: two erasures of a company at once would take the same rows in different orders. Goes with the
-- transaction.
SELECT pg_advisory_xact_lock(hashtextextended('hookline.erasure ' || :company_id::text, 0)) IS NULL AS nothing;

-- name: begin_erasure(company_id, erasure_id)
-- That a person is erased; not who.
INSERT INTO hookline.erasures (company_id, erasure_id) VALUES (:company_id::text, :erasure_id::uuid)
RETURNING erasure_id;

-- name: note_erasure(company_id, erasure_id, events, quarantined, conflicts, is_done)
-- How much has been erased so far.
UPDATE hookline.erasures
SET events = :events::bigint, quarantined = :quarantined::bigint, conflicts = :conflicts::bigint,
    end_time = CASE WHEN :is_done::boolean THEN clock_timestamp() END
WHERE company_id = :company_id::text AND erasure_id = :erasure_id::uuid
RETURNING erasure_id;

-- name: find_erasure_epoch(company_id)
-- How often events of the company were erased, and where its log ends.
SELECT erasure_epoch, last_sequence FROM hookline.companies WHERE company_id = :company_id::text;

-- name: count_erasure(company_id)
-- Tells that events are not what they were. In the transaction that changes them, and last in it: events that come wait
-- for this row.
UPDATE hookline.companies SET erasure_epoch = erasure_epoch + 1 WHERE company_id = :company_id::text
RETURNING erasure_epoch;

-- name: find_persons_events(company_id, after, upto, pattern, max_rows)
-- The events of a span of the log that may be a person's, with what the rules decide by.
SELECT sequence, received_time, event_id, source, dedup_key, type, platform_type, customer_name, product_name, payload
FROM hookline.events
WHERE company_id = :company_id::text AND sequence > :after::bigint AND sequence <= :upto::bigint
  AND (payload::text ~* :pattern::text
       OR concat_ws(E'\n', dedup_key, customer_name, product_name, platform_type, type) ~* :pattern::text)
ORDER BY sequence
LIMIT :max_rows::int;

-- name: find_persons_errors(company_id, after, upto, pattern)
-- The errors that events of a span of the log were marked with and that may be about a person.
SELECT sequence, change, error
FROM hookline.event_status
WHERE company_id = :company_id::text AND sequence > :after::bigint AND sequence <= :upto::bigint
  AND error ~* :pattern::text;

-- name: erase_events(company_id, sequences, received_times, dedup_keys, types, platform_types, product_names)
-- What events were about goes, their place in the log stays. The times let PostgreSQL look into one partition for each.
UPDATE hookline.events e
SET payload = '{}', customer_name = NULL, product_name = i.product_name, type = i.type,
    platform_type = i.platform_type, dedup_key = i.dedup_key, erase_time = clock_timestamp()
FROM unnest(:sequences::bigint[], :received_times::timestamptz[], :dedup_keys::text[], :types::text[],
            :platform_types::text[], :product_names::text[])
    AS i (sequence, received_time, dedup_key, type, platform_type, product_name)
WHERE e.company_id = :company_id::text AND e.sequence = i.sequence AND e.received_time = i.received_time
RETURNING e.sequence;

-- name: erase_errors(company_id, sequences, error_sequences, error_changes)
-- All errors of the person's events, and those of others that are about the person.
UPDATE hookline.event_status
SET error = NULL
WHERE company_id = :company_id::text AND error IS NOT NULL
  AND (sequence = ANY (:sequences::bigint[])
       OR (sequence, change) IN (SELECT * FROM unnest(:error_sequences::bigint[], :error_changes::bigint[])))
RETURNING sequence;

-- name: replace_keys(company_id, sources, dedup_keys, new_keys)
-- The ledger goes on to know events whose key was a person's, under a digest of it. Whoever brings such an event again
-- looks for the digest (`count_erasure` tells them to).
UPDATE hookline.event_keys k
SET dedup_key = i.new_key
FROM unnest(:sources::text[], :dedup_keys::text[], :new_keys::text[]) AS i (source, dedup_key, new_key)
WHERE k.company_id = :company_id::text AND k.source = i.source AND k.dedup_key = i.dedup_key
RETURNING k.event_id;

-- name: look_through_quarantine(company_id, after_id, pattern, max_rows)
-- A span of the quarantine by id; of what may be a person's also what the rules decide by.
SELECT quarantine_id, may_be,
       CASE WHEN may_be THEN payload END AS payload, CASE WHEN may_be THEN headers END AS headers,
       CASE WHEN may_be THEN concat_ws(E'\n', message, discard_reason) END AS texts
FROM (
    SELECT quarantine_id, payload, headers, message, discard_reason,
           encode(payload, 'escape') ~* :pattern::text OR headers::text ~* :pattern::text
           OR concat_ws(E'\n', message, discard_reason) ~* :pattern::text AS may_be
    FROM hookline.quarantine
    WHERE company_id = :company_id::text AND (:after_id::uuid IS NULL OR quarantine_id > :after_id::uuid)
    ORDER BY quarantine_id
    LIMIT :max_rows::int
) q
ORDER BY quarantine_id;

-- name: look_through_conflicts(company_id, after_source, after_key, after_sha256, pattern, max_rows)
-- A span of the conflicts by their key; of what may be a person's also the payload.
SELECT source, dedup_key, payload_sha256, may_be, CASE WHEN may_be THEN payload END AS payload
FROM (
    SELECT source, dedup_key, payload_sha256, payload,
           encode(payload, 'escape') ~* :pattern::text OR dedup_key ~* :pattern::text AS may_be
    FROM hookline.event_conflicts
    WHERE company_id = :company_id::text
      AND (:after_source::text IS NULL
           OR (source, dedup_key, payload_sha256) > (:after_source::text, :after_key::text, :after_sha256::bytea))
    ORDER BY source, dedup_key, payload_sha256
    LIMIT :max_rows::int
) c
ORDER BY source, dedup_key, payload_sha256;

-- name: look_through_differences(company_id, after_run_id, after_difference, pattern, max_rows)
-- A span by key of what runs have found that a platform has and the log lacks, or the other way round; of what may be a
-- person's also the platform's id.
SELECT run_id, difference, CASE WHEN item_id ~* :pattern::text THEN item_id END AS item_id
FROM (
    SELECT run_id, difference, item_id
    FROM hookline.sync_differences
    WHERE company_id = :company_id::text
      AND (:after_run_id::uuid IS NULL OR (run_id, difference) > (:after_run_id::uuid, :after_difference::int))
    ORDER BY run_id, difference
    LIMIT :max_rows::int
) d
ORDER BY run_id, difference;

-- name: erase_differences(company_id, run_ids, differences)
-- The id goes, and the message, which may quote it. That something is missing stays, as the run has counted it.
UPDATE hookline.sync_differences d
SET item_id = NULL, message = 'It was a person''s, who has been erased.'
FROM unnest(:run_ids::uuid[], :differences::int[]) AS i (run_id, difference)
WHERE d.company_id = :company_id::text AND d.run_id = i.run_id AND d.difference = i.difference
RETURNING d.difference;

-- name: remove_conflicts(company_id, sources, dedup_keys, payload_sha256s)
-- Takes out those that are the person's.
DELETE FROM hookline.event_conflicts c
USING unnest(:sources::text[], :dedup_keys::text[], :payload_sha256s::bytea[]) AS i (source, dedup_key, payload_sha256)
WHERE c.company_id = :company_id::text AND c.source = i.source AND c.dedup_key = i.dedup_key
  AND c.payload_sha256 = i.payload_sha256
RETURNING c.event_id;
