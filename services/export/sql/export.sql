-- name: mark(company_id)
-- Where the company's log stands: what was committed before this is at or below it, whatever comes is above.
SELECT last_sequence, last_change, erasure_epoch FROM hookline.companies WHERE company_id = :company_id::text;

-- name: clock_in_zone(time_zone)
-- Fails where PostgreSQL does not know the zone, before anything is sent.
SELECT clock_timestamp() AT TIME ZONE :time_zone::text AS clock;

-- name: export_page(company_id, after, upto, last_change, types, sources, platforms, statuses, occurred_start, occurred_end, received_start, received_end, min_total, max_total, currency, customer, payload_contains, text, max_rows)
-- The rows of a span of the log, for COPY; the columns asked for stand where event_id does. A span and not a LIMIT,
-- since numbers are dense: each page is a range of the index, and what a filter leaves out costs no second look for
-- where the page ended. Statuses are joined as a span too: looked up row by row they would take as long as the rows.
SELECT e.event_id AS columns
FROM hookline.events e
LEFT JOIN (
    SELECT DISTINCT ON (sequence) sequence, status, error
    FROM hookline.event_status
    WHERE company_id = :company_id::text AND sequence > :after::bigint AND sequence <= :upto::bigint
      AND change <= :last_change::bigint
    ORDER BY sequence, change DESC
) s USING (sequence)
WHERE e.company_id = :company_id::text AND e.sequence > :after::bigint AND e.sequence <= :upto::bigint
  -- include: matching
ORDER BY e.sequence ASC
LIMIT :max_rows::bigint;

-- name: json_rows(before)
-- Rows as one JSON text each, with `before` (a comma, or nothing) in front; the page stands where 1 does.
SELECT :before::text || row_to_json(r)::text FROM (SELECT 1 AS page) r;
