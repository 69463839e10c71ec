-- name: lock_schedule(company_id, source)
-- The source as it stays until the transaction ends: neither another caller nor a reaper moves its schedule meanwhile.
-- Runs can be made of it all the same. The time comes along, so that only the database's clock counts.
SELECT
    -- include: source_columns
    , clock_timestamp() AS now
FROM hookline.sources
WHERE company_id = :company_id::text AND source = :source::text
FOR NO KEY UPDATE;

-- name: set_schedule(company_id, source, every, cron, time_zone, jitter, start, paused, due)
-- All of a schedule at once; when it is due next was worked out beforehand, by the rules of `cadence`.
UPDATE hookline.sources
SET schedule_interval = :every::interval, schedule_cron = :cron::text, schedule_time_zone = :time_zone::text,
    schedule_jitter = :jitter::interval, schedule_start_time = :start::timestamptz,
    schedule_paused_time = :paused::timestamptz, next_run_time = :due::timestamptz
WHERE company_id = :company_id::text AND source = :source::text
RETURNING
    -- include: source_columns
;

-- name: stop_schedule(company_id, source)
-- A run under way goes on.
UPDATE hookline.sources
SET schedule_interval = NULL, schedule_cron = NULL, schedule_time_zone = 'UTC', schedule_jitter = interval '0',
    schedule_start_time = NULL, schedule_paused_time = NULL, next_run_time = NULL
WHERE company_id = :company_id::text AND source = :source::text
RETURNING
    -- include: source_columns
;
