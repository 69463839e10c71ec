-- name: list_events(company_id, after, upto, types, sources, platforms, statuses, occurred_start, occurred_end, received_start, received_end, min_total, max_total, currency, customer, payload_contains, text, max_rows, with_payload)
-- Events of a span of the log, each with its status of now. Few rows, so their statuses are looked up one by one.
SELECT e.event_id, e.sequence, e.source, e.platform, e.type, coalesce(e.platform_type, e.type) AS platform_type,
       e.dedup_key, e.customer_name, e.product_name, e.total::text AS total, e.currency,
       coalesce(s.status, 'pending') AS status, s.error AS status_error, e.occurred_time, e.received_time, e.erase_time,
       CASE WHEN :with_payload::boolean THEN e.payload END AS payload
FROM hookline.events e
LEFT JOIN LATERAL (
    SELECT s.status, s.error FROM hookline.event_status s
    WHERE s.company_id = :company_id::text AND s.sequence = e.sequence
    ORDER BY s.change DESC
    LIMIT 1
) s ON true
WHERE e.company_id = :company_id::text AND e.sequence > :after::bigint AND e.sequence <= :upto::bigint
  -- include: matching
ORDER BY e.sequence ASC
LIMIT :max_rows::bigint;

-- name: get_event(company_id, event_id)
-- One event, whole, with its status of now.
SELECT e.event_id, e.sequence, e.source, e.platform, e.type, coalesce(e.platform_type, e.type) AS platform_type,
       e.dedup_key, e.customer_name, e.product_name, e.total::text AS total, e.currency,
       coalesce(s.status, 'pending') AS status, s.error AS status_error, e.occurred_time, e.received_time, e.erase_time,
       e.payload
FROM hookline.events e
LEFT JOIN LATERAL (
    SELECT s.status, s.error FROM hookline.event_status s
    WHERE s.company_id = :company_id::text AND s.sequence = e.sequence
    ORDER BY s.change DESC
    LIMIT 1
) s ON true
WHERE e.company_id = :company_id::text AND e.event_id = :event_id::uuid;

-- name: summarize(company_id, after, upto, unit, time_zone, by_type, by_source, by_product, by_platform, types, sources, platforms, statuses, occurred_start, occurred_end, received_start, received_end, min_total, max_total, currency, customer, payload_contains, text, max_rows)
-- Counts and sums of a span of the log, by what is asked for. Statuses have no part: what is summed up never changes.
SELECT extract(epoch FROM date_trunc(:unit::text, e.occurred_time, :time_zone::text))::bigint AS start,
       CASE WHEN :by_type::boolean THEN e.type END AS type,
       CASE WHEN :by_source::boolean THEN e.source END AS source,
       CASE WHEN :by_product::boolean THEN e.product_name END AS product_name,
       CASE WHEN :by_platform::boolean THEN e.platform END AS platform,
       e.currency, count(*) AS count, sum(e.total)::text AS total
FROM hookline.events e
CROSS JOIN (SELECT NULL::hookline.processing_status AS status) s
WHERE e.company_id = :company_id::text AND e.sequence > :after::bigint AND e.sequence <= :upto::bigint
  -- include: matching
GROUP BY 1, 2, 3, 4, 5, 6
LIMIT :max_rows::bigint;

-- name: moment(company_id)
-- What the company's log and its statuses are as of now. Numbers alone come again in a log that was restored to an
-- earlier point and has grown since; the last event's time does not. A status may have become another one under the same
-- last event: no server is restored without being started.
SELECT last_sequence, last_change, erasure_epoch, last_received_time,
       pg_postmaster_start_time() AS server_start_time
FROM hookline.companies WHERE company_id = :company_id::text;

-- name: event_id_at(company_id, sequence)
-- Which event has a number.
SELECT e.event_id FROM hookline.events e WHERE e.company_id = :company_id::text AND e.sequence = :sequence::bigint;

-- name: received_bounds(company_id, after, upto, moments)
-- For each of some moments, up to where in a span of the log events were received before it. Times only ever go up along
-- the log, so the span is halved until nothing is left of it: one look into the index each time.
WITH RECURSIVE halved (moment, low, high) AS (
    SELECT m.moment, :after::bigint, :upto::bigint FROM unnest(:moments::timestamptz[]) AS m (moment)
    UNION ALL
    SELECT h.moment, CASE WHEN e.received_time < h.moment THEN e.sequence ELSE h.low END,
           CASE WHEN e.received_time < h.moment THEN h.high ELSE h.middle END
    FROM (SELECT moment, low, high, (low + high) / 2 AS middle FROM halved WHERE low < high) h
    LEFT JOIN LATERAL (
        SELECT e.sequence, e.received_time FROM hookline.events e
        WHERE e.company_id = :company_id::text AND e.sequence > h.middle AND e.sequence <= h.high
        ORDER BY e.sequence ASC
        LIMIT 1
    ) e ON true
)
SELECT moment, low AS bound FROM halved WHERE low = high;

-- name: occurred_bounds(company_id, after, upto, occurred_start, occurred_end)
-- The part of a span of the log that holds all its events that occurred in a time, from the index on that time alone. In
-- a query of its own: for the least and the greatest the planner would walk the log until it meets one.
SELECT min(e.sequence) - 1 AS after, max(e.sequence) AS upto
FROM (
    SELECT e.sequence FROM hookline.events e
    WHERE e.company_id = :company_id::text AND e.sequence > :after::bigint AND e.sequence <= :upto::bigint
      AND (:occurred_start::timestamptz IS NULL OR e.occurred_time >= :occurred_start::timestamptz)
      AND (:occurred_end::timestamptz IS NULL OR e.occurred_time < :occurred_end::timestamptz)
    OFFSET 0
) e;

-- name: find_occurred(company_id, occurred_start, occurred_end, max_rows)
-- The events that occurred in a time, in the log's order, from the index on that time; only so many of them, to tell
-- whether there are more.
SELECT e.sequence, e.received_time
FROM (
    SELECT e.sequence, e.received_time FROM hookline.events e
    WHERE e.company_id = :company_id::text
      AND (:occurred_start::timestamptz IS NULL OR e.occurred_time >= :occurred_start::timestamptz)
      AND (:occurred_end::timestamptz IS NULL OR e.occurred_time < :occurred_end::timestamptz)
    ORDER BY e.occurred_time
    LIMIT :max_rows::bigint
) e
ORDER BY e.sequence ASC;
