-- name: list_run_log(company_id, run_id, after, max_rows)
-- What happened to a run, in order, after an entry.
SELECT l.entry, l.logged_time, l.attempt, l.level, l.code, l.message
FROM hookline.sync_log l
WHERE l.company_id = :company_id::text AND l.run_id = :run_id::uuid AND l.entry > :after::bigint
ORDER BY l.entry
LIMIT :max_rows::int;

-- name: log_end(company_id, run_id, level, message)
-- The last thing that is told of a run.
INSERT INTO hookline.sync_log (company_id, run_id, attempt, level, code, message)
SELECT :company_id::text, r.run_id, r.attempt, :level::text, 'RUN_ENDED', :message::text
FROM hookline.sync_runs r
WHERE r.company_id = :company_id::text AND r.run_id = :run_id::uuid
RETURNING entry;
