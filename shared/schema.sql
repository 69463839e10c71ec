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
    'incomplete',
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
    erase_time timestamp with time zone,
    CONSTRAINT events_sequence_check CHECK ((sequence > 0))
)
PARTITION BY RANGE (received_time);

CREATE FUNCTION hookline.events_containing(contained jsonb, most integer DEFAULT 100) RETURNS SETOF hookline.events
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
    -- Materialized: left alone, the planner walks the log instead.
    WITH found AS MATERIALIZED (
        SELECT e.* FROM hookline.events e
        WHERE e.company_id = ANY (hookline.readable_companies()) AND e.payload OPERATOR(pg_catalog.@>) contained
    )
    SELECT f.* FROM found f ORDER BY f.received_time DESC, f.sequence DESC LIMIT least(most, 10000)
$$;

CREATE FUNCTION hookline.events_naming(typed text, most integer DEFAULT 100) RETURNS SETOF hookline.events
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
    WITH found AS MATERIALIZED (
        SELECT e.* FROM hookline.events e
        WHERE e.company_id = ANY (hookline.readable_companies())
          AND to_tsvector('simple', coalesce(e.customer_name, '') || ' ' || coalesce(e.product_name, ''))
              OPERATOR(pg_catalog.@@) hookline.words(typed)
    )
    SELECT f.* FROM found f ORDER BY f.received_time DESC, f.sequence DESC LIMIT least(most, 10000)
$$;

CREATE FUNCTION hookline.readable_companies() RETURNS text[]
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
    SELECT coalesce(array_agg(company_id), '{}') FROM hookline.readers WHERE role_name = session_user
$$;

CREATE FUNCTION hookline.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION '%.% is only added to', TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END
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

CREATE TABLE hookline.alert_channels (
    company_id text NOT NULL COLLATE pg_catalog."C",
    channel text NOT NULL COLLATE pg_catalog."C",
    webhook_url text,
    email text,
    secret bytea,
    create_time timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT alert_channels_kind CHECK (((webhook_url IS NULL) <> (email IS NULL))),
    CONSTRAINT alert_channels_secret CHECK (((webhook_url IS NULL) = (secret IS NULL)))
);

CREATE TABLE hookline.alert_deliveries (
    company_id text NOT NULL COLLATE pg_catalog."C",
    delivery_id uuid NOT NULL,
    channel text NOT NULL COLLATE pg_catalog."C",
    alert_id uuid NOT NULL,
    news text NOT NULL,
    create_time timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    next_attempt_time timestamp with time zone DEFAULT clock_timestamp(),
    delivered_time timestamp with time zone,
    error text,
    CONSTRAINT alert_deliveries_end CHECK (((delivered_time IS NULL) OR (next_attempt_time IS NULL))),
    CONSTRAINT alert_deliveries_news_check CHECK ((news = ANY (ARRAY['opened'::text, 'resolved'::text])))
);

CREATE TABLE hookline.alerts (
    company_id text NOT NULL COLLATE pg_catalog."C",
    alert_id uuid NOT NULL,
    kind text NOT NULL COLLATE pg_catalog."C",
    source text NOT NULL COLLATE pg_catalog."C",
    run_id uuid,
    message text NOT NULL,
    open_time timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    last_time timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    times bigint DEFAULT 1 NOT NULL,
    gap_start_time timestamp with time zone,
    resolve_time timestamp with time zone,
    CONSTRAINT alerts_gap CHECK (((kind = 'gap_found'::text) = (gap_start_time IS NOT NULL))),
    CONSTRAINT alerts_kind_check CHECK ((kind = ANY (ARRAY['run_failed'::text, 'failures_in_a_row'::text, 'schedule_overdue'::text, 'gap_found'::text]))),
    CONSTRAINT alerts_times_check CHECK ((times > 0))
);

CREATE TABLE hookline.api_tokens (
    company_id text NOT NULL COLLATE pg_catalog."C",
    token_id uuid NOT NULL,
    token_sha256 bytea NOT NULL,
    token_hint text NOT NULL,
    name text NOT NULL,
    scopes text[] NOT NULL,
    create_time timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    expire_time timestamp with time zone,
    revoke_time timestamp with time zone,
    last_used_time timestamp with time zone,
    CONSTRAINT api_tokens_scopes_check CHECK (((cardinality(scopes) > 0) AND (scopes <@ ARRAY['ingest'::text, 'sync'::text, 'export'::text, 'admin'::text]))),
    CONSTRAINT api_tokens_token_sha256_check CHECK ((octet_length(token_sha256) = 32))
);

CREATE TABLE hookline.audit_log (
    company_id text NOT NULL COLLATE pg_catalog."C",
    entry bigint NOT NULL,
    log_time timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    actor text NOT NULL,
    action text NOT NULL COLLATE pg_catalog."C",
    subject text DEFAULT ''::text NOT NULL,
    details jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT audit_log_details_check CHECK ((jsonb_typeof(details) = 'object'::text))
);

ALTER TABLE hookline.audit_log ALTER COLUMN entry ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME hookline.audit_log_entry_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

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

CREATE TABLE hookline.company_limits (
    company_id text NOT NULL COLLATE pg_catalog."C",
    requests_per_second double precision,
    events_per_second double precision,
    bytes_per_second double precision,
    concurrent_exports integer,
    update_time timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT company_limits_bytes_per_second_check CHECK ((bytes_per_second > (0)::double precision)),
    CONSTRAINT company_limits_concurrent_exports_check CHECK ((concurrent_exports > 0)),
    CONSTRAINT company_limits_events_per_second_check CHECK ((events_per_second > (0)::double precision)),
    CONSTRAINT company_limits_requests_per_second_check CHECK ((requests_per_second > (0)::double precision))
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

CREATE TABLE hookline.erasures (
    company_id text NOT NULL COLLATE pg_catalog."C",
    erasure_id uuid NOT NULL,
    create_time timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    end_time timestamp with time zone,
    events bigint DEFAULT 0 NOT NULL,
    quarantined bigint DEFAULT 0 NOT NULL,
    conflicts bigint DEFAULT 0 NOT NULL
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
    trusted boolean DEFAULT false NOT NULL,
    CONSTRAINT quarantine_discarded CHECK (((discarded_time IS NULL) = (discard_reason IS NULL))),
    CONSTRAINT quarantine_headers_check CHECK ((jsonb_typeof(headers) = 'object'::text)),
    CONSTRAINT quarantine_payload_sha256_check CHECK ((octet_length(payload_sha256) = 32))
);

COMMENT ON COLUMN hookline.quarantine.payload_sha256 IS 'Of the payload; where names or headers that tell one event from another came along, of them too.';

CREATE TABLE hookline.readers (
    company_id text NOT NULL COLLATE pg_catalog."C",
    role_name name NOT NULL,
    create_time timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

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
    look_back interval DEFAULT '01:00:00'::interval NOT NULL,
    run_deadline interval DEFAULT '24:00:00'::interval NOT NULL,
    synced_time timestamp with time zone,
    schedule_cron text,
    schedule_time_zone text DEFAULT 'UTC'::text NOT NULL,
    schedule_jitter interval DEFAULT '00:00:00'::interval NOT NULL,
    schedule_start_time timestamp with time zone,
    schedule_paused_time timestamp with time zone,
    history integer DEFAULT 1 NOT NULL,
    complete_until_time timestamp with time zone,
    CONSTRAINT sources_cadence CHECK (((schedule_interval IS NULL) OR (schedule_cron IS NULL))),
    CONSTRAINT sources_history_check CHECK ((history > 0)),
    CONSTRAINT sources_look_back_check CHECK (((look_back >= '00:00:00'::interval) AND (look_back <= '30 days'::interval))),
    CONSTRAINT sources_parameters_check CHECK ((jsonb_typeof(parameters) = 'object'::text)),
    CONSTRAINT sources_run_deadline_check CHECK (((run_deadline >= '00:01:00'::interval) AND (run_deadline <= '30 days'::interval))),
    CONSTRAINT sources_schedule CHECK ((((schedule_start_time IS NULL) = ((schedule_interval IS NULL) AND (schedule_cron IS NULL))) AND ((schedule_paused_time IS NULL) OR (schedule_start_time IS NOT NULL)) AND ((next_run_time IS NOT NULL) = ((schedule_start_time IS NOT NULL) AND (schedule_paused_time IS NULL))))),
    CONSTRAINT sources_schedule_interval_check CHECK ((schedule_interval >= '00:01:00'::interval)),
    CONSTRAINT sources_schedule_jitter_check CHECK ((schedule_jitter >= '00:00:00'::interval))
);

CREATE TABLE hookline.sync_differences (
    company_id text NOT NULL COLLATE pg_catalog."C",
    run_id uuid NOT NULL,
    difference integer NOT NULL,
    kind text NOT NULL,
    item_id text,
    event_id uuid,
    reason text NOT NULL,
    message text NOT NULL,
    CONSTRAINT sync_differences_difference_check CHECK ((difference > 0)),
    CONSTRAINT sync_differences_kind_check CHECK ((kind = ANY (ARRAY['missing'::text, 'unlisted'::text])))
);

CREATE TABLE hookline.sync_log (
    company_id text NOT NULL COLLATE pg_catalog."C",
    run_id uuid NOT NULL,
    entry bigint NOT NULL,
    logged_time timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    attempt integer NOT NULL,
    level text NOT NULL,
    code text NOT NULL COLLATE pg_catalog."C",
    message text NOT NULL,
    CONSTRAINT sync_log_level_check CHECK ((level = ANY (ARRAY['info'::text, 'warning'::text, 'error'::text])))
);

ALTER TABLE hookline.sync_log ALTER COLUMN entry ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME hookline.sync_log_entry_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE hookline.sync_pages (
    company_id text NOT NULL COLLATE pg_catalog."C",
    run_id uuid NOT NULL,
    page bigint NOT NULL,
    item_ids text[] NOT NULL,
    event_ids uuid[] NOT NULL,
    problems jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT sync_pages_aligned CHECK ((cardinality(item_ids) = cardinality(event_ids))),
    CONSTRAINT sync_pages_page_check CHECK ((page > 0)),
    CONSTRAINT sync_pages_problems_check CHECK ((jsonb_typeof(problems) = 'object'::text))
);

CREATE TABLE hookline.sync_reconciliations (
    company_id text NOT NULL COLLATE pg_catalog."C",
    run_id uuid NOT NULL,
    reconciled_time timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    listed bigint NOT NULL,
    stored bigint NOT NULL,
    missing bigint NOT NULL,
    unlisted bigint,
    CONSTRAINT sync_reconciliations_sum CHECK ((listed = (stored + missing)))
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
    until_time timestamp with time zone,
    behind boolean DEFAULT false NOT NULL,
    deadline_time timestamp with time zone,
    known_until_time timestamp with time zone,
    late bigint DEFAULT 0 NOT NULL,
    windows integer DEFAULT 1 NOT NULL,
    windows_done integer DEFAULT 0 NOT NULL,
    window_start_time timestamp with time zone,
    window_until_time timestamp with time zone,
    said bigint,
    history integer DEFAULT 1 NOT NULL,
    let_go_time timestamp with time zone,
    CONSTRAINT sync_runs_attempt_check CHECK ((attempt >= 0)),
    CONSTRAINT sync_runs_begun CHECK (((attempt > 0) OR (state = ANY (ARRAY['queued'::hookline.sync_run_state, 'cancelled'::hookline.sync_run_state])))),
    CONSTRAINT sync_runs_behind CHECK (((NOT behind) OR ((state = ANY (ARRAY['queued'::hookline.sync_run_state, 'cancelled'::hookline.sync_run_state])) AND (attempt = 0)))),
    CONSTRAINT sync_runs_cancelled CHECK (((state <> 'cancelled'::hookline.sync_run_state) OR cancel_requested)),
    CONSTRAINT sync_runs_check CHECK ((until_time > start_time)),
    CONSTRAINT sync_runs_counts CHECK ((fetched = (((accepted + duplicates) + quarantined) + rejected))),
    CONSTRAINT sync_runs_ended CHECK (((state = ANY (ARRAY['succeeded'::hookline.sync_run_state, 'incomplete'::hookline.sync_run_state, 'failed'::hookline.sync_run_state, 'cancelled'::hookline.sync_run_state])) = (ended_time IS NOT NULL))),
    CONSTRAINT sync_runs_error CHECK (((state <> ALL (ARRAY['waiting'::hookline.sync_run_state, 'incomplete'::hookline.sync_run_state, 'failed'::hookline.sync_run_state])) OR (error IS NOT NULL))),
    CONSTRAINT sync_runs_failures_check CHECK ((failures >= 0)),
    CONSTRAINT sync_runs_late CHECK ((late <= accepted)),
    CONSTRAINT sync_runs_lease CHECK (((state = 'running'::hookline.sync_run_state) = (lease_until IS NOT NULL))),
    CONSTRAINT sync_runs_waiting CHECK (((state = 'waiting'::hookline.sync_run_state) = (next_attempt_time IS NOT NULL))),
    CONSTRAINT sync_runs_windows CHECK (((windows_done >= 0) AND (windows_done <= windows))),
    CONSTRAINT sync_runs_windows_check CHECK ((windows > 0))
);

CREATE TABLE hookline.unprocessed (
    company_id text NOT NULL COLLATE pg_catalog."C",
    sequence bigint NOT NULL
);

ALTER TABLE ONLY hookline.alert_channels
    ADD CONSTRAINT alert_channels_pkey PRIMARY KEY (company_id, channel);

ALTER TABLE ONLY hookline.alert_deliveries
    ADD CONSTRAINT alert_deliveries_pkey PRIMARY KEY (company_id, delivery_id);

ALTER TABLE ONLY hookline.alerts
    ADD CONSTRAINT alerts_pkey PRIMARY KEY (company_id, alert_id);

ALTER TABLE ONLY hookline.api_tokens
    ADD CONSTRAINT api_tokens_pkey PRIMARY KEY (company_id, token_id);

ALTER TABLE ONLY hookline.audit_log
    ADD CONSTRAINT audit_log_pkey PRIMARY KEY (company_id, entry);

ALTER TABLE ONLY hookline.companies
    ADD CONSTRAINT companies_pkey PRIMARY KEY (company_id);

ALTER TABLE ONLY hookline.company_limits
    ADD CONSTRAINT company_limits_pkey PRIMARY KEY (company_id);

ALTER TABLE ONLY hookline.endpoints
    ADD CONSTRAINT endpoints_pkey PRIMARY KEY (company_id, endpoint_id);

ALTER TABLE ONLY hookline.erasures
    ADD CONSTRAINT erasures_pkey PRIMARY KEY (company_id, erasure_id);

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

ALTER TABLE ONLY hookline.readers
    ADD CONSTRAINT readers_pkey PRIMARY KEY (company_id, role_name);

ALTER TABLE ONLY hookline.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (version);

ALTER TABLE ONLY hookline.signing_secrets
    ADD CONSTRAINT signing_secrets_pkey PRIMARY KEY (company_id, source);

ALTER TABLE ONLY hookline.sources
    ADD CONSTRAINT sources_pkey PRIMARY KEY (company_id, source);

ALTER TABLE ONLY hookline.sync_differences
    ADD CONSTRAINT sync_differences_pkey PRIMARY KEY (company_id, run_id, difference);

ALTER TABLE ONLY hookline.sync_log
    ADD CONSTRAINT sync_log_pkey PRIMARY KEY (company_id, run_id, entry);

ALTER TABLE ONLY hookline.sync_pages
    ADD CONSTRAINT sync_pages_pkey PRIMARY KEY (company_id, run_id, page);

ALTER TABLE ONLY hookline.sync_reconciliations
    ADD CONSTRAINT sync_reconciliations_pkey PRIMARY KEY (company_id, run_id);

ALTER TABLE ONLY hookline.sync_requests
    ADD CONSTRAINT sync_requests_pkey PRIMARY KEY (company_id, request_id);

ALTER TABLE ONLY hookline.sync_runs
    ADD CONSTRAINT sync_runs_pkey PRIMARY KEY (company_id, run_id);

ALTER TABLE ONLY hookline.unprocessed
    ADD CONSTRAINT unprocessed_pkey PRIMARY KEY (company_id, sequence);

CREATE INDEX alert_deliveries_alert ON hookline.alert_deliveries USING btree (company_id, alert_id);

CREATE INDEX alert_deliveries_due ON hookline.alert_deliveries USING btree (next_attempt_time) WHERE (next_attempt_time IS NOT NULL);

CREATE INDEX alerts_old ON hookline.alerts USING btree (resolve_time) WHERE (resolve_time IS NOT NULL);

CREATE UNIQUE INDEX alerts_open ON hookline.alerts USING btree (company_id, source, kind) WHERE (resolve_time IS NULL);

CREATE UNIQUE INDEX api_tokens_token ON hookline.api_tokens USING btree (company_id, token_sha256);

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

CREATE UNIQUE INDEX sync_runs_active ON hookline.sync_runs USING btree (company_id, source) WHERE ((state = ANY (ARRAY['queued'::hookline.sync_run_state, 'running'::hookline.sync_run_state, 'waiting'::hookline.sync_run_state])) AND (NOT behind));

CREATE INDEX sync_runs_awake ON hookline.sync_runs USING btree (state) WHERE (state = ANY (ARRAY['queued'::hookline.sync_run_state, 'running'::hookline.sync_run_state, 'waiting'::hookline.sync_run_state]));

CREATE INDEX sync_runs_ended ON hookline.sync_runs USING btree (company_id, source, ended_time, run_id) WHERE (ended_time IS NOT NULL);

CREATE INDEX sync_runs_old ON hookline.sync_runs USING btree (ended_time) WHERE (ended_time IS NOT NULL);

CREATE INDEX sync_runs_source ON hookline.sync_runs USING btree (company_id, source, run_id);

CREATE TRIGGER audit_log_stays BEFORE DELETE OR UPDATE OR TRUNCATE ON hookline.audit_log FOR EACH STATEMENT EXECUTE FUNCTION hookline.refuse_change();

ALTER TABLE ONLY hookline.alert_deliveries
    ADD CONSTRAINT alert_deliveries_company_id_alert_id_fkey FOREIGN KEY (company_id, alert_id) REFERENCES hookline.alerts(company_id, alert_id) ON DELETE CASCADE;

ALTER TABLE ONLY hookline.alert_deliveries
    ADD CONSTRAINT alert_deliveries_company_id_channel_fkey FOREIGN KEY (company_id, channel) REFERENCES hookline.alert_channels(company_id, channel) ON DELETE CASCADE;

ALTER TABLE ONLY hookline.alerts
    ADD CONSTRAINT alerts_company_id_source_fkey FOREIGN KEY (company_id, source) REFERENCES hookline.sources(company_id, source) ON DELETE CASCADE;

ALTER TABLE ONLY hookline.sync_differences
    ADD CONSTRAINT sync_differences_company_id_run_id_fkey FOREIGN KEY (company_id, run_id) REFERENCES hookline.sync_runs(company_id, run_id) ON DELETE CASCADE;

ALTER TABLE ONLY hookline.sync_log
    ADD CONSTRAINT sync_log_company_id_run_id_fkey FOREIGN KEY (company_id, run_id) REFERENCES hookline.sync_runs(company_id, run_id) ON DELETE CASCADE;

ALTER TABLE ONLY hookline.sync_pages
    ADD CONSTRAINT sync_pages_company_id_run_id_fkey FOREIGN KEY (company_id, run_id) REFERENCES hookline.sync_runs(company_id, run_id) ON DELETE CASCADE;

ALTER TABLE ONLY hookline.sync_reconciliations
    ADD CONSTRAINT sync_reconciliations_company_id_run_id_fkey FOREIGN KEY (company_id, run_id) REFERENCES hookline.sync_runs(company_id, run_id) ON DELETE CASCADE;

ALTER TABLE ONLY hookline.sync_requests
    ADD CONSTRAINT sync_requests_company_id_run_id_fkey FOREIGN KEY (company_id, run_id) REFERENCES hookline.sync_runs(company_id, run_id) ON DELETE CASCADE;

ALTER TABLE ONLY hookline.sync_runs
    ADD CONSTRAINT sync_runs_company_id_source_fkey FOREIGN KEY (company_id, source) REFERENCES hookline.sources(company_id, source) ON DELETE CASCADE;

ALTER TABLE hookline.alert_channels ENABLE ROW LEVEL SECURITY;

ALTER TABLE hookline.alert_deliveries ENABLE ROW LEVEL SECURITY;

ALTER TABLE hookline.alerts ENABLE ROW LEVEL SECURITY;

ALTER TABLE hookline.api_tokens ENABLE ROW LEVEL SECURITY;

ALTER TABLE hookline.audit_log ENABLE ROW LEVEL SECURITY;

ALTER TABLE hookline.companies ENABLE ROW LEVEL SECURITY;

ALTER TABLE hookline.company_limits ENABLE ROW LEVEL SECURITY;

ALTER TABLE hookline.endpoints ENABLE ROW LEVEL SECURITY;

ALTER TABLE hookline.erasures ENABLE ROW LEVEL SECURITY;

ALTER TABLE hookline.event_conflicts ENABLE ROW LEVEL SECURITY;

ALTER TABLE hookline.event_keys ENABLE ROW LEVEL SECURITY;

ALTER TABLE hookline.event_status ENABLE ROW LEVEL SECURITY;

ALTER TABLE hookline.events ENABLE ROW LEVEL SECURITY;

ALTER TABLE hookline.platform_mappings ENABLE ROW LEVEL SECURITY;

ALTER TABLE hookline.quarantine ENABLE ROW LEVEL SECURITY;

CREATE POLICY readers ON hookline.alerts FOR SELECT USING ((company_id = ANY (( SELECT hookline.readable_companies() AS readable_companies)::text[])));

CREATE POLICY readers ON hookline.audit_log FOR SELECT USING ((company_id = ANY (( SELECT hookline.readable_companies() AS readable_companies)::text[])));

CREATE POLICY readers ON hookline.companies FOR SELECT USING ((company_id = ANY (( SELECT hookline.readable_companies() AS readable_companies)::text[])));

CREATE POLICY readers ON hookline.event_conflicts FOR SELECT USING ((company_id = ANY (( SELECT hookline.readable_companies() AS readable_companies)::text[])));

CREATE POLICY readers ON hookline.event_status FOR SELECT USING ((company_id = ANY (( SELECT hookline.readable_companies() AS readable_companies)::text[])));

CREATE POLICY readers ON hookline.events FOR SELECT USING ((company_id = ANY (( SELECT hookline.readable_companies() AS readable_companies)::text[])));

CREATE POLICY readers ON hookline.platform_mappings FOR SELECT USING ((company_id = ANY (( SELECT hookline.readable_companies() AS readable_companies)::text[])));

CREATE POLICY readers ON hookline.quarantine FOR SELECT USING ((company_id = ANY (( SELECT hookline.readable_companies() AS readable_companies)::text[])));

ALTER TABLE hookline.readers ENABLE ROW LEVEL SECURITY;

CREATE POLICY readers ON hookline.sources FOR SELECT USING ((company_id = ANY (( SELECT hookline.readable_companies() AS readable_companies)::text[])));

CREATE POLICY readers ON hookline.sync_differences FOR SELECT USING ((company_id = ANY (( SELECT hookline.readable_companies() AS readable_companies)::text[])));

CREATE POLICY readers ON hookline.sync_log FOR SELECT USING ((company_id = ANY (( SELECT hookline.readable_companies() AS readable_companies)::text[])));

CREATE POLICY readers ON hookline.sync_reconciliations FOR SELECT USING ((company_id = ANY (( SELECT hookline.readable_companies() AS readable_companies)::text[])));

CREATE POLICY readers ON hookline.sync_runs FOR SELECT USING ((company_id = ANY (( SELECT hookline.readable_companies() AS readable_companies)::text[])));

CREATE POLICY readers ON hookline.unprocessed FOR SELECT USING ((company_id = ANY (( SELECT hookline.readable_companies() AS readable_companies)::text[])));

ALTER TABLE hookline.signing_secrets ENABLE ROW LEVEL SECURITY;

ALTER TABLE hookline.sources ENABLE ROW LEVEL SECURITY;

ALTER TABLE hookline.sync_differences ENABLE ROW LEVEL SECURITY;

ALTER TABLE hookline.sync_log ENABLE ROW LEVEL SECURITY;

ALTER TABLE hookline.sync_pages ENABLE ROW LEVEL SECURITY;

ALTER TABLE hookline.sync_reconciliations ENABLE ROW LEVEL SECURITY;

ALTER TABLE hookline.sync_requests ENABLE ROW LEVEL SECURITY;

ALTER TABLE hookline.sync_runs ENABLE ROW LEVEL SECURITY;

ALTER TABLE hookline.unprocessed ENABLE ROW LEVEL SECURITY;
