-- How a company's events come in: its endpoints, the secrets its webhooks are signed with, its own platform mappings; and
-- what it takes to work through the quarantine. Control tables (endpoints, signing_secrets, platform_mappings) stay in
-- one place even when the events are distributed.

-- What happened in the platform's own words. NULL where `type` is in them already: most rows then carry nothing more.
ALTER TABLE hookline.events ADD COLUMN platform_type text COLLATE "C";

ALTER TABLE hookline.quarantine
    -- As the sender named them, empty where it did not: what is tried again is tried as it came.
    ADD COLUMN named_source text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN named_platform text COLLATE "C" NOT NULL DEFAULT '',
    -- Those that some mapping reads, by their names in lower case; never one that proves the sender.
    ADD COLUMN headers jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(headers) = 'object'),
    ADD COLUMN discarded_time timestamptz,
    ADD COLUMN discard_reason text,
    ADD CONSTRAINT quarantine_discarded CHECK ((discarded_time IS NULL) = (discard_reason IS NULL));
-- What the rows of before tell of it.
UPDATE hookline.quarantine
SET named_source = CASE WHEN source IN (platform, 'unknown') THEN '' ELSE source END,
    named_platform = CASE WHEN reason = 'PLATFORM_UNKNOWN' THEN platform ELSE '' END;
-- Lists and retries of a source's, a platform's or a reason's.
CREATE INDEX quarantine_source ON hookline.quarantine (company_id, source, quarantine_id);
CREATE INDEX quarantine_platform ON hookline.quarantine (company_id, platform, quarantine_id);
CREATE INDEX quarantine_reason ON hookline.quarantine (company_id, reason, quarantine_id);
COMMENT ON COLUMN hookline.quarantine.payload_sha256 IS
    'Of the payload; where names or headers came along, of them too: with others it may be another event.';

-- What came under the key of one event.
CREATE INDEX event_conflicts_event ON hookline.event_conflicts (company_id, event_id);

-- The URLs that platforms send webhooks to. Of a token only the SHA-256 is kept, and its end, to tell tokens apart. A
-- token begins with its company, so that looking one up names the company like every other statement.
CREATE TABLE hookline.endpoints (
    company_id text COLLATE "C" NOT NULL,
    -- A version 7 UUID: its order is the order of making.
    endpoint_id uuid NOT NULL,
    source text COLLATE "C" NOT NULL,
    -- Empty: payloads are recognised by their shape.
    platform text COLLATE "C" NOT NULL,
    token_sha256 bytea NOT NULL CHECK (octet_length(token_sha256) = 32),
    token_hint text NOT NULL,
    token_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The token before, and until when it is good.
    old_token_sha256 bytea CHECK (octet_length(old_token_sha256) = 32),
    old_token_expire_time timestamptz,
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoke_time timestamptz,
    PRIMARY KEY (company_id, endpoint_id),
    CONSTRAINT endpoints_old_token CHECK ((old_token_sha256 IS NULL) = (old_token_expire_time IS NULL))
);
-- What the door asks when it does not remember a token.
CREATE UNIQUE INDEX endpoints_token ON hookline.endpoints (company_id, token_sha256);
CREATE INDEX endpoints_old_token ON hookline.endpoints (company_id, old_token_sha256);

-- The secrets that a source's webhooks are signed with, encrypted with a key that PostgreSQL never sees.
CREATE TABLE hookline.signing_secrets (
    company_id text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    secret bytea NOT NULL,
    -- The secret before, and until when it is good.
    old_secret bytea,
    old_secret_expire_time timestamptz,
    update_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (company_id, source),
    CONSTRAINT signing_secrets_old_secret CHECK ((old_secret IS NULL) = (old_secret_expire_time IS NULL))
);

-- Platform mappings of a company's own, as TOML.
CREATE TABLE hookline.platform_mappings (
    company_id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    mapping text NOT NULL,
    update_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (company_id, name)
);
