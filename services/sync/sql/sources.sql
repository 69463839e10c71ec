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
-- What is NULL stays as it is. With another address or other parameters it is another history, of which nothing is read
-- yet: what runs of before say is not taken for it, and the next run begins 30 days ago, or where the last one came to
-- if that is earlier. An attempt that is under way goes on with what it began with; the next one reads anew.
UPDATE hookline.sources
SET base_url = coalesce(:base_url::text, base_url),
    credential = coalesce(:credential::bytea, credential),
    parameters = coalesce(:parameters::jsonb, parameters),
    history = history + (base_url <> coalesce(:base_url::text, base_url)
                         OR parameters <> coalesce(:parameters::jsonb, parameters))::int,
    complete_until_time = CASE WHEN base_url = coalesce(:base_url::text, base_url)
                                AND parameters = coalesce(:parameters::jsonb, parameters) THEN complete_until_time END,
    synced_time = CASE WHEN base_url = coalesce(:base_url::text, base_url)
                        AND parameters = coalesce(:parameters::jsonb, parameters)
                         OR synced_time - coalesce(:look_back::interval, look_back)
                            < clock_timestamp() - interval '30 days' THEN synced_time END,
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
SELECT source, platform, base_url, credential, parameters, history
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

-- name: is_active(company_id, source)
-- Whether the source can't be deleted now.
SELECT EXISTS (
    SELECT FROM hookline.sync_runs r
    WHERE r.company_id = :company_id::text AND r.source = :source::text AND r.state IN ('queued', 'running', 'waiting')
) AS is_active;

-- name: delete_runs(company_id, source, max_rows)
-- A batch of a source's runs that have ended, with their logs and all, before the source itself is deleted: it may have
-- had more of them than one statement has time for.
DELETE FROM hookline.sync_runs d
WHERE d.company_id = :company_id::text AND d.run_id IN (
    SELECT r.run_id FROM hookline.sync_runs r
    WHERE r.company_id = :company_id::text AND r.source = :source::text AND r.ended_time IS NOT NULL
    LIMIT :max_rows::int
)
RETURNING d.run_id;

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
