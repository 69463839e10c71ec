-- Companies kept apart: tokens, limits, an audit trail, erasure of persons, and a second wall for people and tools.
-- Control tables (api_tokens, company_limits, audit_log, erasures, readers) stay in one place even when the events are
-- distributed.

-- What callers prove themselves with. Of a token only the SHA-256 is kept, and its end, to tell tokens apart. A token
-- begins with its company, so that looking one up names the company like every other statement.
CREATE TABLE hookline.api_tokens (
    company_id text COLLATE "C" NOT NULL,
    -- A version 7 UUID: its order is the order of making.
    token_id uuid NOT NULL,
    token_sha256 bytea NOT NULL CHECK (octet_length(token_sha256) = 32),
    token_hint text NOT NULL,
    -- What it is for, for a person.
    name text NOT NULL,
    scopes text[] NOT NULL CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY ['ingest', 'sync', 'export', 'admin']),
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    expire_time timestamptz,
    revoke_time timestamptz,
    -- To the minute or so.
    last_used_time timestamptz,
    PRIMARY KEY (company_id, token_id)
);
CREATE UNIQUE INDEX api_tokens_token ON hookline.api_tokens (company_id, token_sha256);

-- Where a company's limits differ from the settings. NULL: they don't.
CREATE TABLE hookline.company_limits (
    company_id text COLLATE "C" PRIMARY KEY,
    requests_per_second double precision CHECK (requests_per_second > 0),
    events_per_second double precision CHECK (events_per_second > 0),
    bytes_per_second double precision CHECK (bytes_per_second > 0),
    concurrent_exports integer CHECK (concurrent_exports > 0),
    update_time timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Who did what. Append-only; holds no personal data.
CREATE TABLE hookline.audit_log (
    company_id text COLLATE "C" NOT NULL,
    entry bigint GENERATED ALWAYS AS IDENTITY,
    log_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- "token …abcd (name)", "operator", or "anonymous" where tokens are off.
    actor text NOT NULL,
    -- What was done, such as EVENTS_EXPORTED or TOKEN_REVOKED.
    action text COLLATE "C" NOT NULL,
    -- To what: a source, a token, an endpoint.
    subject text NOT NULL DEFAULT '',
    details jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(details) = 'object'),
    PRIMARY KEY (company_id, entry)
);

-- Against mistakes, not against who owns the table.
CREATE FUNCTION hookline.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%.% is only added to', TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END
$$;
CREATE TRIGGER audit_log_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON hookline.audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION hookline.refuse_change();

-- That a person was erased, and how much that was; not who.
CREATE TABLE hookline.erasures (
    company_id text COLLATE "C" NOT NULL,
    erasure_id uuid NOT NULL,
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    end_time timestamptz,
    events bigint NOT NULL DEFAULT 0,
    quarantined bigint NOT NULL DEFAULT 0,
    conflicts bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (company_id, erasure_id)
);

-- Events whose person was erased: what they were about is gone, their place in the log is not.
ALTER TABLE hookline.events ADD COLUMN erase_time timestamptz;
