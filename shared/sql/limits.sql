-- name: load_limits()
-- Of all companies at once: few have limits of their own, and a process must know them before the first call.
SELECT company_id, requests_per_second, events_per_second, bytes_per_second, concurrent_exports
FROM hookline.company_limits;

-- name: put_limits(company_id, requests_per_second, events_per_second, bytes_per_second, concurrent_exports)
-- Limits of a company's own, in place of those before. NULL: as for every company.
INSERT INTO hookline.company_limits
    (company_id, requests_per_second, events_per_second, bytes_per_second, concurrent_exports)
VALUES (:company_id::text, :requests_per_second::float8, :events_per_second::float8, :bytes_per_second::float8,
        :concurrent_exports::int)
ON CONFLICT (company_id) DO UPDATE
SET requests_per_second = excluded.requests_per_second, events_per_second = excluded.events_per_second,
    bytes_per_second = excluded.bytes_per_second, concurrent_exports = excluded.concurrent_exports,
    update_time = clock_timestamp()
RETURNING company_id;

-- name: find_limits(company_id)
-- A company's own limits, if it has some.
SELECT requests_per_second, events_per_second, bytes_per_second, concurrent_exports
FROM hookline.company_limits
WHERE company_id = :company_id::text
FOR UPDATE;

-- name: delete_limits(company_id)
-- As for every company again.
DELETE FROM hookline.company_limits WHERE company_id = :company_id::text RETURNING company_id;
