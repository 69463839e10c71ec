-- name: create_source(company_id, source, platform, base_url, credential, parameters, look_back, run_deadline)
-- No row comes back when there is a source of that name: it stays as it is.
INSERT INTO hookline.sources (
    company_id, source, platform, base_url, credential, parameters, look_back, run_deadline
)
VALUES (
    :company_id::text, :source::text, :platform::text, :base_url::text, :credential::bytea, :parameters::jsonb,
    :look_back::interval, :run_deadline::interval
)
ON CONFLICT (company_id, source) DO NOTHING
RETURNING
    -- include: source_columns
;

-- name: update_source(company_id, source, base_url, credential, parameters, look_back, run_deadline)
-- What is NULL stays as it is. Runs under way go on with what they began with.
UPDATE hookline.sources
SET base_url = coalesce(:base_url::text, base_url),
    credential = coalesce(:credential::bytea, credential),
    parameters = coalesce(:parameters::jsonb, parameters),
    look_back = coalesce(:look_back::interval, look_back),
    run_deadline = coalesce(:run_deadline::interval, run_deadline)
WHERE company_id = :company_id::text AND source = :source::text
RETURNING
    -- include: source_columns
;

-- name: get_source(company_id, source)
-- Without the credential: only whoever pulls gets that.
SELECT
    -- include: source_columns
FROM hookline.sources
WHERE company_id = :company_id::text AND source = :source::text;

-- name: list_sources(company_id)
-- Without the credentials: only whoever pulls gets those.
SELECT
    -- include: source_columns
FROM hookline.sources
WHERE company_id = :company_id::text
ORDER BY source;

-- name: source_secret(company_id, source)
-- A source with its credential, for pulling.
SELECT source, platform, base_url, credential, parameters
FROM hookline.sources
WHERE company_id = :company_id::text AND source = :source::text;

-- name: own_platforms(company_id)
-- The company's own mappings: they come before the built-in ones of the same names.
SELECT name, mapping
FROM hookline.platform_mappings
WHERE company_id = :company_id::text
ORDER BY name;

-- name: own_platform(company_id, platform)
-- One of the company's own mappings.
SELECT mapping
FROM hookline.platform_mappings
WHERE company_id = :company_id::text AND name = :platform::text;

-- name: delete_source(company_id, source)
-- Not while a run is active, or waits behind one: its worker would go on with a row that is gone. The check and the
-- deletion are one statement; a run that slips in between them is deleted too, and fenced as any run that is gone.
DELETE FROM hookline.sources s
WHERE s.company_id = :company_id::text AND s.source = :source::text
  AND NOT EXISTS (
      SELECT FROM hookline.sync_runs r
      WHERE r.company_id = :company_id::text AND r.source = :source::text AND r.state IN ('queued', 'running', 'waiting')
  )
RETURNING s.source;
