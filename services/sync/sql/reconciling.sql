-- name: count_listed(company_id, run_id, after_page, item_ids)
-- How many different items the source has listed since a page, those that are about to be noted among them.
SELECT count(DISTINCT i.item_id) AS listed
FROM (
    SELECT unnest(p.item_ids) AS item_id
    FROM hookline.sync_pages p
    WHERE p.company_id = :company_id::text AND p.run_id = :run_id::uuid AND p.page > :after_page::bigint
    UNION ALL
    SELECT unnest(:item_ids::text[])
) i;

-- name: reconcile(company_id, run_id, source, start_time, until_time, max_rows)
-- What a run has listed against what is in the log. The totals are in every row, of which there is at least one; beside
-- them the differences one by one, up to a bound. Events are looked up page by page: each page's ids lie close to each
-- other in the index, and the plan does not hang on how large the company's log is. Without `until_time` the events that
-- the source did not list are not looked for.
WITH found AS MATERIALIZED (
    SELECT DISTINCT e.event_id
    FROM hookline.sync_pages p
    CROSS JOIN LATERAL (
        SELECT e.event_id FROM hookline.events e
        WHERE e.company_id = :company_id::text AND e.event_id = ANY (p.event_ids)
    ) e
    WHERE p.company_id = :company_id::text AND p.run_id = :run_id::uuid
), items AS MATERIALIZED (
    SELECT i.item_id, bool_or(f.event_id IS NOT NULL) AS is_stored
    FROM hookline.sync_pages p
    CROSS JOIN LATERAL unnest(p.item_ids, p.event_ids) AS i (item_id, event_id)
    LEFT JOIN found f ON f.event_id = i.event_id
    WHERE p.company_id = :company_id::text AND p.run_id = :run_id::uuid
    GROUP BY i.item_id
), whys AS (
    SELECT DISTINCT ON (w.key) w.key AS item_id, w.value ->> 'reason' AS reason, w.value ->> 'message' AS message
    FROM hookline.sync_pages p
    CROSS JOIN LATERAL jsonb_each(p.problems) AS w (key, value)
    WHERE p.company_id = :company_id::text AND p.run_id = :run_id::uuid
    ORDER BY w.key, p.page DESC
), unlisted AS MATERIALIZED (
    SELECT e.event_id, e.occurred_time
    FROM hookline.events e
    WHERE e.company_id = :company_id::text AND e.source = :source::text
      AND e.occurred_time >= :start_time::timestamptz AND e.occurred_time < :until_time::timestamptz
      AND NOT EXISTS (SELECT FROM found f WHERE f.event_id = e.event_id)
), differences AS (
    (SELECT 'missing' AS kind, i.item_id, NULL::uuid AS event_id, coalesce(w.reason, 'NOT_STORED') AS reason,
            coalesce(w.message, 'It was stored once, and is not in the log any more, archived or erased.') AS message
     FROM items i LEFT JOIN whys w ON w.item_id = i.item_id
     WHERE NOT i.is_stored
     ORDER BY i.item_id
     LIMIT :max_rows::int)
    UNION ALL
    (SELECT 'unlisted', NULL::text, u.event_id, 'NOT_LISTED',
            'It is in the log with a time that the run has read, and the source did not list it.'
     FROM unlisted u
     ORDER BY u.occurred_time, u.event_id
     LIMIT :max_rows::int)
    LIMIT :max_rows::int
)
SELECT t.listed, t.stored, t.listed - t.stored AS missing,
       CASE WHEN :until_time::timestamptz IS NOT NULL THEN (SELECT count(*) FROM unlisted) END AS unlisted,
       d.kind, d.item_id, d.event_id, d.reason, d.message
FROM (SELECT count(*) AS listed, count(*) FILTER (WHERE i.is_stored) AS stored FROM items i) t
LEFT JOIN differences d ON true;

-- name: store_reconciliation(company_id, run_id, listed, stored, missing, unlisted)
-- What was found, with the run's end.
INSERT INTO hookline.sync_reconciliations (company_id, run_id, listed, stored, missing, unlisted)
VALUES (:company_id::text, :run_id::uuid, :listed::bigint, :stored::bigint, :missing::bigint, :unlisted::bigint)
RETURNING run_id;

-- name: store_differences(company_id, run_id, kinds, item_ids, event_ids, reasons, messages)
-- The same one by one, as far as it is kept.
INSERT INTO hookline.sync_differences (company_id, run_id, difference, kind, item_id, event_id, reason, message)
SELECT :company_id::text, :run_id::uuid, d.difference, d.kind, d.item_id, d.event_id, d.reason, d.message
FROM unnest(:kinds::text[], :item_ids::text[], :event_ids::uuid[], :reasons::text[], :messages::text[]) WITH ORDINALITY
    AS d (kind, item_id, event_id, reason, message, difference);

-- name: list_differences(company_id, run_id, after, max_rows)
-- A page of a run's differences.
SELECT d.difference, d.kind, d.item_id, d.event_id, d.reason, d.message
FROM hookline.sync_differences d
WHERE d.company_id = :company_id::text AND d.run_id = :run_id::uuid AND d.difference > :after::int
ORDER BY d.difference
LIMIT :max_rows::int;

-- name: lock_source_of_run(company_id, run_id)
-- Whoever ends a run takes its source first, and the run then: the reaper takes them in this order too.
SELECT s.source
FROM hookline.sources s
JOIN hookline.sync_runs r ON r.company_id = :company_id::text AND r.source = s.source
WHERE s.company_id = :company_id::text AND r.run_id = :run_id::uuid
FOR NO KEY UPDATE OF s;

-- name: settle_run(company_id, run_id)
-- After a run has ended, however it did: what its pages held is no longer needed, and its source is read as far as the
-- run came, if there is no gap before it; complete until the run was made, if it read on without an upper bound and has
-- succeeded. A run with an upper bound says nothing about a source of which nothing is known, and a run says nothing
-- about another history than that which the source had when it was made.
WITH settled AS (
    DELETE FROM hookline.sync_pages p WHERE p.company_id = :company_id::text AND p.run_id = :run_id::uuid
)
UPDATE hookline.sources s
SET synced_time = greatest(s.synced_time, r.synced_time),
    complete_until_time = CASE WHEN r.state = 'succeeded' AND r.until_time IS NULL
                               THEN greatest(s.complete_until_time, r.created_time) ELSE s.complete_until_time END
FROM hookline.sync_runs r
WHERE s.company_id = :company_id::text AND r.company_id = :company_id::text AND r.run_id = :run_id::uuid
  AND r.source = s.source AND r.history = s.history
  AND (r.start_time <= s.synced_time OR (s.synced_time IS NULL AND r.until_time IS NULL))
RETURNING s.synced_time;
