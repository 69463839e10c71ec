-- name: set_aside(company_id, sources, payload_sha256s, quarantine_ids, platforms, reasons, messages, payloads, times, named_sources, named_platforms, headers, trusted)
-- Sets aside what could not be understood, once; what comes again is counted and keeps its first id, discarded or not,
-- with the reason of now. Who is not trusted may have sent it first, with other headers: then those of who is count.
-- Sorted for the same reason as keys.
INSERT INTO hookline.quarantine AS q
    (company_id, source, payload_sha256, quarantine_id, platform, reason, message, payload, times_received,
     named_source, named_platform, headers, trusted)
SELECT :company_id::text, i.source, i.payload_sha256, i.quarantine_id, i.platform, i.reason, i.message, i.payload,
       i.times, i.named_source, i.named_platform, i.headers, i.trusted
FROM unnest(:sources::text[], :payload_sha256s::bytea[], :quarantine_ids::uuid[], :platforms::text[],
            :reasons::text[], :messages::text[], :payloads::bytea[], :times::bigint[], :named_sources::text[],
            :named_platforms::text[], :headers::jsonb[], :trusted::boolean[])
    AS i (source, payload_sha256, quarantine_id, platform, reason, message, payload, times, named_source,
          named_platform, headers, trusted)
ORDER BY i.source COLLATE "C", i.payload_sha256
ON CONFLICT (company_id, source, payload_sha256) DO UPDATE
SET times_received = q.times_received + excluded.times_received, platform = excluded.platform,
    reason = excluded.reason, message = excluded.message, trusted = q.trusted OR excluded.trusted,
    headers = CASE WHEN excluded.trusted AND NOT q.trusted THEN excluded.headers ELSE q.headers END
RETURNING q.source, q.payload_sha256, q.quarantine_id;

-- name: list_quarantined(company_id, source, platform, reason, include_discarded, before_id, max_rows, prefix_bytes)
-- A page of the quarantine, newest first. Its ids are version 7 UUIDs: the order of ids is the order of arrival.
SELECT quarantine_id, source, platform, reason, message, quarantined_time, times_received, discarded_time,
       discard_reason, octet_length(payload)::bigint AS payload_size,
       substring(payload FROM 1 FOR :prefix_bytes::int) AS payload_prefix
FROM hookline.quarantine
WHERE company_id = :company_id::text
  AND (:source::text IS NULL OR source = :source::text)
  AND (:platform::text IS NULL OR platform = :platform::text)
  AND (:reason::text IS NULL OR reason = :reason::text)
  AND (:include_discarded::boolean OR discarded_time IS NULL)
  AND (:before_id::uuid IS NULL OR quarantine_id < :before_id::uuid)
ORDER BY quarantine_id DESC
LIMIT :max_rows::int;

-- name: find_quarantined(company_id, source, platform, reason, after_id, max_rows)
-- What a filter means and nobody has discarded, the oldest first. Only ids and sizes: payloads are loaded by and by.
SELECT quarantine_id, octet_length(payload)::bigint AS payload_size
FROM hookline.quarantine
WHERE company_id = :company_id::text AND discarded_time IS NULL
  AND (:source::text IS NULL OR source = :source::text)
  AND (:platform::text IS NULL OR platform = :platform::text)
  AND (:reason::text IS NULL OR reason = :reason::text)
  AND (:after_id::uuid IS NULL OR quarantine_id > :after_id::uuid)
ORDER BY quarantine_id
LIMIT :max_rows::int;

-- name: size_quarantined(company_id, quarantine_ids)
-- Which of the ids are there, and how large: a caller that names one that is not gets none of them tried.
SELECT quarantine_id, octet_length(payload)::bigint AS payload_size
FROM hookline.quarantine
WHERE company_id = :company_id::text AND quarantine_id = ANY (:quarantine_ids::uuid[]);

-- name: load_quarantined(company_id, quarantine_ids, prefix_bytes)
-- Whole: to be looked at, or tried again as it came.
SELECT quarantine_id, source, platform, reason, message, quarantined_time, times_received, discarded_time,
       discard_reason, octet_length(payload)::bigint AS payload_size,
       substring(payload FROM 1 FOR :prefix_bytes::int) AS payload_prefix,
       payload, named_source, named_platform, headers, trusted
FROM hookline.quarantine
WHERE company_id = :company_id::text AND quarantine_id = ANY (:quarantine_ids::uuid[]);

-- name: hold_quarantined(company_id, quarantine_ids)
-- First in the transaction that stores rows as events. An erasure takes out a person's rows before it asks where the log
-- ends: so it either waits for that transaction and finds the events, or these rows are gone, and nothing is stored.
-- Locked in the order in which rows are set aside; the same coming again does not wait. A client that freezes then holds
-- the company's row no longer than that.
SELECT quarantine_id, set_config('idle_in_transaction_session_timeout', '10s', true) AS timeout
FROM hookline.quarantine
WHERE company_id = :company_id::text AND quarantine_id = ANY (:quarantine_ids::uuid[])
ORDER BY source COLLATE "C", payload_sha256
FOR KEY SHARE;

-- name: remove_quarantined(company_id, quarantine_ids)
-- Takes out what has been stored as events. Locked in the order in which rows are set aside, so that the two never
-- deadlock.
WITH locked AS (
    SELECT quarantine_id FROM hookline.quarantine
    WHERE company_id = :company_id::text AND quarantine_id = ANY (:quarantine_ids::uuid[])
    ORDER BY source COLLATE "C", payload_sha256
    FOR UPDATE
)
DELETE FROM hookline.quarantine q
USING locked
WHERE q.company_id = :company_id::text AND q.quarantine_id = locked.quarantine_id
RETURNING q.quarantine_id;

-- name: judge_quarantined(company_id, quarantine_ids, sources, payload_sha256s, platforms, reasons, messages, payloads, headers, trusted)
-- Notes why rows are not understood now. A mapping may know by now whose they are, and what in them is a secret: then
-- source and payload change too, and with them the key under which the same is found when it comes again; unless it
-- came again in the meantime and has taken that key, or two of these rows would. A payload that is NULL stays. A token in
-- the payload may have been verified before it was taken out: such a row is trusted from now on.
-- One that came again in the meantime, from somebody who is trusted, stays so.
-- Locked in the order in which rows are set aside.
WITH judged AS (
    SELECT * FROM unnest(:quarantine_ids::uuid[], :sources::text[], :payload_sha256s::bytea[], :platforms::text[],
                         :reasons::text[], :messages::text[], :payloads::bytea[], :headers::jsonb[], :trusted::boolean[])
        AS j (quarantine_id, source, payload_sha256, platform, reason, message, payload, headers, trusted)
), locked AS (
    SELECT q.quarantine_id FROM hookline.quarantine q JOIN judged j ON q.quarantine_id = j.quarantine_id
    WHERE q.company_id = :company_id::text
    ORDER BY q.source COLLATE "C", q.payload_sha256
    FOR UPDATE OF q
), placed AS (
    SELECT j.quarantine_id, j.source, j.payload_sha256, j.platform, j.reason, j.message, j.payload, j.headers,
           j.trusted,
           row_number() OVER (PARTITION BY j.source, j.payload_sha256 ORDER BY j.quarantine_id) = 1
           AND NOT EXISTS (SELECT FROM hookline.quarantine o
                           WHERE o.company_id = :company_id::text AND o.source = j.source
                             AND o.payload_sha256 = j.payload_sha256) AS key_is_free
    FROM judged j JOIN locked USING (quarantine_id)
)
UPDATE hookline.quarantine q
SET source = CASE WHEN p.key_is_free THEN p.source ELSE q.source END,
    payload_sha256 = CASE WHEN p.key_is_free THEN p.payload_sha256 ELSE q.payload_sha256 END,
    platform = p.platform, reason = p.reason, message = p.message, payload = coalesce(p.payload, q.payload),
    headers = CASE WHEN q.trusted AND NOT p.trusted THEN q.headers ELSE p.headers END,
    trusted = q.trusted OR p.trusted
FROM placed p
WHERE q.company_id = :company_id::text AND q.quarantine_id = p.quarantine_id
RETURNING q.quarantine_id;

-- name: discard_quarantined(company_id, quarantine_ids, reason, all_or_none)
-- Puts out of sight those that are not yet, and says which of the ids are there at all; with all_or_none nothing is
-- done unless all of them are. Locked in the order in which rows are set aside.
WITH found AS (
    SELECT quarantine_id, discarded_time FROM hookline.quarantine
    WHERE company_id = :company_id::text AND quarantine_id = ANY (:quarantine_ids::uuid[])
    ORDER BY source COLLATE "C", payload_sha256
    FOR UPDATE
), discarded AS (
    UPDATE hookline.quarantine q
    SET discarded_time = clock_timestamp(), discard_reason = :reason::text
    FROM found f
    WHERE q.company_id = :company_id::text AND q.quarantine_id = f.quarantine_id AND f.discarded_time IS NULL
      AND (NOT :all_or_none::boolean OR (SELECT count(*) FROM found) = cardinality(:quarantine_ids::uuid[]))
    RETURNING q.quarantine_id
)
SELECT f.quarantine_id, d.quarantine_id IS NOT NULL AS is_discarded_now
FROM found f LEFT JOIN discarded d USING (quarantine_id);

-- name: list_conflicts(company_id, event_id, after_source, after_key, after_sha256, max_rows, max_bytes)
-- A page of what came under a known key with another content, up to the row whose payload reaches max_bytes in all;
-- `found` counts those before the cut. The sizes of payloads are known without reading them.
SELECT event_id, source, dedup_key, payload_sha256, payload, first_received_time, times_received, found
FROM (
    SELECT event_id, source, dedup_key, payload_sha256, payload, first_received_time, times_received,
           count(*) OVER () AS found,
           sum(octet_length(payload)) OVER (ORDER BY source, dedup_key, payload_sha256) - octet_length(payload)
               AS bytes_before
    FROM (
        SELECT event_id, source, dedup_key, payload_sha256, payload, first_received_time, times_received
        FROM hookline.event_conflicts
        WHERE company_id = :company_id::text
          AND (:event_id::uuid IS NULL OR event_id = :event_id::uuid)
          AND (:after_source::text IS NULL
               OR (source, dedup_key, payload_sha256)
                  > (:after_source::text, :after_key::text, :after_sha256::bytea))
        ORDER BY source, dedup_key, payload_sha256
        LIMIT :max_rows::int
    ) page
) sized
WHERE bytes_before < :max_bytes::bigint
ORDER BY source, dedup_key, payload_sha256;
