-- name: find_ids(company_id, after, upto, typed)
-- The events that a text is the id or the key of. Keys are looked up within each source: the recursion hops from one of
-- the company's sources to the next in the ledger's own index.
WITH RECURSIVE named (source) AS (
    (SELECT k.source FROM hookline.event_keys k WHERE k.company_id = :company_id::text ORDER BY k.source LIMIT 1)
    UNION ALL
    SELECT (SELECT k.source FROM hookline.event_keys k
            WHERE k.company_id = :company_id::text AND k.source > n.source ORDER BY k.source LIMIT 1)
    FROM named n WHERE n.source IS NOT NULL
), ids AS (
    SELECT k.event_id
    FROM (SELECT source FROM named WHERE source IS NOT NULL LIMIT 1000) n
    CROSS JOIN LATERAL (
        SELECT k.event_id FROM hookline.event_keys k
        WHERE k.company_id = :company_id::text AND k.source = n.source AND k.dedup_key = :typed::text
    ) k
    UNION
    SELECT CASE WHEN :typed::text ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN (:typed::text)::uuid END
)
SELECT e.sequence, e.received_time
FROM ids CROSS JOIN LATERAL (
    SELECT e.sequence, e.received_time FROM hookline.events e
    WHERE e.company_id = :company_id::text AND e.event_id = ids.event_id
) e
WHERE e.sequence > :after::bigint AND e.sequence <= :upto::bigint;

-- name: span_times(company_id, after, upto)
-- When the first and the last event of a span were received. Times only ever go up along the log.
SELECT (SELECT f.received_time FROM hookline.events f
        WHERE f.company_id = :company_id::text AND f.sequence > :after::bigint
        ORDER BY f.sequence LIMIT 1) AS first,
       (SELECT l.received_time FROM hookline.events l
        WHERE l.company_id = :company_id::text AND l.sequence <= :upto::bigint
        ORDER BY l.sequence DESC LIMIT 1) AS last;

-- name: find_terms(company_id, buckets, first, last, after, upto, payload_contains, customer, text, max_rows)
-- Where in whole buckets of the log the payload contains something, and names have words. Asked for itself, with
-- nothing else to go by: along with an order and a limit the planner takes any term for a common one, and walks the log.
-- Buckets are compared as a list of bigint: an int would silently be no condition of the index. `first` and `last`
-- leave out the partitions that the span does not reach.
WITH found AS MATERIALIZED (
    SELECT e.sequence, e.received_time
    FROM hookline.events e
    WHERE e.company_id = :company_id::text AND (e.sequence >> 16) = ANY (:buckets::bigint[])
      AND e.received_time >= :first::timestamptz AND e.received_time <= :last::timestamptz
      AND (:payload_contains::text IS NULL OR e.payload @> (:payload_contains::text)::jsonb)
      AND (:customer::text IS NULL
           OR to_tsvector('simple', coalesce(e.customer_name, '') || ' ' || coalesce(e.product_name, ''))
              @@ hookline.words(:customer::text))
      AND (:text::text IS NULL
           OR to_tsvector('simple', coalesce(e.customer_name, '') || ' ' || coalesce(e.product_name, ''))
              @@ hookline.words(:text::text))
)
SELECT e.sequence, e.received_time FROM found e
WHERE e.sequence > :after::bigint AND e.sequence <= :upto::bigint
ORDER BY e.sequence ASC
LIMIT :max_rows::bigint;

-- name: find_types(company_id, types, after, upto, max_rows)
-- The first events of some types, from the index on types. Type by type: the index has the log's order within each.
SELECT e.sequence, e.received_time
FROM unnest(:types::text[]) AS t (type) CROSS JOIN LATERAL (
    SELECT e.sequence, e.received_time FROM hookline.events e
    WHERE e.company_id = :company_id::text AND e.type = t.type
      AND e.sequence > :after::bigint AND e.sequence <= :upto::bigint
    ORDER BY e.sequence ASC
    LIMIT :max_rows::bigint
) e
ORDER BY e.sequence ASC
LIMIT :max_rows::bigint;

-- name: find_sources(company_id, sources, after, upto, max_rows)
-- The same of some sources, from the index on sources.
SELECT e.sequence, e.received_time
FROM unnest(:sources::text[]) AS t (source) CROSS JOIN LATERAL (
    SELECT e.sequence, e.received_time FROM hookline.events e
    WHERE e.company_id = :company_id::text AND e.source = t.source
      AND e.sequence > :after::bigint AND e.sequence <= :upto::bigint
    ORDER BY e.sequence ASC
    LIMIT :max_rows::bigint
) e
ORDER BY e.sequence ASC
LIMIT :max_rows::bigint;

-- name: list_found(company_id, sequences, received_times, types, sources, platforms, statuses, occurred_start, occurred_end, received_start, received_end, min_total, max_total, currency, customer, payload_contains, text, max_rows, with_payload)
-- Those among events found before that the whole filter lets through, each with its status of now. The time leads to the
-- partition. In the order of the list, so that no more of it is looked at than fills the page.
SELECT e.event_id, e.sequence, e.source, e.platform, e.type, coalesce(e.platform_type, e.type) AS platform_type,
       e.dedup_key, e.customer_name, e.product_name, e.total::text AS total, e.currency,
       coalesce(s.status, 'pending') AS status, s.error AS status_error, e.occurred_time, e.received_time,
       CASE WHEN :with_payload::boolean THEN e.payload END AS payload
FROM unnest(:sequences::bigint[], :received_times::timestamptz[]) WITH ORDINALITY AS f (sequence, received_time, place)
CROSS JOIN LATERAL (
    -- OFFSET 0: each is looked up, whatever other index the filter may suggest to the planner.
    SELECT e.* FROM hookline.events e
    WHERE e.company_id = :company_id::text AND e.sequence = f.sequence AND e.received_time = f.received_time
    OFFSET 0
) e
LEFT JOIN LATERAL (
    SELECT s.status, s.error FROM hookline.event_status s
    WHERE s.company_id = :company_id::text AND s.sequence = e.sequence
    ORDER BY s.change DESC
    LIMIT 1
) s ON true
WHERE true
  -- include: matching
ORDER BY f.place
LIMIT :max_rows::bigint;
