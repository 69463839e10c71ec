-- name: look()
-- Across companies: the reaper's. Whether there is anything to do, every second: one look at the first schedule in its
-- index, and at the few runs that are not at rest. now(), unlike a clock, can be looked for in an index.
SELECT count(*) FILTER (WHERE r.state = 'queued' AND NOT r.behind) AS queued,
       count(*) FILTER (WHERE r.behind) AS behind,
       count(*) FILTER (WHERE r.state = 'running') AS running,
       count(*) FILTER (WHERE r.state = 'waiting') AS waiting,
       coalesce(bool_or(
           (r.lease_until IS NULL OR r.lease_until < now())
           AND (r.deadline_time <= now() OR r.cancel_requested)
       ), false) AS any_to_end,
       (SELECT now() - min(s.next_run_time) FROM hookline.sources s WHERE s.next_run_time <= now()) AS schedule_lag
FROM hookline.sync_runs r
WHERE r.state IN ('queued', 'running', 'waiting');

-- name: claim_due(max_rows)
-- Across companies: the reaper's. Schedules that are due, the longest first, which nobody else moves until the
-- transaction ends. Those that another reaper is at are passed over. The time comes along: only the database's counts.
SELECT s.company_id, s.source, s.next_run_time, s.schedule_interval, s.schedule_cron, s.schedule_time_zone,
       s.schedule_jitter, s.schedule_start_time, now() AS now
FROM hookline.sources s
WHERE s.next_run_time <= now()
ORDER BY s.next_run_time
LIMIT :max_rows::int
FOR NO KEY UPDATE SKIP LOCKED;

-- name: fire(company_ids, sources, next_run_times, run_ids)
-- Across companies: the reaper's. Makes a run of each schedule that was claimed, and moves the schedules on. No run where
-- one is active: a unique index says so, whoever asks for one at the same moment. Unless that one reads up to an end only,
-- and so not what the schedule is for: then one of the schedule's waits behind it.
WITH due AS (
    SELECT u.company_id, u.source, u.next_run_time, u.run_id
    FROM unnest(:company_ids::text[], :sources::text[], :next_run_times::timestamptz[], :run_ids::uuid[])
        AS u (company_id, source, next_run_time, run_id)
), moved AS (
    UPDATE hookline.sources s SET next_run_time = due.next_run_time
    FROM due WHERE s.company_id = due.company_id AND s.source = due.source
), made AS (
    INSERT INTO hookline.sync_runs AS r (
        company_id, run_id, source, trigger, start_time, known_until_time, history, behind
    )
    SELECT i.company_id, i.run_id, i.source, 'schedule', i.incremental_start_time, i.known_until_time, i.history,
           i.behind
    FROM (
        SELECT s.company_id, due.run_id, s.source, b.run_id IS NOT NULL AS behind,
-- include: incremental_span
        FROM due
        JOIN hookline.sources s ON s.company_id = due.company_id AND s.source = due.source
        LEFT JOIN hookline.sync_runs b
            ON b.company_id = s.company_id AND b.source = s.source AND b.state IN ('queued', 'running', 'waiting')
            AND NOT b.behind AND b.until_time IS NOT NULL
        LEFT JOIN hookline.alerts g
            ON g.company_id = s.company_id AND g.source = s.source AND g.kind = 'gap_found' AND g.resolve_time IS NULL
        WHERE NOT EXISTS (
            SELECT FROM hookline.sync_runs w
            WHERE w.company_id = s.company_id AND w.source = s.source AND w.state = 'queued' AND w.behind
              AND w.trigger = 'schedule'
        )
    ) i
    ON CONFLICT DO NOTHING
    RETURNING r.company_id, r.run_id, r.source, r.start_time, r.behind
), logged AS (
    INSERT INTO hookline.sync_log (company_id, run_id, attempt, level, code, message)
    SELECT m.company_id, m.run_id, 0, 'info', 'RUN_CREATED',
           'Its schedule was due. It pulls what is dated from ' || hookline.rfc3339(m.start_time) || ' on.'
           || CASE WHEN m.behind THEN ' It waits for the active run to end, and goes first then.' ELSE '' END
    FROM made m
)
SELECT m.company_id, m.run_id, m.source FROM made m;

-- name: note_merged(company_ids, sources, messages, most_entries)
-- Across companies: the reaper's. Tells in the log of the run that reads what the schedule is for, active or the
-- schedule's own that waits behind another, why its source got no other one.
INSERT INTO hookline.sync_log (company_id, run_id, attempt, level, code, message)
SELECT r.company_id, r.run_id, r.attempt, 'info', 'SCHEDULE_MERGED', due.message
FROM unnest(:company_ids::text[], :sources::text[], :messages::text[]) AS due (company_id, source, message)
JOIN hookline.sync_runs r ON r.company_id = due.company_id AND r.source = due.source
WHERE r.state IN ('queued', 'running', 'waiting') AND r.until_time IS NULL
  AND (NOT r.behind OR r.trigger = 'schedule')
  AND (SELECT count(*) FROM hookline.sync_log l WHERE l.company_id = r.company_id AND l.run_id = r.run_id)
      < :most_entries::int
RETURNING company_id, run_id;

-- name: postpone(company_id, source, wait)
-- A schedule of which no run can be made: looked at again later, so that it does not stand in the way of the others.
UPDATE hookline.sources
SET next_run_time = clock_timestamp() + :wait::interval
WHERE company_id = :company_id::text AND source = :source::text AND next_run_time IS NOT NULL
RETURNING source;

-- name: let_go(max_rows)
-- Across companies: the reaper's. Of the runs that wait behind another of their source, lets the schedule's go, else the
-- oldest, where no other is active any more. Should another run of the source be made at this very moment, a unique index lets only one of them
-- through.
WITH found AS MATERIALIZED (
    SELECT b.company_id, b.run_id
    FROM hookline.sync_runs b
    WHERE b.state = 'queued' AND b.behind
      AND NOT EXISTS (
          SELECT FROM hookline.sync_runs o
          WHERE o.company_id = b.company_id AND o.source = b.source AND o.state IN ('queued', 'running', 'waiting')
            AND (NOT o.behind
                 OR (o.trigger <> 'schedule', o.run_id) < (b.trigger <> 'schedule', b.run_id))
      )
    LIMIT :max_rows::int
    FOR NO KEY UPDATE OF b SKIP LOCKED
), gone AS (
    UPDATE hookline.sync_runs r
    SET behind = false, kicked_time = NULL, let_go_time = clock_timestamp()
    FROM found f
    WHERE r.company_id = f.company_id AND r.run_id = f.run_id
    RETURNING r.company_id, r.run_id, r.attempt
), logged AS (
    INSERT INTO hookline.sync_log (company_id, run_id, attempt, level, code, message)
    SELECT g.company_id, g.run_id, g.attempt, 'info', 'RUN_LET_GO',
           'The run that it waited behind has ended: it waits for a worker now.'
    FROM gone g
)
SELECT g.company_id, g.run_id FROM gone g;

-- name: runs_to_end(max_rows)
-- Across companies: the reaper's. Runs that no worker has and that should have ended: by their deadline, or cancelled
-- while their worker died.
SELECT r.company_id, r.run_id
FROM hookline.sync_runs r
WHERE r.state IN ('queued', 'running', 'waiting')
  AND (r.lease_until IS NULL OR r.lease_until < now())
  AND (r.deadline_time <= now() OR r.cancel_requested)
LIMIT :max_rows::int;

-- name: end_run(company_id, run_id, error)
-- Ends one of those, if it still is one. A run that was to be cancelled is, whatever else there is to say of it.
UPDATE hookline.sync_runs r
SET state = (CASE WHEN r.cancel_requested THEN 'cancelled' ELSE 'failed' END)::hookline.sync_run_state,
    error = CASE WHEN r.cancel_requested THEN r.error ELSE :error::text END,
    lease_until = NULL, next_attempt_time = NULL, ended_time = clock_timestamp()
WHERE r.company_id = :company_id::text AND r.run_id = :run_id::uuid AND r.state IN ('queued', 'running', 'waiting')
  AND (r.lease_until IS NULL OR r.lease_until < clock_timestamp())
  AND (r.deadline_time <= clock_timestamp() OR r.cancel_requested)
RETURNING r.source, r.state, r.error;

-- name: take_kicks(again_after, max_rows)
-- Across companies: the reaper's. Runs that a worker should be told of: never told, told so long ago that the message
-- must be lost, due again, or left by a worker whose lease is over. Told means noted here first: a message that is lost
-- after that is sent again later. Rows that another reaper is at are passed over. Materialized: joined in another way, the
-- planner may ask for them more than once, and each time take others.
WITH found AS MATERIALIZED (
    SELECT company_id, run_id FROM hookline.sync_runs
    WHERE state IN ('queued', 'running', 'waiting') AND NOT behind AND NOT cancel_requested
      AND (kicked_time IS NULL OR kicked_time < now() - :again_after::interval)
      AND (state = 'queued'
           OR (state = 'waiting' AND next_attempt_time <= now())
           OR (state = 'running' AND lease_until < now()))
    ORDER BY kicked_time NULLS FIRST
    LIMIT :max_rows::int
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE hookline.sync_runs r
SET kicked_time = clock_timestamp()
FROM found k
WHERE r.company_id = k.company_id AND r.run_id = k.run_id
RETURNING r.company_id, r.run_id;

-- name: is_before_others(company_id, waited)
-- Across companies: the reaper's. Workers ask it: whether a run of this company goes before those that wait. Not where
-- another company has fewer runs under way, and one that was told of so long ago that every worker must be busy.
SELECT NOT EXISTS (
    SELECT FROM hookline.sync_runs o
    WHERE o.company_id <> :company_id::text AND o.state IN ('queued', 'running', 'waiting') AND NOT o.behind
      AND (o.state = 'queued' OR (o.state = 'waiting' AND o.next_attempt_time <= now()))
      AND NOT o.cancel_requested AND o.kicked_time < now() - :waited::interval
      AND (SELECT count(*) FROM hookline.sync_runs t
           WHERE t.company_id = o.company_id AND t.state = 'running')
          < (SELECT count(*) FROM hookline.sync_runs m
             WHERE m.company_id = :company_id::text AND m.state = 'running')
) AS is_before;

-- name: forget_kicks(company_ids, run_ids)
-- Across companies: the reaper's. Noted as told, and then Redis was away: told again as soon as it is back.
UPDATE hookline.sync_runs r SET kicked_time = NULL
FROM unnest(:company_ids::text[], :run_ids::uuid[]) AS u (company_id, run_id)
WHERE r.company_id = u.company_id AND r.run_id = u.run_id AND r.state IN ('queued', 'running', 'waiting')
RETURNING r.run_id;

-- name: note_kick(company_id, run_id)
-- Told by whoever made the run, at once: the reaper need not.
UPDATE hookline.sync_runs r SET kicked_time = clock_timestamp()
WHERE r.company_id = :company_id::text AND r.run_id = :run_id::uuid AND r.state = 'queued'
RETURNING r.run_id;

-- name: remove_runs(kept, max_rows)
-- Across companies: the reaper's. Removes a batch of runs that ended long ago, with their logs and all, but for each
-- source's last one, its last one that succeeded, and what open alerts tell of. Those that another scheduler is at are
-- passed over.
WITH old AS MATERIALIZED (
    SELECT r.company_id, r.run_id
    FROM hookline.sync_runs r
    WHERE r.ended_time < now() - :kept::interval
      AND EXISTS (
          SELECT FROM hookline.sync_runs l
          WHERE l.company_id = r.company_id AND l.source = r.source AND l.ended_time IS NOT NULL
            AND (l.ended_time, l.run_id) > (r.ended_time, r.run_id)
      )
      AND (r.state <> 'succeeded' OR EXISTS (
          SELECT FROM hookline.sync_runs l
          WHERE l.company_id = r.company_id AND l.source = r.source AND l.state = 'succeeded' AND l.run_id > r.run_id
      ))
      AND NOT EXISTS (
          SELECT FROM hookline.alerts a
          WHERE a.company_id = r.company_id AND a.source = r.source AND a.run_id = r.run_id AND a.resolve_time IS NULL
      )
    LIMIT :max_rows::int
    FOR UPDATE OF r SKIP LOCKED
)
DELETE FROM hookline.sync_runs d
USING old
WHERE d.company_id = old.company_id AND d.run_id = old.run_id
RETURNING d.company_id, d.run_id;

-- name: remove_alerts(kept, max_rows)
-- Across companies: the reaper's. Removes a batch of alerts that were over long ago, with how they were told.
WITH old AS MATERIALIZED (
    SELECT a.company_id, a.alert_id
    FROM hookline.alerts a
    WHERE a.resolve_time < now() - :kept::interval
    LIMIT :max_rows::int
    FOR UPDATE OF a SKIP LOCKED
)
DELETE FROM hookline.alerts d
USING old
WHERE d.company_id = old.company_id AND d.alert_id = old.alert_id
RETURNING d.company_id, d.alert_id;
