-- name: list_events(company_id, after, upto, types, sources, platforms, statuses, occurred_start, occurred_end, received_start, received_end, min_total, max_total, currency, customer, payload_contains, text, max_rows, with_payload)
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
  -- include: matching
ORDER BY e.sequence ASC
LIMIT :max_rows::bigint;

-- name: get_event(company_id, event_id)
-- One event, whole, with its status of now.
SELECT e.event_id, e.sequence, e.source, e.platform, e.type, coalesce(e.platform_type, e.type) AS platform_type,
       e.dedup_key, e.customer_name, e.product_name, e.total::text AS total, e.currency,
       coalesce(s.status, 'pending') AS status, s.error AS status_error, e.occurred_time, e.received_time, e.payload
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
