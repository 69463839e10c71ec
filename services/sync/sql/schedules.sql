-- name: start_schedule(company_id, source, every)
-- The first run is due at once.
UPDATE hookline.sources
SET schedule_interval = :every::interval, next_run_time = clock_timestamp()
WHERE company_id = :company_id::text AND source = :source::text
RETURNING company_id, source, platform, base_url, parameters, created_time, schedule_interval, next_run_time;

-- name: stop_schedule(company_id, source)
-- A run under way goes on.
UPDATE hookline.sources
SET schedule_interval = NULL, next_run_time = NULL
WHERE company_id = :company_id::text AND source = :source::text
RETURNING company_id, source, platform, base_url, parameters, created_time, schedule_interval, next_run_time;
