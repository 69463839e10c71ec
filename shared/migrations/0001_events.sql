-- The events of companies: each company's log, its dedup ledger, processing status, and what was set aside.
--
-- Every primary and unique key starts with company_id and every statement names one company, so that the tables can
-- be distributed by company as they stand. Text keys are compared bytewise (COLLATE "C"): the same order and the same
-- uniqueness whatever the database's locale.

-- For the GIN indexes that combine company_id with payload and words. A trusted extension: no superuser needed.
-- In the public schema, where a database that has it already keeps it too.
CREATE EXTENSION IF NOT EXISTS btree_gin SCHEMA public;

CREATE TYPE hookline.processing_status AS ENUM ('pending', 'processed', 'failed');

-- One row a company: the counters that its log and its status changes are numbered from.
CREATE TABLE hookline.companies (
    company_id text COLLATE "C" PRIMARY KEY,
    last_sequence bigint NOT NULL DEFAULT 0 CHECK (last_sequence >= 0),
    -- Never runs backwards: makes received_time follow the sequence, and partitions clean ranges of it.
    last_received_time timestamptz,
    last_change bigint NOT NULL DEFAULT 0 CHECK (last_change >= 0),
    created_time timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What has been stored, for ever: the one place that decides whether an event is new. Never partitioned by time, since
-- a webhook may come again after any time, and outlives its event in the archive.
CREATE TABLE hookline.event_keys (
    company_id text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    -- Capped by the rules, well below the 2,704 bytes that a btree takes.
    dedup_key text COLLATE "C" NOT NULL CHECK (octet_length(dedup_key) <= 255),
    event_id uuid NOT NULL,
    payload_sha256 bytea NOT NULL CHECK (octet_length(payload_sha256) = 32),
    PRIMARY KEY (company_id, source, dedup_key)
);

-- The log. Rows are never updated (erasure aside).
CREATE TABLE hookline.events (
    company_id text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL CHECK (sequence > 0),
    received_time timestamptz NOT NULL,
    occurred_time timestamptz NOT NULL,
    event_id uuid NOT NULL,
    source text COLLATE "C" NOT NULL,
    platform text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    dedup_key text COLLATE "C" NOT NULL,
    customer_name text,
    product_name text,
    total numeric,
    currency text COLLATE "C",
    payload jsonb NOT NULL,
    PRIMARY KEY (company_id, sequence, received_time)
) PARTITION BY RANGE (received_time);

-- One event by its id.
CREATE INDEX events_event_id ON hookline.events (company_id, event_id);
-- Lists and exports of types and of sources, in the log's order.
CREATE INDEX events_type ON hookline.events (company_id, type, sequence);
CREATE INDEX events_source ON hookline.events (company_id, source, sequence);
-- A span of occurred time.
CREATE INDEX events_occurred_time ON hookline.events (company_id, occurred_time, sequence);
-- What a payload contains, and words of customer and product, both within a span of the log: 65,536 events a bucket.
CREATE INDEX events_payload ON hookline.events
    USING gin (company_id, (sequence >> 16), payload jsonb_path_ops);
CREATE INDEX events_words ON hookline.events
    USING gin (company_id, (sequence >> 16),
               to_tsvector('simple', coalesce(customer_name, '') || ' ' || coalesce(product_name, '')));

-- What became of events, append-only: updating the event's own row would rewrite it and all its index entries.
-- The last change of an event is its status; an event without one is pending.
CREATE TABLE hookline.event_status (
    company_id text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    -- Numbered 1, 2, 3 … within the company: an export shows statuses as of one of these numbers.
    change bigint NOT NULL CHECK (change > 0),
    status hookline.processing_status NOT NULL CHECK (status <> 'pending'),
    error text CHECK (error IS NULL OR status = 'failed'),
    marked_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (company_id, sequence, change)
);

-- The events that no one has marked yet. Small as long as someone does; rows go when marked.
CREATE TABLE hookline.unprocessed (
    company_id text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    PRIMARY KEY (company_id, sequence)
);

-- What could not be understood, as it came, once for each body.
CREATE TABLE hookline.quarantine (
    company_id text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    payload_sha256 bytea NOT NULL CHECK (octet_length(payload_sha256) = 32),
    -- A version 7 UUID: its order is the order of arrival.
    quarantine_id uuid NOT NULL,
    platform text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,
    message text NOT NULL,
    -- As it came, byte for byte: it may be no JSON, no UTF-8, nothing that jsonb could hold.
    payload bytea NOT NULL,
    quarantined_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    times_received bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (company_id, source, payload_sha256)
);
CREATE UNIQUE INDEX quarantine_id ON hookline.quarantine (company_id, quarantine_id);

-- Payloads that came under a known key with another content. The first one stays the event; the difference is kept.
CREATE TABLE hookline.event_conflicts (
    company_id text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    dedup_key text COLLATE "C" NOT NULL,
    payload_sha256 bytea NOT NULL CHECK (octet_length(payload_sha256) = 32),
    event_id uuid NOT NULL,
    payload bytea NOT NULL,
    first_received_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    times_received bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (company_id, source, dedup_key, payload_sha256)
);

-- Makes the monthly partitions (UTC) of events from this month to `months_ahead` months from now, where missing.
-- There is no DEFAULT partition: it would forbid DETACH CONCURRENTLY, and the partition key is the server's own clock.
-- A table is made first and attached then, since ATTACH, unlike CREATE … PARTITION OF, lets writers go on.
CREATE FUNCTION hookline.create_event_partitions(months_ahead integer) RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
    this_month date := date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC')::date;
    month_start date;
    month_end date;
    partition_name text;
BEGIN
    -- Two processes that find the same month missing.
    PERFORM pg_advisory_xact_lock(hashtext('hookline.create_event_partitions'));
    FOR month IN 0..months_ahead LOOP
        month_start := this_month + make_interval(months => month);
        month_end := month_start + interval '1 month';
        partition_name := 'events_' || to_char(month_start, 'YYYY_MM');
        CONTINUE WHEN to_regclass(format('hookline.%I', partition_name)) IS NOT NULL;
        EXECUTE format('CREATE TABLE hookline.%I (LIKE hookline.events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
                       partition_name);
        EXECUTE format('ALTER TABLE hookline.events ATTACH PARTITION hookline.%I FOR VALUES FROM (%L) TO (%L)',
                       partition_name,
                       month_start::timestamp AT TIME ZONE 'UTC', month_end::timestamp AT TIME ZONE 'UTC');
        RETURN NEXT partition_name;
    END LOOP;
END
$$;

-- A text as a CSV cell that no spreadsheet runs as a formula.
CREATE FUNCTION hookline.csv_text(cell text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- By the first character's code: = + - @ TAB CR.
    SELECT CASE WHEN ascii(cell) IN (61, 43, 45, 64, 9, 13) THEN '''' || cell ELSE cell END
$$;

-- A time in RFC 3339, UTC, to the microsecond.
CREATE FUNCTION hookline.rfc3339(moment timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;
