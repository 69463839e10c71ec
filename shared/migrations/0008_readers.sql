-- A second wall, for the roles of people and dashboards: whoever is not the owner of these tables sees the rows of the
-- companies that the role is bound to, and of no other. `python -m services admin reader` makes such roles.
--
-- The services' own role owns the tables and is not held back: under a policy @> and @@ can't be index conditions, which
-- makes searching hundreds of times slower. That each of their statements names one company is proven by parsing them.

-- Which role reads which company. For the owner only.
CREATE TABLE hookline.readers (
    company_id text COLLATE "C" NOT NULL,
    role_name name NOT NULL,
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (company_id, role_name)
);

-- By who has logged in, not by SET ROLE or by any setting that a session could change.
CREATE FUNCTION hookline.readable_companies() RETURNS text[]
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT coalesce(array_agg(company_id), '{}') FROM hookline.readers WHERE role_name = session_user
$$;

-- Every table of companies is closed; those that tell of what happened, without secrets, are opened for reading.
DO $$
DECLARE
    company_table regclass;
    readable text[] := ARRAY [
        'companies', 'events', 'event_status', 'unprocessed', 'quarantine', 'event_conflicts', 'sources', 'sync_runs',
        'sync_log', 'sync_reconciliations', 'sync_differences', 'alerts', 'platform_mappings', 'audit_log'
    ];
BEGIN
    FOR company_table IN
        SELECT c.oid FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'company_id'
        WHERE c.relnamespace = 'hookline'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', company_table);
    END LOOP;
    FOR i IN 1 .. cardinality(readable) LOOP
        -- The inner SELECT has it asked once for a statement, not once for a row.
        EXECUTE format(
            'CREATE POLICY readers ON hookline.%I FOR SELECT USING (company_id = ANY ((SELECT hookline.readable_companies())::text[]))',
            readable[i]
        );
    END LOOP;
END
$$;

-- Searching for readers, at the speed of the index: what the payload contains, of the companies that the caller may read,
-- newest first. Checks for itself what the policies can't check fast.
CREATE FUNCTION hookline.events_containing(contained jsonb, most integer DEFAULT 100) RETURNS SETOF hookline.events
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    -- Materialized: left alone, the planner walks the log instead.
    WITH found AS MATERIALIZED (
        SELECT e.* FROM hookline.events e
        WHERE e.company_id = ANY (hookline.readable_companies()) AND e.payload OPERATOR(pg_catalog.@>) contained
    )
    SELECT f.* FROM found f ORDER BY f.received_time DESC, f.sequence DESC LIMIT least(most, 10000)
$$;

-- The same for words of the customer's and the product's name.
CREATE FUNCTION hookline.events_naming(typed text, most integer DEFAULT 100) RETURNS SETOF hookline.events
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    WITH found AS MATERIALIZED (
        SELECT e.* FROM hookline.events e
        WHERE e.company_id = ANY (hookline.readable_companies())
          AND to_tsvector('simple', coalesce(e.customer_name, '') || ' ' || coalesce(e.product_name, ''))
              OPERATOR(pg_catalog.@@) hookline.words(typed)
    )
    SELECT f.* FROM found f ORDER BY f.received_time DESC, f.sequence DESC LIMIT least(most, 10000)
$$;

-- Functions are anybody's unless taken away.
REVOKE EXECUTE ON FUNCTION
    hookline.readable_companies(), hookline.events_containing(jsonb, integer), hookline.events_naming(text, integer)
FROM PUBLIC;
