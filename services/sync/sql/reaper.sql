-- name: create_due_runs(run_ids)
-- Across companies: the reaper's. Makes a run for each due schedule, as many as there are ids, and moves the schedules
-- on from now: ticks missed while everything was down are caught up by one run. Rows that another reaper is at are
-- passed over. A source whose run is still active gets no second one.
WITH due AS (
    SELECT s.company_id, s.source, row_number() OVER () AS position
    FROM (SELECT company_id, source FROM hookline.sources
          WHERE next_run_time <= clock_timestamp()
          ORDER BY next_run_time
          LIMIT cardinality(:run_ids::uuid[])
          FOR UPDATE SKIP LOCKED) s
), moved AS (
    UPDATE hookline.sources s SET next_run_time = clock_timestamp() + s.schedule_interval
    FROM due WHERE s.company_id = due.company_id AND s.source = due.source
)
INSERT INTO hookline.sync_runs (company_id, run_id, source, trigger, start_time)
SELECT due.company_id, ids.run_id, due.source, 'schedule',
       coalesce((SELECT max(p.created_time) FROM hookline.sync_runs p
                 WHERE p.company_id = due.company_id AND p.source = due.source AND p.state = 'succeeded')
                - interval '1 hour',
                clock_timestamp() - interval '30 days')
FROM due JOIN unnest(:run_ids::uuid[]) WITH ORDINALITY AS ids (run_id, position) USING (position)
ON CONFLICT DO NOTHING
RETURNING company_id, run_id;

-- name: cancel_abandoned()
-- Across companies: the reaper's. Ends runs that were to be cancelled and whose worker died before it could.
UPDATE hookline.sync_runs r
SET state = 'cancelled', lease_until = NULL, ended_time = clock_timestamp()
WHERE r.state = 'running' AND r.cancel_requested AND r.lease_until < clock_timestamp()
RETURNING r.company_id, r.run_id;

-- name: take_kicks(again_after, max_rows)
-- Across companies: the reaper's. Runs that a worker should be told of: never told, told so long ago that the message
-- must be lost, due again, or left by a worker whose lease is over. Told means noted here first: a message that is lost
-- after that is sent again later. Rows that another reaper is at are passed over.
UPDATE hookline.sync_runs r
SET kicked_time = clock_timestamp()
FROM (
    SELECT company_id, run_id FROM hookline.sync_runs
    WHERE state IN ('queued', 'running', 'waiting')
      AND (kicked_time IS NULL OR kicked_time < clock_timestamp() - :again_after::interval)
      AND (state = 'queued'
           OR (state = 'waiting' AND next_attempt_time <= clock_timestamp())
           OR (state = 'running' AND lease_until < clock_timestamp()))
    ORDER BY kicked_time NULLS FIRST
    LIMIT :max_rows::int
    FOR UPDATE SKIP LOCKED
) k
WHERE r.company_id = k.company_id AND r.run_id = k.run_id
RETURNING r.company_id, r.run_id;

-- name: note_kick(company_id, run_id)
-- Told by whoever made the run, at once: the reaper need not.
UPDATE hookline.sync_runs r SET kicked_time = clock_timestamp()
WHERE r.company_id = :company_id::text AND r.run_id = :run_id::uuid AND r.state = 'queued'
RETURNING r.run_id;
