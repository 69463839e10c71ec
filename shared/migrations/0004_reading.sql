-- What reading needs to know of a company beside its log.

-- How often something of the company has been erased from its log: what was read, cached or handed out as a token
-- before is good no longer.
ALTER TABLE hookline.companies ADD COLUMN erasure_epoch bigint NOT NULL DEFAULT 0 CHECK (erasure_epoch >= 0);

-- A time in RFC 3339, to the microsecond, as the clocks of a zone showed it.
CREATE FUNCTION hookline.rfc3339(moment timestamptz, zone text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT to_char(moment AT TIME ZONE zone, 'YYYY-MM-DD"T"HH24:MI:SS.US')
        || CASE WHEN ahead < interval '0' THEN '-' ELSE '+' END
        || to_char(greatest(ahead, -ahead), 'HH24:MI')
    FROM (SELECT (moment AT TIME ZONE zone) - (moment AT TIME ZONE 'UTC') AS ahead) AS clocks
$$;

-- What a person types to find names: every word, the last of them perhaps only begun. A text without a word finds none.
CREATE FUNCTION hookline.words(typed text) RETURNS tsquery
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN numnode(whole) > 0 THEN (whole::text || ':*')::tsquery ELSE whole END
    FROM (SELECT plainto_tsquery('simple', typed) AS whole) AS words
$$;
