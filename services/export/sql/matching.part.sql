  AND (:types::text[] IS NULL OR e.type = ANY (:types::text[]))
  AND (:sources::text[] IS NULL OR e.source = ANY (:sources::text[]))
  AND (:platforms::text[] IS NULL OR e.platform = ANY (:platforms::text[]))
  AND (:statuses::hookline.processing_status[] IS NULL
       OR coalesce(s.status, 'pending') = ANY (:statuses::hookline.processing_status[]))
  AND (:occurred_start::timestamptz IS NULL OR e.occurred_time >= :occurred_start::timestamptz)
  AND (:occurred_end::timestamptz IS NULL OR e.occurred_time < :occurred_end::timestamptz)
  AND (:received_start::timestamptz IS NULL OR e.received_time >= :received_start::timestamptz)
  AND (:received_end::timestamptz IS NULL OR e.received_time < :received_end::timestamptz)
  AND (:min_total::text IS NULL OR e.total >= (:min_total::text)::numeric)
  AND (:max_total::text IS NULL OR e.total <= (:max_total::text)::numeric)
  AND (:currency::text IS NULL OR e.currency = :currency::text)
  -- Names are taken apart into words only where the longest of the words is there at all: that is told in a third of the
  -- time.
  AND (:customer::text IS NULL
       OR (strpos(lower(coalesce(e.customer_name, '')),
                  (SELECT w FROM unnest(tsvector_to_array(to_tsvector('simple', :customer::text))) AS w
                   ORDER BY length(w) DESC LIMIT 1)) > 0
           AND to_tsvector('simple', coalesce(e.customer_name, '')) @@ hookline.words(:customer::text)))
  -- IS TRUE: looked at, row by row. Asked as a plain condition, the planner would rather ask the index on payloads, which
  -- without its buckets goes through the whole company.
  AND (:payload_contains::text IS NULL OR (e.payload @> (:payload_contains::text)::jsonb) IS TRUE)
  AND (:text::text IS NULL OR e.dedup_key = :text::text
       OR e.event_id = CASE WHEN :text::text ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN (:text::text)::uuid END
       OR (strpos(lower(coalesce(e.customer_name, '') || ' ' || coalesce(e.product_name, '')),
                  (SELECT w FROM unnest(tsvector_to_array(to_tsvector('simple', :text::text))) AS w
                   ORDER BY length(w) DESC LIMIT 1)) > 0
           AND to_tsvector('simple', coalesce(e.customer_name, '') || ' ' || coalesce(e.product_name, ''))
               @@ hookline.words(:text::text)))
