-- Sources, their schedules, and the runs that pull their history. Control tables: they stay in one place even when the
-- events are distributed, since the reaper looks across companies.

CREATE TABLE hookline.sources (
    company_id text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    platform text COLLATE "C" NOT NULL,
    base_url text NOT NULL,
    -- Encrypted with a key that PostgreSQL never sees.
    credential bytea NOT NULL,
    parameters jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(parameters) = 'object'),
    created_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The schedule: both or neither.
    schedule_interval interval CHECK (schedule_interval >= interval '1 minute'),
    next_run_time timestamptz,
    CONSTRAINT sources_schedule CHECK ((schedule_interval IS NULL) = (next_run_time IS NULL)),
    PRIMARY KEY (company_id, source)
);
-- What the reaper asks every second: which schedules are due.
CREATE INDEX sources_due ON hookline.sources (next_run_time) WHERE next_run_time IS NOT NULL;

CREATE TYPE hookline.sync_run_state AS ENUM ('queued', 'running', 'waiting', 'succeeded', 'failed', 'cancelled');
CREATE TYPE hookline.sync_trigger AS ENUM ('schedule', 'request');

-- A run is this row; whatever is in Redis only points to it. docs/sync-runs.md has the states and the arrows.
CREATE TABLE hookline.sync_runs (
    company_id text COLLATE "C" NOT NULL,
    -- A version 7 UUID: its order is the order of creation.
    run_id uuid NOT NULL,
    source text COLLATE "C" NOT NULL,
    state hookline.sync_run_state NOT NULL DEFAULT 'queued',
    trigger hookline.sync_trigger NOT NULL,
    start_time timestamptz NOT NULL,
    created_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_time timestamptz,
    -- Fences writes: a worker writes only while the run is at the attempt that it has begun.
    attempt integer NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    -- Attempts that have failed, or whose worker has died, since the last page was stored: what makes a run give up.
    failures integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
    lease_until timestamptz,
    next_attempt_time timestamptz,
    -- When a worker was last told. A run that no one was told of, or whom the message never reached, is told again.
    kicked_time timestamptz,
    cancel_requested boolean NOT NULL DEFAULT false,
    error text,
    -- Where the next page begins: what the connector makes of the last page that ingest has acknowledged.
    cursor text,
    synced_time timestamptz,
    pages bigint NOT NULL DEFAULT 0,
    fetched bigint NOT NULL DEFAULT 0,
    accepted bigint NOT NULL DEFAULT 0,
    duplicates bigint NOT NULL DEFAULT 0,
    quarantined bigint NOT NULL DEFAULT 0,
    rejected bigint NOT NULL DEFAULT 0,
    retries bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (company_id, run_id),
    FOREIGN KEY (company_id, source) REFERENCES hookline.sources ON DELETE CASCADE,
    CONSTRAINT sync_runs_counts CHECK (fetched = accepted + duplicates + quarantined + rejected),
    CONSTRAINT sync_runs_lease CHECK ((state = 'running') = (lease_until IS NOT NULL)),
    CONSTRAINT sync_runs_waiting CHECK ((state = 'waiting') = (next_attempt_time IS NOT NULL)),
    CONSTRAINT sync_runs_ended CHECK ((state IN ('succeeded', 'failed', 'cancelled')) = (ended_time IS NOT NULL)),
    CONSTRAINT sync_runs_begun CHECK (attempt > 0 OR state IN ('queued', 'cancelled')),
    CONSTRAINT sync_runs_error CHECK (state NOT IN ('waiting', 'failed') OR error IS NOT NULL),
    CONSTRAINT sync_runs_cancelled CHECK (state <> 'cancelled' OR cancel_requested)
);
-- One active run for each source: a second trigger finds it.
CREATE UNIQUE INDEX sync_runs_active ON hookline.sync_runs (company_id, source)
    WHERE state IN ('queued', 'running', 'waiting');
-- History of a source, newest first.
CREATE INDEX sync_runs_source ON hookline.sync_runs (company_id, source, run_id);
-- What the reaper asks every second: the few rows that are not at rest.
CREATE INDEX sync_runs_awake ON hookline.sync_runs (state) WHERE state IN ('queued', 'running', 'waiting');

-- Which run a request was answered with, whether it made the run or joined it: the same request again gets the same.
CREATE TABLE hookline.sync_requests (
    company_id text COLLATE "C" NOT NULL,
    request_id text COLLATE "C" NOT NULL,
    run_id uuid NOT NULL,
    PRIMARY KEY (company_id, request_id),
    FOREIGN KEY (company_id, run_id) REFERENCES hookline.sync_runs ON DELETE CASCADE
);
CREATE INDEX sync_requests_run ON hookline.sync_requests (company_id, run_id);
