-- name: create_token(company_id, token_id, token_sha256, token_hint, token_name, scopes, lasts)
-- A new token. Nobody can have asked for it before: there is nothing to tell other processes.
INSERT INTO hookline.api_tokens (company_id, token_id, token_sha256, token_hint, name, scopes, expire_time)
VALUES (:company_id::text, :token_id::uuid, :token_sha256::bytea, :token_hint::text, :token_name::text,
        :scopes::text[], clock_timestamp() + :lasts::interval)
RETURNING token_id, token_hint, name, scopes, create_time, expire_time, revoke_time, last_used_time;

-- name: list_tokens(company_id)
-- All that a company ever had, in the order of making, which is that of the ids.
SELECT token_id, token_hint, name, scopes, create_time, expire_time, revoke_time, last_used_time
FROM hookline.api_tokens
WHERE company_id = :company_id::text
ORDER BY token_id;

-- name: revoke_token(company_id, token_id)
-- For good. Every process that remembers it is told.
WITH revoked AS (
    UPDATE hookline.api_tokens
    SET revoke_time = coalesce(revoke_time, clock_timestamp())
    WHERE company_id = :company_id::text AND token_id = :token_id::uuid
    RETURNING token_id, token_hint, name, scopes, create_time, expire_time, revoke_time, last_used_time
)
SELECT r.token_id, r.token_hint, r.name, r.scopes, r.create_time, r.expire_time, r.revoke_time, r.last_used_time
FROM revoked r CROSS JOIN pg_notify('hookline_tokens', :company_id::text);

-- name: find_token(company_id, token_sha256)
-- A token that is good now, and for how many seconds it still is. NULL: until it is revoked.
SELECT token_id, token_hint, name, scopes, extract(epoch FROM expire_time - clock_timestamp())::float8 AS seconds_left
FROM hookline.api_tokens
WHERE company_id = :company_id::text AND token_sha256 = :token_sha256::bytea AND revoke_time IS NULL
  AND (expire_time IS NULL OR expire_time > clock_timestamp());

-- name: note_tokens_used(company_id, token_ids, at_most_every)
-- To the minute or so. Of several processes that saw the same token the first one writes, the others leave the row alone.
UPDATE hookline.api_tokens
SET last_used_time = clock_timestamp()
WHERE company_id = :company_id::text AND token_id = ANY (:token_ids::uuid[])
  AND (last_used_time IS NULL OR last_used_time < clock_timestamp() - :at_most_every::interval)
RETURNING token_id;
