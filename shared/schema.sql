-- What the migrations come to, without the months' partitions. Written by `make schema`; do not edit.

CREATE SCHEMA hookline;

CREATE TYPE hookline.processing_status AS ENUM (
    'pending',
    'processed',
    'failed'
);

CREATE TYPE hookline.sync_run_state AS ENUM (
    'queued',
    'running',
    'waiting',
    'succeeded',
    'failed',
    'cancelled'
);

CREATE TYPE hookline.sync_trigger AS ENUM (
    'schedule',
    'request'
);

CREATE FUNCTION hookline.create_event_partitions(months_ahead integer) RETURNS SETOF text
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION hookline.csv_text(cell text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    -- By the first character's code: = + - @ TAB CR.
    SELECT CASE WHEN ascii(cell) IN (61, 43, 45, 64, 9, 13) THEN '''' || cell ELSE cell END
$$;

CREATE FUNCTION hookline.rfc3339(moment timestamp with time zone) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    SELECT to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

CREATE FUNCTION hookline.rfc3339(moment timestamp with time zone, zone text) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    SELECT to_char(moment AT TIME ZONE zone, 'YYYY-MM-DD"T"HH24:MI:SS.US')
        || CASE WHEN ahead < interval '0' THEN '-' ELSE '+' END
        || to_char(greatest(ahead, -ahead), 'HH24:MI')
    FROM (SELECT (moment AT TIME ZONE zone) - (moment AT TIME ZONE 'UTC') AS ahead) AS clocks
$$;

CREATE FUNCTION hookline.words(typed text) RETURNS tsquery
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT CASE WHEN numnode(whole) > 0 THEN (whole::text || ':*')::tsquery ELSE whole END
    FROM (SELECT plainto_tsquery('simple', typed) AS whole) AS words
$$;

CREATE TABLE hookline.companies (
    company_id text NOT NULL COLLATE pg_catalog."C",
    last_sequence bigint DEFAULT 0 NOT NULL,
    last_received_time timestamp with time zone,
    last_change bigint DEFAULT 0 NOT NULL,
    created_time timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    erasure_epoch bigint DEFAULT 0 NOT NULL,
    CONSTRAINT companies_erasure_epoch_check CHECK ((erasure_epoch >= 0)),
    CONSTRAINT companies_last_change_check CHECK ((last_change >= 0)),
    CONSTRAINT companies_last_sequence_check CHECK ((last_sequence >= 0))
);

CREATE TABLE hookline.endpoints (
    company_id text NOT NULL COLLATE pg_catalog."C",
    endpoint_id uuid NOT NULL,
    source text NOT NULL COLLATE pg_catalog."C",
    platform text NOT NULL COLLATE pg_catalog."C",
    token_sha256 bytea NOT NULL,
    token_hint text NOT NULL,
    token_time timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    old_token_sha256 bytea,
    old_token_expire_time timestamp with time zone,
    create_time timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    revoke_time timestamp with time zone,
    CONSTRAINT endpoints_old_token CHECK (((old_token_sha256 IS NULL) = (old_token_expire_time IS NULL))),
    CONSTRAINT endpoints_old_token_sha256_check CHECK ((octet_length(old_token_sha256) = 32)),
    CONSTRAINT endpoints_token_sha256_check CHECK ((octet_length(token_sha256) = 32))
);

CREATE TABLE hookline.event_conflicts (
    company_id text NOT NULL COLLATE pg_catalog."C",
    source text NOT NULL COLLATE pg_catalog."C",
    dedup_key text NOT NULL COLLATE pg_catalog."C",
    payload_sha256 bytea NOT NULL,
    event_id uuid NOT NULL,
    payload bytea NOT NULL,
    first_received_time timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    times_received bigint DEFAULT 1 NOT NULL,
    CONSTRAINT event_conflicts_payload_sha256_check CHECK ((octet_length(payload_sha256) = 32))
);

CREATE TABLE hookline.event_keys (
    company_id text NOT NULL COLLATE pg_catalog."C",
    source text NOT NULL COLLATE pg_catalog."C",
    dedup_key text NOT NULL COLLATE pg_catalog."C",
    event_id uuid NOT NULL,
    payload_sha256 bytea NOT NULL,
    CONSTRAINT event_keys_dedup_key_check CHECK ((octet_length(dedup_key) <= 255)),
    CONSTRAINT event_keys_payload_sha256_check CHECK ((octet_length(payload_sha256) = 32))
);

CREATE TABLE hookline.event_status (
    company_id text NOT NULL COLLATE pg_catalog."C",
    sequence bigint NOT NULL,
    change bigint NOT NULL,
    status hookline.processing_status NOT NULL,
    error text,
    marked_time timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT event_status_change_check CHECK ((change > 0)),
    CONSTRAINT event_status_check CHECK (((error IS NULL) OR (status = 'failed'::hookline.processing_status))),
    CONSTRAINT event_status_status_check CHECK ((status <> 'pending'::hookline.processing_status))
);

CREATE TABLE hookline.events (
    company_id text NOT NULL COLLATE pg_catalog."C",
    sequence bigint NOT NULL,
    received_time timestamp with time zone NOT NULL,
    occurred_time timestamp with time zone NOT NULL,
    event_id uuid NOT NULL,
    source text NOT NULL COLLATE pg_catalog."C",
    platform text NOT NULL COLLATE pg_catalog."C",
    type text NOT NULL COLLATE pg_catalog."C",
    dedup_key text NOT NULL COLLATE pg_catalog."C",
    customer_name text,
    product_name text,
    total numeric,
    currency text COLLATE pg_catalog."C",
    payload jsonb NOT NULL,
    platform_type text COLLATE pg_catalog."C",
    CONSTRAINT events_sequence_check CHECK ((sequence > 0))
)
PARTITION BY RANGE (received_time);

CREATE TABLE hookline.platform_mappings (
    company_id text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    mapping text NOT NULL,
    update_time timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE hookline.quarantine (
    company_id text NOT NULL COLLATE pg_catalog."C",
    source text NOT NULL COLLATE pg_catalog."C",
    payload_sha256 bytea NOT NULL,
    quarantine_id uuid NOT NULL,
    platform text NOT NULL COLLATE pg_catalog."C",
    reason text NOT NULL COLLATE pg_catalog."C",
    message text NOT NULL,
    payload bytea NOT NULL,
    quarantined_time timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    times_received bigint DEFAULT 1 NOT NULL,
    named_source text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    named_platform text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    headers jsonb DEFAULT '{}'::jsonb NOT NULL,
    discarded_time timestamp with time zone,
    discard_reason text,
    CONSTRAINT quarantine_discarded CHECK (((discarded_time IS NULL) = (discard_reason IS NULL))),
    CONSTRAINT quarantine_headers_check CHECK ((jsonb_typeof(headers) = 'object'::text)),
    CONSTRAINT quarantine_payload_sha256_check CHECK ((octet_length(payload_sha256) = 32))
);

COMMENT ON COLUMN hookline.quarantine.payload_sha256 IS 'Of the payload; where names or headers came along, of them too: with others it may be another event.';

CREATE TABLE hookline.schema_migrations (
    version integer NOT NULL,
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_time timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE hookline.signing_secrets (
    company_id text NOT NULL COLLATE pg_catalog."C",
    source text NOT NULL COLLATE pg_catalog."C",
    secret bytea NOT NULL,
    old_secret bytea,
    old_secret_expire_time timestamp with time zone,
    update_time timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT signing_secrets_old_secret CHECK (((old_secret IS NULL) = (old_secret_expire_time IS NULL)))
);

CREATE TABLE hookline.sources (
    company_id text NOT NULL COLLATE pg_catalog."C",
    source text NOT NULL COLLATE pg_catalog."C",
    platform text NOT NULL COLLATE pg_catalog."C",
    base_url text NOT NULL,
    credential bytea NOT NULL,
    parameters jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_time timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    schedule_interval interval,
    next_run_time timestamp with time zone,
    CONSTRAINT sources_parameters_check CHECK ((jsonb_typeof(parameters) = 'object'::text)),
    CONSTRAINT sources_schedule CHECK (((schedule_interval IS NULL) = (next_run_time IS NULL))),
    CONSTRAINT sources_schedule_interval_check CHECK ((schedule_interval >= '00:01:00'::interval))
);

CREATE TABLE hookline.sync_requests (
    company_id text NOT NULL COLLATE pg_catalog."C",
    request_id text NOT NULL COLLATE pg_catalog."C",
    run_id uuid NOT NULL
);

CREATE TABLE hookline.sync_runs (
    company_id text NOT NULL COLLATE pg_catalog."C",
    run_id uuid NOT NULL,
    source text NOT NULL COLLATE pg_catalog."C",
    state hookline.sync_run_state DEFAULT 'queued'::hookline.sync_run_state NOT NULL,
    trigger hookline.sync_trigger NOT NULL,
    start_time timestamp with time zone NOT NULL,
    created_time timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    ended_time timestamp with time zone,
    attempt integer DEFAULT 0 NOT NULL,
    failures integer DEFAULT 0 NOT NULL,
    lease_until timestamp with time zone,
    next_attempt_time timestamp with time zone,
    kicked_time timestamp with time zone,
    cancel_requested boolean DEFAULT false NOT NULL,
    error text,
    cursor text,
    synced_time timestamp with time zone,
    pages bigint DEFAULT 0 NOT NULL,
    fetched bigint DEFAULT 0 NOT NULL,
    accepted bigint DEFAULT 0 NOT NULL,
    duplicates bigint DEFAULT 0 NOT NULL,
    quarantined bigint DEFAULT 0 NOT NULL,
    rejected bigint DEFAULT 0 NOT NULL,
    retries bigint DEFAULT 0 NOT NULL,
    CONSTRAINT sync_runs_attempt_check CHECK ((attempt >= 0)),
    CONSTRAINT sync_runs_begun CHECK (((attempt > 0) OR (state = ANY (ARRAY['queued'::hookline.sync_run_state, 'cancelled'::hookline.sync_run_state])))),
    CONSTRAINT sync_runs_cancelled CHECK (((state <> 'cancelled'::hookline.sync_run_state) OR cancel_requested)),
    CONSTRAINT sync_runs_counts CHECK ((fetched = (((accepted + duplicates) + quarantined) + rejected))),
    CONSTRAINT sync_runs_ended CHECK (((state = ANY (ARRAY['succeeded'::hookline.sync_run_state, 'failed'::hookline.sync_run_state, 'cancelled'::hookline.sync_run_state])) = (ended_time IS NOT NULL))),
    CONSTRAINT sync_runs_error CHECK (((state <> ALL (ARRAY['waiting'::hookline.sync_run_state, 'failed'::hookline.sync_run_state])) OR (error IS NOT NULL))),
    CONSTRAINT sync_runs_failures_check CHECK ((failures >= 0)),
    CONSTRAINT sync_runs_lease CHECK (((state = 'running'::hookline.sync_run_state) = (lease_until IS NOT NULL))),
    CONSTRAINT sync_runs_waiting CHECK (((state = 'waiting'::hookline.sync_run_state) = (next_attempt_time IS NOT NULL)))
);

CREATE TABLE hookline.unprocessed (
    company_id text NOT NULL COLLATE pg_catalog."C",
    sequence bigint NOT NULL
);

ALTER TABLE ONLY hookline.companies
    ADD CONSTRAINT companies_pkey PRIMARY KEY (company_id);

ALTER TABLE ONLY hookline.endpoints
    ADD CONSTRAINT endpoints_pkey PRIMARY KEY (company_id, endpoint_id);

ALTER TABLE ONLY hookline.event_conflicts
    ADD CONSTRAINT event_conflicts_pkey PRIMARY KEY (company_id, source, dedup_key, payload_sha256);

ALTER TABLE ONLY hookline.event_keys
    ADD CONSTRAINT event_keys_pkey PRIMARY KEY (company_id, source, dedup_key);

ALTER TABLE ONLY hookline.event_status
    ADD CONSTRAINT event_status_pkey PRIMARY KEY (company_id, sequence, change);

ALTER TABLE ONLY hookline.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (company_id, sequence, received_time);

ALTER TABLE ONLY hookline.platform_mappings
    ADD CONSTRAINT platform_mappings_pkey PRIMARY KEY (company_id, name);

ALTER TABLE ONLY hookline.quarantine
    ADD CONSTRAINT quarantine_pkey PRIMARY KEY (company_id, source, payload_sha256);

ALTER TABLE ONLY hookline.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (version);

ALTER TABLE ONLY hookline.signing_secrets
    ADD CONSTRAINT signing_secrets_pkey PRIMARY KEY (company_id, source);

ALTER TABLE ONLY hookline.sources
    ADD CONSTRAINT sources_pkey PRIMARY KEY (company_id, source);

ALTER TABLE ONLY hookline.sync_requests
    ADD CONSTRAINT sync_requests_pkey PRIMARY KEY (company_id, request_id);

ALTER TABLE ONLY hookline.sync_runs
    ADD CONSTRAINT sync_runs_pkey PRIMARY KEY (company_id, run_id);

ALTER TABLE ONLY hookline.unprocessed
    ADD CONSTRAINT unprocessed_pkey PRIMARY KEY (company_id, sequence);

CREATE INDEX endpoints_old_token ON hookline.endpoints USING btree (company_id, old_token_sha256);

CREATE UNIQUE INDEX endpoints_token ON hookline.endpoints USING btree (company_id, token_sha256);

CREATE INDEX event_conflicts_event ON hookline.event_conflicts USING btree (company_id, event_id);

CREATE INDEX events_event_id ON ONLY hookline.events USING btree (company_id, event_id);

CREATE INDEX events_occurred_time ON ONLY hookline.events USING btree (company_id, occurred_time, sequence);

CREATE INDEX events_payload ON ONLY hookline.events USING gin (company_id, ((sequence >> 16)), payload jsonb_path_ops);

CREATE INDEX events_source ON ONLY hookline.events USING btree (company_id, source, sequence);

CREATE INDEX events_type ON ONLY hookline.events USING btree (company_id, type, sequence);

CREATE INDEX events_words ON ONLY hookline.events USING gin (company_id, ((sequence >> 16)), to_tsvector('simple'::regconfig, ((COALESCE(customer_name, ''::text) || ' '::text) || COALESCE(product_name, ''::text))));

CREATE UNIQUE INDEX quarantine_id ON hookline.quarantine USING btree (company_id, quarantine_id);

CREATE INDEX quarantine_platform ON hookline.quarantine USING btree (company_id, platform, quarantine_id);

CREATE INDEX quarantine_reason ON hookline.quarantine USING btree (company_id, reason, quarantine_id);

CREATE INDEX quarantine_source ON hookline.quarantine USING btree (company_id, source, quarantine_id);

CREATE INDEX sources_due ON hookline.sources USING btree (next_run_time) WHERE (next_run_time IS NOT NULL);

CREATE INDEX sync_requests_run ON hookline.sync_requests USING btree (company_id, run_id);

CREATE UNIQUE INDEX sync_runs_active ON hookline.sync_runs USING btree (company_id, source) WHERE (state = ANY (ARRAY['queued'::hookline.sync_run_state, 'running'::hookline.sync_run_state, 'waiting'::hookline.sync_run_state]));

CREATE INDEX sync_runs_awake ON hookline.sync_runs USING btree (state) WHERE (state = ANY (ARRAY['queued'::hookline.sync_run_state, 'running'::hookline.sync_run_state, 'waiting'::hookline.sync_run_state]));

CREATE INDEX sync_runs_source ON hookline.sync_runs USING btree (company_id, source, run_id);

ALTER TABLE ONLY hookline.sync_requests
    ADD CONSTRAINT sync_requests_company_id_run_id_fkey FOREIGN KEY (company_id, run_id) REFERENCES hookline.sync_runs(company_id, run_id) ON DELETE CASCADE;

ALTER TABLE ONLY hookline.sync_runs
    ADD CONSTRAINT sync_runs_company_id_source_fkey FOREIGN KEY (company_id, source) REFERENCES hookline.sources(company_id, source) ON DELETE CASCADE;
