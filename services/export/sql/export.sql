-- name: mark(company_id)
-- Where the company's log stands: what was committed before this is at or below it, whatever comes is above.
SELECT last_sequence, last_change FROM hookline.companies WHERE company_id = :company_id::text;

-- name: csv_page(company_id, after, upto, last_change, types, sources, statuses, occurred_start, occurred_end, received_start, received_end, max_rows)
-- The rows of a span of the log, for COPY. A span and not a LIMIT, since numbers are dense: each page is a range of the
-- index, and what a filter leaves out costs no second look for where the page ended.
-- Statuses are joined as a span too: looked up row by row they would take as long as the rows themselves.
SELECT e.event_id,
       hookline.csv_text(e.type) AS type,
       hookline.csv_text(e.customer_name) AS customer_name,
       hookline.csv_text(e.product_name) AS product_name,
       e.total,
       e.currency,
       e.source,
       coalesce(s.status, 'pending') AS status,
       hookline.rfc3339(e.occurred_time) AS occurred_time
FROM hookline.events e
LEFT JOIN (
    SELECT DISTINCT ON (sequence) sequence, status
    FROM hookline.event_status
    WHERE company_id = :company_id::text AND sequence > :after::bigint AND sequence <= :upto::bigint
      AND change <= :last_change::bigint
    ORDER BY sequence, change DESC
) s USING (sequence)
WHERE e.company_id = :company_id::text AND e.sequence > :after::bigint AND e.sequence <= :upto::bigint
  AND (:types::text[] IS NULL OR e.type = ANY (:types::text[]))
  AND (:sources::text[] IS NULL OR e.source = ANY (:sources::text[]))
  AND (:statuses::hookline.processing_status[] IS NULL
       OR coalesce(s.status, 'pending') = ANY (:statuses::hookline.processing_status[]))
  AND (:occurred_start::timestamptz IS NULL OR e.occurred_time >= :occurred_start::timestamptz)
  AND (:occurred_end::timestamptz IS NULL OR e.occurred_time < :occurred_end::timestamptz)
  AND (:received_start::timestamptz IS NULL OR e.received_time >= :received_start::timestamptz)
  AND (:received_end::timestamptz IS NULL OR e.received_time < :received_end::timestamptz)
ORDER BY e.sequence ASC
LIMIT :max_rows::bigint;

-- name: json_page(company_id, after, upto, last_change, types, sources, statuses, occurred_start, occurred_end, received_start, received_end, max_rows, before)
-- The same span as one JSON text a row, with `before` (a comma, or nothing) in front.
SELECT :before::text || row_to_json(r)::text
FROM (
    SELECT e.event_id, e.sequence, e.type, coalesce(e.platform_type, e.type) AS platform_type, e.platform, e.source,
           e.dedup_key, e.customer_name, e.product_name, e.total::text AS total, e.currency,
           coalesce(s.status, 'pending') AS status, s.error AS status_error,
           hookline.rfc3339(e.occurred_time) AS occurred_time, hookline.rfc3339(e.received_time) AS received_time,
           e.payload
    FROM hookline.events e
    LEFT JOIN (
        SELECT DISTINCT ON (sequence) sequence, status, error
        FROM hookline.event_status
        WHERE company_id = :company_id::text AND sequence > :after::bigint AND sequence <= :upto::bigint
          AND change <= :last_change::bigint
        ORDER BY sequence, change DESC
    ) s USING (sequence)
    WHERE e.company_id = :company_id::text AND e.sequence > :after::bigint AND e.sequence <= :upto::bigint
      AND (:types::text[] IS NULL OR e.type = ANY (:types::text[]))
      AND (:sources::text[] IS NULL OR e.source = ANY (:sources::text[]))
      AND (:statuses::hookline.processing_status[] IS NULL
           OR coalesce(s.status, 'pending') = ANY (:statuses::hookline.processing_status[]))
      AND (:occurred_start::timestamptz IS NULL OR e.occurred_time >= :occurred_start::timestamptz)
      AND (:occurred_end::timestamptz IS NULL OR e.occurred_time < :occurred_end::timestamptz)
      AND (:received_start::timestamptz IS NULL OR e.received_time >= :received_start::timestamptz)
      AND (:received_end::timestamptz IS NULL OR e.received_time < :received_end::timestamptz)
    ORDER BY e.sequence ASC
    LIMIT :max_rows::bigint
) r;

-- name: list_events(company_id, after, upto, types, sources, statuses, occurred_start, occurred_end, received_start, received_end, max_rows, with_payload)
-- Events of a span of the log, each with its status of now. Few rows, so their statuses are looked up one by one.
SELECT e.event_id, e.sequence, e.source, e.platform, e.type, coalesce(e.platform_type, e.type) AS platform_type,
       e.dedup_key, e.customer_name, e.product_name, e.total::text AS total, e.currency,
       coalesce(s.status, 'pending') AS status, s.error AS status_error, e.occurred_time, e.received_time,
       CASE WHEN :with_payload::boolean THEN e.payload END AS payload
FROM hookline.events e
LEFT JOIN LATERAL (
    SELECT s.status, s.error FROM hookline.event_status s
    WHERE s.company_id = :company_id::text AND s.sequence = e.sequence
    ORDER BY s.change DESC
    LIMIT 1
) s ON true
WHERE e.company_id = :company_id::text AND e.sequence > :after::bigint AND e.sequence <= :upto::bigint
  AND (:types::text[] IS NULL OR e.type = ANY (:types::text[]))
  AND (:sources::text[] IS NULL OR e.source = ANY (:sources::text[]))
  AND (:statuses::hookline.processing_status[] IS NULL
       OR coalesce(s.status, 'pending') = ANY (:statuses::hookline.processing_status[]))
  AND (:occurred_start::timestamptz IS NULL OR e.occurred_time >= :occurred_start::timestamptz)
  AND (:occurred_end::timestamptz IS NULL OR e.occurred_time < :occurred_end::timestamptz)
  AND (:received_start::timestamptz IS NULL OR e.received_time >= :received_start::timestamptz)
  AND (:received_end::timestamptz IS NULL OR e.received_time < :received_end::timestamptz)
ORDER BY e.sequence ASC
LIMIT :max_rows::bigint;

-- name: get_event(company_id, event_id)
-- One event, whole, with its status of now.
SELECT e.event_id, e.sequence, e.source, e.platform, e.type, coalesce(e.platform_type, e.type) AS platform_type,
       e.dedup_key, e.customer_name, e.product_name, e.total::text AS total, e.currency,
       coalesce(s.status, 'pending') AS status, s.error AS status_error, e.occurred_time, e.received_time,
       e.payload
FROM hookline.events e
LEFT JOIN LATERAL (
    SELECT s.status, s.error FROM hookline.event_status s
    WHERE s.company_id = :company_id::text AND s.sequence = e.sequence
    ORDER BY s.change DESC
    LIMIT 1
) s ON true
WHERE e.company_id = :company_id::text AND e.event_id = :event_id::uuid;
