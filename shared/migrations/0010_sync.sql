-- What a run says of its source holds only while the source's history is the one that the run has read; what waited behind
-- another run; and indexes for what is removed when it is old.

ALTER TABLE hookline.sources
    -- Counted up when what decides the history (the address, the parameters) changes: what runs have read before says
    -- nothing of what is read since.
    ADD COLUMN history integer NOT NULL DEFAULT 1 CHECK (history > 0),
    -- What the platform listed by then is read and stored, without a gap. NULL: nothing is known.
    ADD COLUMN complete_until_time timestamptz;
-- Of runs of before it is not known whether a gap was before them, but for those that went on from the one before.
UPDATE hookline.sources s
SET complete_until_time = (
    SELECT max(r.created_time) FROM hookline.sync_runs r
    WHERE r.company_id = s.company_id AND r.source = s.source AND r.state = 'succeeded' AND r.until_time IS NULL
      AND r.known_until_time IS NOT NULL
);

ALTER TABLE hookline.sync_runs
    -- The source's when the run was made.
    ADD COLUMN history integer NOT NULL DEFAULT 1,
    -- When the run that it waited behind had ended. NULL: it waits still, or never did.
    ADD COLUMN let_go_time timestamptz;
-- A source's last run that has ended, and the runs of everyone that are old.
CREATE INDEX sync_runs_ended ON hookline.sync_runs (company_id, source, ended_time, run_id)
    WHERE ended_time IS NOT NULL;
CREATE INDEX sync_runs_old ON hookline.sync_runs (ended_time) WHERE ended_time IS NOT NULL;
-- Alerts that are over, by when that was.
CREATE INDEX alerts_old ON hookline.alerts (resolve_time) WHERE resolve_time IS NOT NULL;
