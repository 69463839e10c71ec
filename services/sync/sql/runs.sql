-- name: create_run(company_id, run_id, source, days_back)
-- Nothing comes back when the source has an active run: a unique index says so, however many ask at the same moment. Without days_back it starts where the last run that succeeded began, less an hour
-- for events that turn up late; without such a run, 30 days ago.
INSERT INTO hookline.sync_runs AS r (company_id, run_id, source, trigger, start_time)
SELECT :company_id::text, :run_id::uuid, s.source, 'request',
       CASE WHEN :days_back::int > 0 THEN clock_timestamp() - make_interval(days => :days_back::int)
            ELSE coalesce((SELECT max(p.created_time) FROM hookline.sync_runs p
                           WHERE p.company_id = :company_id::text AND p.source = :source::text
                             AND p.state = 'succeeded') - interval '1 hour',
                          clock_timestamp() - interval '30 days')
       END
FROM hookline.sources s
WHERE s.company_id = :company_id::text AND s.source = :source::text
ON CONFLICT DO NOTHING
RETURNING company_id, run_id, source, state, trigger, start_time, created_time, ended_time, attempt,
       next_attempt_time, error, synced_time, pages, fetched, accepted, duplicates, quarantined,
       rejected, retries, cancel_requested;

-- name: find_active_run(company_id, source)
-- What stood in the way of a new run.
SELECT r.company_id, r.run_id, r.source, r.state, r.trigger, r.start_time, r.created_time, r.ended_time, r.attempt,
       r.next_attempt_time, r.error, r.synced_time, r.pages, r.fetched, r.accepted, r.duplicates, r.quarantined,
       r.rejected, r.retries, r.cancel_requested
FROM hookline.sync_runs r
WHERE r.company_id = :company_id::text AND r.source = :source::text AND r.state IN ('queued', 'running', 'waiting');

-- name: lock_request(company_id, request_id)
-- Held to the end of the transaction: the same request at the same moment waits, and then finds the answer.
SELECT pg_advisory_xact_lock(hashtextextended(:company_id::text || ' ' || :request_id::text, 0));

-- name: find_request(company_id, request_id)
-- The run that the request was answered with.
SELECT r.company_id, r.run_id, r.source, r.state, r.trigger, r.start_time, r.created_time, r.ended_time, r.attempt,
       r.next_attempt_time, r.error, r.synced_time, r.pages, r.fetched, r.accepted, r.duplicates, r.quarantined,
       r.rejected, r.retries, r.cancel_requested
FROM hookline.sync_runs r
JOIN hookline.sync_requests q ON q.company_id = :company_id::text AND q.run_id = r.run_id
WHERE r.company_id = :company_id::text AND q.request_id = :request_id::text;

-- name: note_request(company_id, request_id, run_id)
-- What the request is answered with, now and whenever it comes again.
INSERT INTO hookline.sync_requests (company_id, request_id, run_id)
VALUES (:company_id::text, :request_id::text, :run_id::uuid)
RETURNING run_id;

-- name: get_run(company_id, run_id)
-- One run, as it is at this moment.
SELECT r.company_id, r.run_id, r.source, r.state, r.trigger, r.start_time, r.created_time, r.ended_time, r.attempt,
       r.next_attempt_time, r.error, r.synced_time, r.pages, r.fetched, r.accepted, r.duplicates, r.quarantined,
       r.rejected, r.retries, r.cancel_requested
FROM hookline.sync_runs r
WHERE r.company_id = :company_id::text AND r.run_id = :run_id::uuid;

-- name: list_runs(company_id, source, before_id, max_rows)
-- A page of runs, newest first: ids are version 7 UUIDs, in the order of creation.
SELECT r.company_id, r.run_id, r.source, r.state, r.trigger, r.start_time, r.created_time, r.ended_time, r.attempt,
       r.next_attempt_time, r.error, r.synced_time, r.pages, r.fetched, r.accepted, r.duplicates, r.quarantined,
       r.rejected, r.retries, r.cancel_requested
FROM hookline.sync_runs r
WHERE r.company_id = :company_id::text AND (:source::text IS NULL OR r.source = :source::text)
  AND (:before_id::uuid IS NULL OR r.run_id < :before_id::uuid)
ORDER BY r.run_id DESC
LIMIT :max_rows::int;

-- name: source_runs(company_id)
-- For each source its active run and its last run that has ended.
SELECT r.company_id, r.run_id, r.source, r.state, r.trigger, r.start_time, r.created_time, r.ended_time, r.attempt,
       r.next_attempt_time, r.error, r.synced_time, r.pages, r.fetched, r.accepted, r.duplicates, r.quarantined,
       r.rejected, r.retries, r.cancel_requested
FROM hookline.sources s
CROSS JOIN LATERAL (
    (SELECT a.run_id FROM hookline.sync_runs a
     WHERE a.company_id = :company_id::text AND a.source = s.source AND a.state IN ('queued', 'running', 'waiting')
     LIMIT 1)
    UNION ALL
    (SELECT e.run_id FROM hookline.sync_runs e
     WHERE e.company_id = :company_id::text AND e.source = s.source AND e.state NOT IN ('queued', 'running', 'waiting')
     ORDER BY e.run_id DESC
     LIMIT 1)
) latest
JOIN hookline.sync_runs r ON r.company_id = :company_id::text AND r.run_id = latest.run_id
WHERE s.company_id = :company_id::text;

-- name: source_health(company_id)
-- For each source: since when it is complete, and failures since then.
SELECT s.source, ok.created_time AS complete_until_time,
       (SELECT count(*) FROM hookline.sync_runs f
        WHERE f.company_id = :company_id::text AND f.source = s.source AND f.state = 'failed'
          AND (ok.run_id IS NULL OR f.run_id > ok.run_id))::int AS consecutive_failures
FROM hookline.sources s
LEFT JOIN LATERAL (
    SELECT o.run_id, o.created_time FROM hookline.sync_runs o
    WHERE o.company_id = :company_id::text AND o.source = s.source AND o.state = 'succeeded'
    ORDER BY o.run_id DESC
    LIMIT 1
) ok ON true
WHERE s.company_id = :company_id::text;

-- name: cancel_run(company_id, run_id)
-- A run that no worker is at ends here; one that is being worked on is ended by its worker, which looks every second.
-- One that has ended stays as it is.
UPDATE hookline.sync_runs r
SET cancel_requested = true,
    state = CASE WHEN r.state = 'running' THEN r.state ELSE 'cancelled' END,
    ended_time = CASE WHEN r.state = 'running' THEN NULL ELSE clock_timestamp() END,
    next_attempt_time = NULL
WHERE r.company_id = :company_id::text AND r.run_id = :run_id::uuid AND r.state IN ('queued', 'running', 'waiting')
RETURNING company_id, run_id, source, state, trigger, start_time, created_time, ended_time, attempt,
       next_attempt_time, error, synced_time, pages, fetched, accepted, duplicates, quarantined,
       rejected, retries, cancel_requested;
