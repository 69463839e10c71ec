-- name: claim_run(company_id, run_id, lease)
-- Gives the run to this worker, if it is there to be taken: queued, due again, or left by a worker whose lease is over.
-- The attempt that it counts up fences the writes of whoever had it before. A worker that died counts as a failure.
-- The first one sets the time by which the run has to have ended.
WITH was AS (
    SELECT r.run_id, r.state FROM hookline.sync_runs r
    WHERE r.company_id = :company_id::text AND r.run_id = :run_id::uuid AND NOT r.cancel_requested AND NOT r.behind
      AND (r.state = 'queued'
           OR (r.state = 'waiting' AND r.next_attempt_time <= clock_timestamp())
           OR (r.state = 'running' AND r.lease_until < clock_timestamp()))
    FOR UPDATE
), held AS (
    UPDATE hookline.sync_runs r
    SET state = 'running', attempt = r.attempt + 1, failures = r.failures + (r.state = 'running')::int,
        lease_until = clock_timestamp() + :lease::interval, next_attempt_time = NULL,
        deadline_time = coalesce(r.deadline_time, clock_timestamp() + s.run_deadline)
    FROM was, hookline.sources s
    WHERE r.company_id = :company_id::text AND r.run_id = was.run_id
      AND s.company_id = :company_id::text AND s.source = r.source
    RETURNING r.run_id, r.source, r.start_time, r.until_time, r.known_until_time, r.attempt, r.failures, r.cursor,
              r.pages, r.retries, r.lease_until, r.deadline_time - clock_timestamp() AS time_left, was.state AS was_state
), lost AS (
    INSERT INTO hookline.sync_log (company_id, run_id, attempt, level, code, message)
    SELECT :company_id::text, h.run_id, h.attempt - 1, 'warning', 'WORKER_LOST',
           'The worker gave no more signs of life; another goes on from the last page noted.'
    FROM held h WHERE h.was_state = 'running'
    RETURNING entry
), begun AS (
    INSERT INTO hookline.sync_log (company_id, run_id, attempt, level, code, message)
    SELECT :company_id::text, h.run_id, h.attempt, 'info', 'RUN_BEGUN',
           CASE WHEN h.cursor IS NULL THEN 'A worker has begun it.'
                ELSE 'A worker goes on with it, ' || h.pages || ' pages in.' END
    -- Looks at what was lost first, so that it comes first.
    FROM held h LEFT JOIN lost l ON true
)
SELECT h.source, h.start_time, h.until_time, h.known_until_time, h.attempt, h.failures, h.cursor, h.pages,
       h.retries, h.lease_until, h.time_left,
       (SELECT count(*) FROM hookline.sync_log l
        WHERE l.company_id = :company_id::text AND l.run_id = :run_id::uuid)::int AS logged
FROM held h;

-- name: extend_lease(company_id, run_id, attempt, known_until, lease, retries, log_levels, log_codes, log_messages)
-- A sign of life, with what happened since the last one. Asked again because the answer was lost with the database, it
-- logs nothing twice: the lease then ends later than this worker knows (`known_until`). No row: the run is no longer this
-- worker's.
WITH was AS (
    SELECT r.run_id, r.lease_until = :known_until::timestamptz AS is_first FROM hookline.sync_runs r
    WHERE r.company_id = :company_id::text AND r.run_id = :run_id::uuid AND r.attempt = :attempt::int
      AND r.state = 'running' AND r.lease_until >= clock_timestamp()
    FOR UPDATE
), extended AS (
    UPDATE hookline.sync_runs r
    SET lease_until = clock_timestamp() + :lease::interval, retries = greatest(r.retries, :retries::bigint)
    FROM was
    WHERE r.company_id = :company_id::text AND r.run_id = was.run_id
    RETURNING r.run_id, r.lease_until, r.cancel_requested, was.is_first
), held AS (
    SELECT e.run_id FROM extended e WHERE e.is_first
), logged AS (
-- include: log_entries
)
SELECT e.lease_until, e.cancel_requested FROM extended e;

-- name: note_windows(company_id, run_id, attempt, windows, windows_done, window_start_time, window_until_time)
-- How the span is cut, before the first page is there. No row: the run is no longer this worker's.
UPDATE hookline.sync_runs r
SET windows = :windows::int, windows_done = :windows_done::int, window_start_time = :window_start_time::timestamptz,
    window_until_time = :window_until_time::timestamptz
WHERE r.company_id = :company_id::text AND r.run_id = :run_id::uuid AND r.attempt = :attempt::int
  AND r.state = 'running' AND r.lease_until >= clock_timestamp()
RETURNING r.run_id;

-- name: checkpoint(company_id, run_id, attempt, page, pages, cursor, synced_time, windows_done, window_start_time, window_until_time, said, fetched, accepted, duplicates, quarantined, rejected, late, retries, item_ids, event_ids, problems, log_levels, log_codes, log_messages)
-- Pages more, usually one, which ingest has acknowledged; `page` is the number of the last. Asked again for the same ones,
-- because the answer was lost with the database, it notes them once. No row: the run is no longer this worker's, and
-- nothing is written.
WITH held AS (
    UPDATE hookline.sync_runs r
    SET cursor = :cursor::text, synced_time = greatest(r.synced_time, :synced_time::timestamptz), pages = :page::bigint,
        failures = 0, windows_done = :windows_done::int, window_start_time = :window_start_time::timestamptz,
        window_until_time = :window_until_time::timestamptz, said = :said::bigint,
        fetched = r.fetched + :fetched::bigint, accepted = r.accepted + :accepted::bigint,
        duplicates = r.duplicates + :duplicates::bigint, quarantined = r.quarantined + :quarantined::bigint,
        rejected = r.rejected + :rejected::bigint, late = r.late + :late::bigint,
        retries = greatest(r.retries, :retries::bigint)
    WHERE r.company_id = :company_id::text AND r.run_id = :run_id::uuid AND r.attempt = :attempt::int
      AND r.state = 'running' AND r.lease_until >= clock_timestamp() AND r.pages = :page::bigint - :pages::bigint
    RETURNING r.run_id
), kept AS (
    INSERT INTO hookline.sync_pages (company_id, run_id, page, item_ids, event_ids, problems)
    SELECT :company_id::text, h.run_id, :page::bigint, :item_ids::text[], :event_ids::uuid[], :problems::jsonb
    FROM held h
    WHERE cardinality(:item_ids::text[]) > 0
), logged AS (
-- include: log_entries
)
SELECT h.run_id FROM held h
UNION ALL
SELECT r.run_id FROM hookline.sync_runs r
WHERE r.company_id = :company_id::text AND r.run_id = :run_id::uuid AND r.attempt = :attempt::int
  AND r.state = 'running' AND r.lease_until >= clock_timestamp() AND r.pages = :page::bigint;

-- name: leave_run(company_id, run_id, attempt, state, error, retry_in, retries, log_levels, log_codes, log_messages)
-- Ends a worker's attempt: in one of the states that a run ends in, waiting (to be tried again), or queued (handed back
-- by a worker that stops; told to another at once). Nobody has been told of the next attempt yet. A run that was to be
-- cancelled before its worker knew is not left for another: it is cancelled. No row: the run is no longer this worker's,
-- and nothing is written.
WITH was AS (
    SELECT r.run_id,
           CASE WHEN r.cancel_requested AND :state::hookline.sync_run_state IN ('queued', 'waiting') THEN 'cancelled'
                ELSE :state::hookline.sync_run_state END AS state
    FROM hookline.sync_runs r
    WHERE r.company_id = :company_id::text AND r.run_id = :run_id::uuid AND r.attempt = :attempt::int
      AND r.state = 'running'
    FOR UPDATE
), held AS (
    UPDATE hookline.sync_runs r
    SET state = was.state, error = :error::text, lease_until = NULL,
        failures = r.failures + (was.state = 'waiting')::int,
        retries = greatest(r.retries, :retries::bigint),
        ended_time = CASE WHEN was.state IN ('succeeded', 'incomplete', 'failed', 'cancelled')
                          THEN clock_timestamp() END,
        next_attempt_time = CASE WHEN was.state = 'waiting' THEN clock_timestamp() + :retry_in::interval END,
        kicked_time = CASE WHEN was.state IN ('queued', 'waiting') THEN NULL ELSE r.kicked_time END
    FROM was
    WHERE r.company_id = :company_id::text AND r.run_id = was.run_id
    RETURNING r.run_id, r.state
), logged AS (
-- include: log_entries
)
SELECT h.state FROM held h;
