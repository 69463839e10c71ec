-- name: create_source(company_id, source, platform, base_url, credential, parameters)
-- No row comes back when there is a source of that name: it stays as it is.
INSERT INTO hookline.sources (company_id, source, platform, base_url, credential, parameters)
VALUES (:company_id::text, :source::text, :platform::text, :base_url::text, :credential::bytea, :parameters::jsonb)
ON CONFLICT (company_id, source) DO NOTHING
RETURNING company_id, source, platform, base_url, parameters, created_time, schedule_interval, next_run_time;

-- name: list_sources(company_id)
-- Without the credentials: only whoever pulls gets those.
SELECT company_id, source, platform, base_url, parameters, created_time, schedule_interval, next_run_time
FROM hookline.sources
WHERE company_id = :company_id::text
ORDER BY source;

-- name: source_secret(company_id, source)
-- A source with its credential, for pulling.
SELECT platform, base_url, credential, parameters
FROM hookline.sources
WHERE company_id = :company_id::text AND source = :source::text;

-- name: delete_source(company_id, source)
-- Not while a run is active: its worker would go on with a row that is gone. The check and the deletion are one
-- statement; a run that slips in between them is deleted too, and fenced as any run that is gone.
DELETE FROM hookline.sources s
WHERE s.company_id = :company_id::text AND s.source = :source::text
  AND NOT EXISTS (
      SELECT FROM hookline.sync_runs r
      WHERE r.company_id = :company_id::text AND r.source = :source::text AND r.state IN ('queued', 'running', 'waiting')
  )
RETURNING s.source;
