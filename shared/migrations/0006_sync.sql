-- Sync that heals gaps by itself: schedules by interval or cron, runs over windows of time with a log and a
-- reconciliation each, and alerts. Control tables: they stay in one place even when the events are distributed.

ALTER TABLE hookline.sources
    -- How far before what was read last a run begins: platforms list events late.
    ADD COLUMN look_back interval NOT NULL DEFAULT interval '1 hour'
        CHECK (look_back BETWEEN interval '0' AND interval '30 days'),
    -- How long a run may take, from its first attempt to its end.
    ADD COLUMN run_deadline interval NOT NULL DEFAULT interval '24 hours'
        CHECK (run_deadline BETWEEN interval '1 minute' AND interval '30 days'),
    -- Up to where the history has been read and stored without a gap: the time of an event seen, never of a clock.
    ADD COLUMN synced_time timestamptz,
    -- The schedule: by interval or by cron; `schedule_start_time` is what intervals are counted from.
    ADD COLUMN schedule_cron text,
    ADD COLUMN schedule_time_zone text NOT NULL DEFAULT 'UTC',
    ADD COLUMN schedule_jitter interval NOT NULL DEFAULT interval '0' CHECK (schedule_jitter >= interval '0'),
    ADD COLUMN schedule_start_time timestamptz,
    ADD COLUMN schedule_paused_time timestamptz,
    DROP CONSTRAINT sources_schedule;
UPDATE hookline.sources s
SET schedule_start_time = s.next_run_time - s.schedule_interval,
    synced_time = (SELECT max(r.synced_time) FROM hookline.sync_runs r
                   WHERE r.company_id = s.company_id AND r.source = s.source AND r.state = 'succeeded');
ALTER TABLE hookline.sources
    ADD CONSTRAINT sources_cadence CHECK (schedule_interval IS NULL OR schedule_cron IS NULL),
    ADD CONSTRAINT sources_schedule CHECK (
        (schedule_start_time IS NULL) = (schedule_interval IS NULL AND schedule_cron IS NULL)
        AND (schedule_paused_time IS NULL OR schedule_start_time IS NOT NULL)
        AND (next_run_time IS NOT NULL) = (schedule_start_time IS NOT NULL AND schedule_paused_time IS NULL)
    );

ALTER TABLE hookline.sync_runs
    -- The span's end, not included. NULL: whatever there is.
    ADD COLUMN until_time timestamptz CHECK (until_time > start_time),
    -- Waits until the source's active run has ended. Not active itself.
    ADD COLUMN behind boolean NOT NULL DEFAULT false,
    -- From the first attempt on: when the run has to have ended.
    ADD COLUMN deadline_time timestamptz,
    -- What runs before had read up to: what is dated earlier and new was listed late.
    ADD COLUMN known_until_time timestamptz,
    ADD COLUMN late bigint NOT NULL DEFAULT 0,
    -- The span is read in windows of time, oldest first.
    ADD COLUMN windows integer NOT NULL DEFAULT 1 CHECK (windows > 0),
    ADD COLUMN windows_done integer NOT NULL DEFAULT 0,
    ADD COLUMN window_start_time timestamptz,
    ADD COLUMN window_until_time timestamptz,
    -- How many events the source says that it has, over the windows that it has said it of. NULL: it does not say.
    ADD COLUMN said bigint,
    ADD CONSTRAINT sync_runs_windows CHECK (windows_done BETWEEN 0 AND windows),
    ADD CONSTRAINT sync_runs_late CHECK (late <= accepted),
    ADD CONSTRAINT sync_runs_behind CHECK (NOT behind OR (state IN ('queued', 'cancelled') AND attempt = 0)),
    DROP CONSTRAINT sync_runs_ended,
    ADD CONSTRAINT sync_runs_ended CHECK (
        (state IN ('succeeded', 'incomplete', 'failed', 'cancelled')) = (ended_time IS NOT NULL)
    ),
    DROP CONSTRAINT sync_runs_error,
    ADD CONSTRAINT sync_runs_error CHECK (state NOT IN ('waiting', 'incomplete', 'failed') OR error IS NOT NULL);
DROP INDEX hookline.sync_runs_active;
CREATE UNIQUE INDEX sync_runs_active ON hookline.sync_runs (company_id, source)
    WHERE state IN ('queued', 'running', 'waiting') AND NOT behind;

-- What each page of a run brought, until the run is reconciled: the platform's id of each item, and the id of the event
-- that it is in the log (NULL: it is none). A run that another worker goes on with needs what the first one read.
CREATE TABLE hookline.sync_pages (
    company_id text COLLATE "C" NOT NULL,
    run_id uuid NOT NULL,
    page bigint NOT NULL CHECK (page > 0),
    item_ids text[] NOT NULL,
    event_ids uuid[] NOT NULL,
    -- By the id of an item that was not stored, why: {"reason": …, "message": …}.
    problems jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(problems) = 'object'),
    PRIMARY KEY (company_id, run_id, page),
    FOREIGN KEY (company_id, run_id) REFERENCES hookline.sync_runs ON DELETE CASCADE,
    CONSTRAINT sync_pages_aligned CHECK (cardinality(item_ids) = cardinality(event_ids))
);

-- What a run has found the source to have, against what is stored.
CREATE TABLE hookline.sync_reconciliations (
    company_id text COLLATE "C" NOT NULL,
    run_id uuid NOT NULL,
    reconciled_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Different items that the source listed.
    listed bigint NOT NULL,
    -- Of them, those that are events in the log.
    stored bigint NOT NULL,
    -- Of them, those that are not.
    missing bigint NOT NULL,
    -- Events in the log, of the run's span, that the source did not list. NULL: its times can't be compared.
    unlisted bigint,
    PRIMARY KEY (company_id, run_id),
    FOREIGN KEY (company_id, run_id) REFERENCES hookline.sync_runs ON DELETE CASCADE,
    CONSTRAINT sync_reconciliations_sum CHECK (listed = stored + missing)
);

-- The differences one by one, up to a bound.
CREATE TABLE hookline.sync_differences (
    company_id text COLLATE "C" NOT NULL,
    run_id uuid NOT NULL,
    -- Counted from 1 within the run.
    difference integer NOT NULL CHECK (difference > 0),
    kind text NOT NULL CHECK (kind IN ('missing', 'unlisted')),
    -- The platform's id. NULL for what it does not list.
    item_id text,
    -- Ours. NULL for what is not stored.
    event_id uuid,
    reason text NOT NULL,
    message text NOT NULL,
    PRIMARY KEY (company_id, run_id, difference),
    FOREIGN KEY (company_id, run_id) REFERENCES hookline.sync_runs ON DELETE CASCADE
);

-- What happened to a run, in order, for a person to read.
CREATE TABLE hookline.sync_log (
    company_id text COLLATE "C" NOT NULL,
    run_id uuid NOT NULL,
    entry bigint GENERATED ALWAYS AS IDENTITY,
    logged_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The attempt that it happened in. 0: before the first.
    attempt integer NOT NULL,
    level text NOT NULL CHECK (level IN ('info', 'warning', 'error')),
    -- What kind of thing happened, such as PAGE_RETRIED.
    code text COLLATE "C" NOT NULL,
    message text NOT NULL,
    PRIMARY KEY (company_id, run_id, entry),
    FOREIGN KEY (company_id, run_id) REFERENCES hookline.sync_runs ON DELETE CASCADE
);

-- What needs a person. One open alert for each kind and source: what happens again is counted on it.
CREATE TABLE hookline.alerts (
    company_id text COLLATE "C" NOT NULL,
    -- A version 7 UUID: its order is the order of opening.
    alert_id uuid NOT NULL,
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('run_failed', 'failures_in_a_row', 'schedule_overdue', 'gap_found')),
    source text COLLATE "C" NOT NULL,
    -- The run that it was last seen in. NULL: it is of no run.
    run_id uuid,
    message text NOT NULL,
    open_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    times bigint NOT NULL DEFAULT 1 CHECK (times > 0),
    -- Of a gap: from where on in the source's history something may be missing. Only who has read from there on again
    -- can say that it is closed.
    gap_start_time timestamptz,
    resolve_time timestamptz,
    PRIMARY KEY (company_id, alert_id),
    CONSTRAINT alerts_gap CHECK ((kind = 'gap_found') = (gap_start_time IS NOT NULL)),
    FOREIGN KEY (company_id, source) REFERENCES hookline.sources ON DELETE CASCADE
);
CREATE UNIQUE INDEX alerts_open ON hookline.alerts (company_id, source, kind) WHERE resolve_time IS NULL;

-- Where a company's alerts go.
CREATE TABLE hookline.alert_channels (
    company_id text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    -- One of them: a webhook's URL, or an e-mail address.
    webhook_url text,
    email text,
    -- What webhooks are signed with, encrypted with a key that PostgreSQL never sees.
    secret bytea,
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (company_id, channel),
    CONSTRAINT alert_channels_kind CHECK ((webhook_url IS NULL) <> (email IS NULL)),
    CONSTRAINT alert_channels_secret CHECK ((webhook_url IS NULL) = (secret IS NULL))
);

-- What is to be told to a channel, until it was, or was tried often enough.
CREATE TABLE hookline.alert_deliveries (
    company_id text COLLATE "C" NOT NULL,
    -- A version 7 UUID. It is the webhook's id: the same on every try.
    delivery_id uuid NOT NULL,
    channel text COLLATE "C" NOT NULL,
    alert_id uuid NOT NULL,
    news text NOT NULL CHECK (news IN ('opened', 'resolved')),
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts integer NOT NULL DEFAULT 0,
    -- When it is tried next, or whoever is at it now must be dead. NULL: never again.
    next_attempt_time timestamptz DEFAULT clock_timestamp(),
    delivered_time timestamptz,
    error text,
    PRIMARY KEY (company_id, delivery_id),
    FOREIGN KEY (company_id, channel) REFERENCES hookline.alert_channels ON DELETE CASCADE,
    FOREIGN KEY (company_id, alert_id) REFERENCES hookline.alerts ON DELETE CASCADE,
    CONSTRAINT alert_deliveries_end CHECK (delivered_time IS NULL OR next_attempt_time IS NULL)
);
CREATE INDEX alert_deliveries_due ON hookline.alert_deliveries (next_attempt_time) WHERE next_attempt_time IS NOT NULL;
CREATE INDEX alert_deliveries_alert ON hookline.alert_deliveries (company_id, alert_id);
