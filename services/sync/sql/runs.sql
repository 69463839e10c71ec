-- name: create_run(company_id, run_id, source, start_time, until_time, behind)
-- Nothing comes back when the source has an active run: a unique index says so, however many ask at the same moment.
-- One that waits behind it is not active itself.
WITH made AS (
    INSERT INTO hookline.sync_runs (
        company_id, run_id, source, trigger, start_time, until_time, known_until_time, history, behind
    )
    SELECT :company_id::text, :run_id::uuid, i.source, 'request',
           coalesce(:start_time::timestamptz, i.incremental_start_time), :until_time::timestamptz,
           CASE WHEN :start_time::timestamptz IS NULL THEN i.known_until_time END, i.history,
           :behind::boolean
    FROM (
        SELECT s.source,
-- include: incremental_span
        FROM hookline.sources s
        LEFT JOIN hookline.alerts g
            ON g.company_id = :company_id::text AND g.source = s.source AND g.kind = 'gap_found' AND g.resolve_time IS NULL
        WHERE s.company_id = :company_id::text AND s.source = :source::text
    ) i
    ON CONFLICT DO NOTHING
    RETURNING run_id, start_time, until_time, behind
)
INSERT INTO hookline.sync_log (company_id, run_id, attempt, level, code, message)
SELECT :company_id::text, m.run_id, 0, 'info', 'RUN_CREATED',
       'Asked for, to pull what is dated from ' || hookline.rfc3339(m.start_time)
       || coalesce(' to ' || hookline.rfc3339(m.until_time), ' on')
       || CASE WHEN m.behind THEN '. It waits for the active run to end.' ELSE '.' END
FROM made m
RETURNING run_id;

-- name: find_active_run(company_id, source)
-- What stood in the way of a new run.
-- include: run_columns
WHERE r.company_id = :company_id::text AND r.source = :source::text AND r.state IN ('queued', 'running', 'waiting')
  AND NOT r.behind;

-- name: lock_source(company_id, source)
-- Held to the end of the transaction, so that runs which queue up are counted one after the other. No row: there is no
-- such source.
SELECT s.source FROM hookline.sources s
WHERE s.company_id = :company_id::text AND s.source = :source::text
FOR NO KEY UPDATE;

-- name: count_behind(company_id, source)
-- How many runs wait for the source's active one to end.
SELECT count(*)::int AS behind FROM hookline.sync_runs r
WHERE r.company_id = :company_id::text AND r.source = :source::text AND r.state = 'queued' AND r.behind;

-- name: lock_request(company_id, request_id)
-- Held to the end of the transaction: the same request at the same moment waits, and then finds the answer.
SELECT pg_advisory_xact_lock(hashtextextended(:company_id::text || ' ' || :request_id::text, 0));

-- name: find_request(company_id, request_id)
-- The run that the request was answered with.
-- include: run_columns
JOIN hookline.sync_requests q ON q.company_id = :company_id::text AND q.run_id = r.run_id
WHERE r.company_id = :company_id::text AND q.request_id = :request_id::text;

-- name: note_request(company_id, request_id, run_id)
-- What the request is answered with, now and whenever it comes again.
INSERT INTO hookline.sync_requests (company_id, request_id, run_id)
VALUES (:company_id::text, :request_id::text, :run_id::uuid)
RETURNING run_id;

-- name: get_run(company_id, run_id)
-- One run, as it is at this moment.
-- include: run_columns
WHERE r.company_id = :company_id::text AND r.run_id = :run_id::uuid;

-- name: list_runs(company_id, source, before_id, max_rows)
-- A page of runs, newest first: ids are version 7 UUIDs, in the order of creation.
-- include: run_columns
WHERE r.company_id = :company_id::text AND (:source::text IS NULL OR r.source = :source::text)
  AND (:before_id::uuid IS NULL OR r.run_id < :before_id::uuid)
ORDER BY r.run_id DESC
LIMIT :max_rows::int;

-- name: source_runs(company_id)
-- For each source its active run and its last run that has ended.
-- include: run_columns
WHERE r.company_id = :company_id::text AND r.run_id IN (
    SELECT latest.run_id
    FROM hookline.sources s
    CROSS JOIN LATERAL (
        (SELECT a.run_id FROM hookline.sync_runs a
         WHERE a.company_id = :company_id::text AND a.source = s.source
           AND a.state IN ('queued', 'running', 'waiting') AND NOT a.behind
         LIMIT 1)
        UNION ALL
        (SELECT e.run_id FROM hookline.sync_runs e
         WHERE e.company_id = :company_id::text AND e.source = s.source AND e.ended_time IS NOT NULL
         ORDER BY e.ended_time DESC, e.run_id DESC
         LIMIT 1)
    ) latest
    WHERE s.company_id = :company_id::text
);

-- name: source_health(company_id)
-- For each source: until when it is complete, and what went wrong since a run last succeeded; what waits; what needs a
-- person.
SELECT s.source, s.complete_until_time,
       (SELECT count(*) FROM hookline.sync_runs f
        WHERE f.company_id = :company_id::text AND f.source = s.source AND f.state IN ('failed', 'incomplete')
          AND (ok.run_id IS NULL OR f.run_id > ok.run_id))::int AS consecutive_failures,
       (SELECT count(*) FROM hookline.sync_runs b
        WHERE b.company_id = :company_id::text AND b.source = s.source AND b.state = 'queued' AND b.behind)::int
           AS queued_runs,
       (SELECT count(*) FROM hookline.alerts a
        WHERE a.company_id = :company_id::text AND a.source = s.source AND a.resolve_time IS NULL)::int AS open_alerts
FROM hookline.sources s
LEFT JOIN LATERAL (
    SELECT o.run_id FROM hookline.sync_runs o
    WHERE o.company_id = :company_id::text AND o.source = s.source AND o.state = 'succeeded'
    ORDER BY o.run_id DESC
    LIMIT 1
) ok ON true
WHERE s.company_id = :company_id::text;

-- name: cancel_run(company_id, run_id)
-- A run that no worker is at ends here; one that is being worked on is ended by its worker, which looks twice a second.
-- One that has ended stays as it is. The wish is told of once.
WITH was AS (
    SELECT r.run_id, r.cancel_requested FROM hookline.sync_runs r
    WHERE r.company_id = :company_id::text AND r.run_id = :run_id::uuid AND r.state IN ('queued', 'running', 'waiting')
    FOR UPDATE
), asked AS (
    UPDATE hookline.sync_runs r
    SET cancel_requested = true,
        state = CASE WHEN r.state = 'running' THEN r.state ELSE 'cancelled' END,
        ended_time = CASE WHEN r.state = 'running' THEN NULL ELSE clock_timestamp() END,
        next_attempt_time = NULL
    FROM was
    WHERE r.company_id = :company_id::text AND r.run_id = was.run_id
    RETURNING r.run_id, r.source, r.state, r.attempt, NOT was.cancel_requested AS is_new
), logged AS (
    INSERT INTO hookline.sync_log (company_id, run_id, attempt, level, code, message)
    SELECT :company_id::text, a.run_id, a.attempt, 'info', 'CANCEL_REQUESTED', 'Someone has asked for it to be cancelled.'
    FROM asked a WHERE a.is_new
)
SELECT a.source, a.state FROM asked a;
