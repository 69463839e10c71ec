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
        -- There is one at most. Said, so that it is looked up in each source, not looked for among all.
        LIMIT 1
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

-- name: months(company_id, after, upto)
-- The months, and so the partitions, that a span of the log was received in, each with its part of the span. Times only
-- ever go up along the log.
WITH ends AS (
    SELECT (SELECT f.received_time FROM hookline.events f
            WHERE f.company_id = :company_id::text AND f.sequence > :after::bigint
            ORDER BY f.sequence LIMIT 1) AS first,
           (SELECT l.received_time FROM hookline.events l
            WHERE l.company_id = :company_id::text AND l.sequence <= :upto::bigint
            ORDER BY l.sequence DESC LIMIT 1) AS last
)
SELECT m.start, m.start + interval '1 month' AS until, greatest(e.first - 1, :after::bigint) AS after,
       least(e.last, :upto::bigint) AS upto
FROM ends
CROSS JOIN LATERAL generate_series(date_trunc('month', ends.first, 'UTC'), ends.last, interval '1 month') AS m (start)
CROSS JOIN LATERAL (
    SELECT min(e.sequence) AS first, max(e.sequence) AS last FROM hookline.events e
    WHERE e.company_id = :company_id::text
      AND e.received_time >= m.start AND e.received_time < m.start + interval '1 month'
) e
WHERE e.first IS NOT NULL
ORDER BY m.start;

-- name: count_terms(company_id, after, upto, payload_contains, customer, text)
-- How many events of a span have what is searched for, each term by itself: what is contained, the words that are
-- complete, and the last one, which may only be begun. A word's place in a name is told first, in a third of the time.
WITH looked_through AS MATERIALIZED (
    SELECT (e.payload @> (:payload_contains::text)::jsonb) IS TRUE AS contains,
           CASE WHEN :customer::text IS NOT NULL OR :text::text IS NOT NULL
                THEN lower(coalesce(e.customer_name, '') || ' ' || coalesce(e.product_name, '')) END AS names
    FROM hookline.events e
    WHERE e.company_id = :company_id::text AND e.sequence > :after::bigint AND e.sequence <= :upto::bigint
), lexemes AS (
    SELECT t.field, l.lexeme,
           l.positions[cardinality(l.positions)]
               = max(l.positions[cardinality(l.positions)]) OVER (PARTITION BY t.field) AS is_begun
    FROM (VALUES ('customer', :customer::text), ('text', :text::text)) AS t (field, typed)
    CROSS JOIN LATERAL unnest(to_tsvector('simple', t.typed)) AS l
), terms AS (
    SELECT field, is_begun, (array_agg(lexeme ORDER BY length(lexeme) DESC))[1] AS lexeme,
           (string_agg('''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''', ' & ')
            || CASE WHEN is_begun THEN ':*' ELSE '' END)::tsquery AS words
    FROM lexemes
    GROUP BY field, is_begun
)
SELECT t.field, t.is_begun, t.words::text AS words,
       (SELECT count(*) FROM looked_through e
        WHERE strpos(e.names, t.lexeme) > 0 AND to_tsvector('simple', e.names) @@ t.words) AS events
FROM terms t
UNION ALL
SELECT 'payload', false, NULL, (SELECT count(*) FROM looked_through e WHERE e.contains)
WHERE :payload_contains::text IS NOT NULL;

-- name: find_terms(company_id, start, until, buckets, after, upto, payload_contains, customer_words, text_words, max_rows, seconds)
-- Where in buckets of the log, all of one month, the payload contains something, and names have words; and how long it
-- has taken so far. One bucket after another, the first in any case, until the time is over. By itself, with nothing else
-- to go by: along with an order and a limit the planner takes any term for a common one, and walks the log. And with all
-- that is looked for out of queries of their own, so that the planner knows nothing of it and takes all keys of the index:
-- told a list of buckets, or a begun word, it finds the index too dear and reads every event of them.
SELECT b.bucket, e.sequences, e.received_times,
       extract(epoch FROM clock_timestamp() - statement_timestamp())::float8 AS seconds
FROM (
    SELECT b.bucket FROM unnest(:buckets::bigint[]) WITH ORDINALITY AS b (bucket, place)
    WHERE b.place = 1 OR clock_timestamp() < statement_timestamp() + make_interval(secs => :seconds::float8)
    OFFSET 0
) b
CROSS JOIN LATERAL (
    SELECT array_agg(e.sequence ORDER BY e.sequence ASC) AS sequences,
           array_agg(e.received_time ORDER BY e.sequence ASC) AS received_times
    FROM (
        SELECT e.sequence, e.received_time
        FROM (
            SELECT e.sequence, e.received_time FROM hookline.events e
            WHERE e.company_id = :company_id::text AND (e.sequence >> 16) = b.bucket
              AND e.received_time >= :start::timestamptz AND e.received_time < :until::timestamptz
              AND (:payload_contains::text IS NULL OR e.payload @> (SELECT (:payload_contains::text)::jsonb))
              AND (:customer_words::text IS NULL
                   OR to_tsvector('simple', coalesce(e.customer_name, '') || ' ' || coalesce(e.product_name, ''))
                      @@ (SELECT (:customer_words::text)::tsquery))
              AND (:text_words::text IS NULL
                   OR to_tsvector('simple', coalesce(e.customer_name, '') || ' ' || coalesce(e.product_name, ''))
                      @@ (SELECT (:text_words::text)::tsquery))
            OFFSET 0
        ) e
        WHERE e.sequence > :after::bigint AND e.sequence <= :upto::bigint
        ORDER BY e.sequence ASC
        LIMIT :max_rows::bigint
    ) e
) e;

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
       coalesce(s.status, 'pending') AS status, s.error AS status_error, e.occurred_time, e.received_time, e.erase_time,
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
