-- name: claim_run(company_id, run_id, lease)
-- Gives the run to this worker, if it is there to be taken: queued, due again, or left by a worker whose lease is over.
-- The attempt that it counts up fences the writes of whoever had it before. A worker that died counts as a failure.
UPDATE hookline.sync_runs r
SET state = 'running', attempt = r.attempt + 1, failures = r.failures + (r.state = 'running')::int, lease_until = clock_timestamp() + :lease::interval,
    next_attempt_time = NULL
WHERE r.company_id = :company_id::text AND r.run_id = :run_id::uuid AND NOT r.cancel_requested
  AND (r.state = 'queued'
       OR (r.state = 'waiting' AND r.next_attempt_time <= clock_timestamp())
       OR (r.state = 'running' AND r.lease_until < clock_timestamp()))
RETURNING r.source, r.start_time, r.attempt, r.failures, r.cursor;

-- name: extend_lease(company_id, run_id, attempt, lease)
-- A sign of life. No row: the run is no longer this worker's.
UPDATE hookline.sync_runs r
SET lease_until = clock_timestamp() + :lease::interval
WHERE r.company_id = :company_id::text AND r.run_id = :run_id::uuid AND r.attempt = :attempt::int
  AND r.state = 'running' AND r.lease_until >= clock_timestamp()
RETURNING r.cancel_requested;

-- name: checkpoint(company_id, run_id, attempt, cursor, synced_time, fetched, accepted, duplicates, quarantined, rejected, retries)
-- One page more, which ingest has acknowledged. Asked again with the same cursor, because the answer was lost with the
-- database, it counts the page once. No row: the run is no longer this worker's, and nothing is written.
WITH noted AS (
    UPDATE hookline.sync_runs r
    SET cursor = :cursor::text, synced_time = greatest(r.synced_time, :synced_time::timestamptz), pages = r.pages + 1,
        failures = 0,
        fetched = r.fetched + :fetched::bigint, accepted = r.accepted + :accepted::bigint,
        duplicates = r.duplicates + :duplicates::bigint, quarantined = r.quarantined + :quarantined::bigint,
        rejected = r.rejected + :rejected::bigint, retries = r.retries + :retries::bigint
    WHERE r.company_id = :company_id::text AND r.run_id = :run_id::uuid AND r.attempt = :attempt::int
      AND r.state = 'running' AND r.lease_until >= clock_timestamp() AND r.cursor IS DISTINCT FROM :cursor::text
    RETURNING r.run_id
)
SELECT n.run_id FROM noted n
UNION ALL
SELECT r.run_id FROM hookline.sync_runs r
WHERE r.company_id = :company_id::text AND r.run_id = :run_id::uuid AND r.attempt = :attempt::int
  AND r.state = 'running' AND r.lease_until >= clock_timestamp() AND r.cursor = :cursor::text;

-- name: leave_run(company_id, run_id, attempt, state, error, retry_in, retries)
-- Ends a worker's attempt: succeeded, failed, cancelled, waiting (to be tried again), or queued (handed back by a worker
-- that stops; told to another at once). Nobody has been told of the next attempt yet. No row: the run is no longer this worker's, and nothing is written.
UPDATE hookline.sync_runs r
SET state = :state::hookline.sync_run_state, error = :error::text, lease_until = NULL,
    failures = r.failures + (:state::hookline.sync_run_state = 'waiting')::int,
    retries = r.retries + :retries::bigint,
    ended_time = CASE WHEN :state::hookline.sync_run_state IN ('succeeded', 'failed', 'cancelled')
                      THEN clock_timestamp() END,
    next_attempt_time = CASE WHEN :state::hookline.sync_run_state = 'waiting'
                             THEN clock_timestamp() + :retry_in::interval END,
    kicked_time = CASE WHEN :state::hookline.sync_run_state IN ('queued', 'waiting') THEN NULL ELSE r.kicked_time END
WHERE r.company_id = :company_id::text AND r.run_id = :run_id::uuid AND r.attempt = :attempt::int
  AND r.state = 'running'
RETURNING r.run_id;
