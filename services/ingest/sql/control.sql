-- name: create_endpoint(company_id, endpoint_id, source, platform, token_sha256, token_hint)
-- A new endpoint. Nobody can have asked for its token before: there is nothing to tell other processes.
INSERT INTO hookline.endpoints (company_id, endpoint_id, source, platform, token_sha256, token_hint)
VALUES (:company_id::text, :endpoint_id::uuid, :source::text, :platform::text, :token_sha256::bytea,
        :token_hint::text)
RETURNING endpoint_id, source, platform, token_hint, create_time, token_time, old_token_expire_time, revoke_time;

-- name: list_endpoints(company_id, after_id, max_rows)
-- In the order of making, which is that of the ids. An old token is shown while it is good.
SELECT endpoint_id, source, platform, token_hint, create_time, token_time,
       CASE WHEN old_token_expire_time > clock_timestamp() AND revoke_time IS NULL THEN old_token_expire_time END
           AS old_token_expire_time,
       revoke_time
FROM hookline.endpoints
WHERE company_id = :company_id::text AND (:after_id::uuid IS NULL OR endpoint_id > :after_id::uuid)
ORDER BY endpoint_id
LIMIT :max_rows::int;

-- name: rotate_endpoint(company_id, endpoint_id, token_sha256, token_hint, keep_old)
-- The new token takes the place of the one before, which is good for a while; an older one ends. Every process that
-- remembers one of them is told.
WITH rotated AS (
    UPDATE hookline.endpoints
    SET token_sha256 = :token_sha256::bytea, token_hint = :token_hint::text, token_time = clock_timestamp(),
        old_token_sha256 = CASE WHEN :keep_old::interval > interval '0' THEN token_sha256 END,
        old_token_expire_time = CASE WHEN :keep_old::interval > interval '0'
                                     THEN clock_timestamp() + :keep_old::interval END
    WHERE company_id = :company_id::text AND endpoint_id = :endpoint_id::uuid AND revoke_time IS NULL
    RETURNING endpoint_id, source, platform, token_hint, create_time, token_time, old_token_expire_time, revoke_time
)
SELECT r.endpoint_id, r.source, r.platform, r.token_hint, r.create_time, r.token_time, r.old_token_expire_time,
       r.revoke_time
FROM rotated r CROSS JOIN pg_notify('hookline_rules', :company_id::text);

-- name: revoke_endpoint(company_id, endpoint_id)
-- For good. The row stays: a platform that goes on sending is told that the endpoint is gone.
WITH revoked AS (
    UPDATE hookline.endpoints
    SET revoke_time = coalesce(revoke_time, clock_timestamp())
    WHERE company_id = :company_id::text AND endpoint_id = :endpoint_id::uuid
    RETURNING endpoint_id, source, platform, token_hint, create_time, token_time, revoke_time
)
SELECT r.endpoint_id, r.source, r.platform, r.token_hint, r.create_time, r.token_time,
       NULL::timestamptz AS old_token_expire_time, r.revoke_time
FROM revoked r CROSS JOIN pg_notify('hookline_rules', :company_id::text);

-- name: find_endpoint(company_id, token_sha256)
-- Whose token it is. Of a revoked endpoint both tokens are known for ever if they were good when it was revoked.
-- `seconds_left`: how long an old token is still good.
SELECT endpoint_id, source, platform, revoke_time IS NOT NULL AS revoked,
       CASE WHEN token_sha256 <> :token_sha256::bytea AND revoke_time IS NULL
            THEN extract(epoch FROM old_token_expire_time - clock_timestamp())::float8 END AS seconds_left
FROM hookline.endpoints
WHERE company_id = :company_id::text
  AND (token_sha256 = :token_sha256::bytea
       OR (old_token_sha256 = :token_sha256::bytea
           AND old_token_expire_time > coalesce(revoke_time, clock_timestamp())));

-- name: lock_signing_secret(company_id, source)
-- The secret in force, held until the transaction ends: whether the one to put is another can only be told here, since
-- each encryption gives another text.
SELECT secret
FROM hookline.signing_secrets
WHERE company_id = :company_id::text AND source = :source::text
FOR UPDATE;

-- name: put_signing_secret(company_id, source, secret, is_same, keep_old)
-- The secret before is good for a while, an older one ends. The same secret again (an answer was lost) must not push
-- out the one before; it can only shorten its time.
WITH put AS (
    INSERT INTO hookline.signing_secrets AS s (company_id, source, secret)
    VALUES (:company_id::text, :source::text, :secret::bytea)
    ON CONFLICT (company_id, source) DO UPDATE
    SET secret = excluded.secret, update_time = clock_timestamp(),
        old_secret = CASE WHEN :keep_old::interval <= interval '0' THEN NULL
                          WHEN :is_same::boolean THEN s.old_secret ELSE s.secret END,
        old_secret_expire_time = CASE WHEN :keep_old::interval <= interval '0' THEN NULL
                                      WHEN NOT :is_same::boolean THEN clock_timestamp() + :keep_old::interval
                                      WHEN s.old_secret IS NOT NULL
                                      THEN least(s.old_secret_expire_time, clock_timestamp() + :keep_old::interval)
                                 END
    RETURNING source, update_time, old_secret_expire_time
)
SELECT p.source, p.update_time,
       CASE WHEN p.old_secret_expire_time > clock_timestamp() THEN p.old_secret_expire_time END
           AS old_secret_expire_time
FROM put p CROSS JOIN pg_notify('hookline_rules', :company_id::text);

-- name: list_signing_secrets(company_id, after_source, max_rows)
-- Which sources have one. The secrets themselves only go to whoever verifies.
SELECT source, update_time,
       CASE WHEN old_secret_expire_time > clock_timestamp() THEN old_secret_expire_time END AS old_secret_expire_time
FROM hookline.signing_secrets
WHERE company_id = :company_id::text AND (:after_source::text IS NULL OR source > :after_source::text)
ORDER BY source
LIMIT :max_rows::int;

-- name: load_signing_secrets(company_id)
-- All that webhooks may be signed with now, for verifying.
SELECT source, secret, CASE WHEN old_secret_expire_time > clock_timestamp() THEN old_secret END AS old_secret,
       old_secret_expire_time
FROM hookline.signing_secrets
WHERE company_id = :company_id::text;

-- name: delete_signing_secret(company_id, source)
-- With the one before: nothing is verified any more.
WITH deleted AS (
    DELETE FROM hookline.signing_secrets
    WHERE company_id = :company_id::text AND source = :source::text
    RETURNING source
)
SELECT d.source FROM deleted d CROSS JOIN pg_notify('hookline_rules', :company_id::text);

-- name: lock_mappings(company_id)
-- Held to the end of the transaction: of two that put the hundredth mapping at once, one counts the other's.
SELECT pg_advisory_xact_lock(hashtextextended('hookline.platform_mappings ' || :company_id::text, 0));

-- name: put_mapping(company_id, mapping_name, mapping, most)
-- New, or in place of the one of that name. No row comes back when the company has `most` others.
WITH put AS (
    INSERT INTO hookline.platform_mappings (company_id, name, mapping)
    SELECT :company_id::text, :mapping_name::text, :mapping::text
    WHERE (SELECT count(*) FROM hookline.platform_mappings m
           WHERE m.company_id = :company_id::text AND m.name <> :mapping_name::text) < :most::int
    ON CONFLICT (company_id, name) DO UPDATE
    SET mapping = excluded.mapping, update_time = clock_timestamp()
    RETURNING name, mapping, update_time
)
SELECT p.name, p.mapping, p.update_time FROM put p CROSS JOIN pg_notify('hookline_rules', :company_id::text);

-- name: list_mappings(company_id)
-- A company's own, in the order in which they are tried.
SELECT name, mapping, update_time
FROM hookline.platform_mappings
WHERE company_id = :company_id::text
ORDER BY name;

-- name: delete_mapping(company_id, mapping_name)
-- A built-in one of that name is in force again, everywhere.
WITH deleted AS (
    DELETE FROM hookline.platform_mappings
    WHERE company_id = :company_id::text AND name = :mapping_name::text
    RETURNING name
)
SELECT d.name FROM deleted d CROSS JOIN pg_notify('hookline_rules', :company_id::text);
