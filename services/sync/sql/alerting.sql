-- name: open_overdue(alert_ids, overdue, not_made, not_begun)
-- Across companies: the reaper's. Opens an alert for each source whose schedule is overdue and that has none, as many as
-- there are ids. Processes that find the same source wait for each other at the index of open alerts, always in the same
-- order; one gets the row. now(), unlike a clock, can be looked for in an index.
WITH late AS (
    SELECT s.company_id, s.source, NULL::uuid AS run_id
    FROM hookline.sources s
    WHERE s.next_run_time < now() - :overdue::interval
    UNION ALL
    SELECT r.company_id, r.source, r.run_id
    FROM hookline.sync_runs r
    WHERE r.state = 'queued' AND r.trigger = 'schedule' AND r.attempt = 0 AND NOT r.behind
      AND coalesce(r.let_go_time, r.created_time) < now() - :overdue::interval
), new AS (
    SELECT DISTINCT ON (l.company_id, l.source) l.company_id, l.source, l.run_id
    FROM late l
    WHERE NOT EXISTS (
        SELECT FROM hookline.alerts a
        WHERE a.company_id = l.company_id AND a.source = l.source AND a.kind = 'schedule_overdue'
          AND a.resolve_time IS NULL
    )
    ORDER BY l.company_id, l.source, l.run_id
    LIMIT cardinality(:alert_ids::uuid[])
), numbered AS (
    SELECT n.company_id, n.source, n.run_id, row_number() OVER (ORDER BY n.company_id, n.source) AS position
    FROM new n
)
INSERT INTO hookline.alerts (company_id, alert_id, kind, source, run_id, message)
SELECT n.company_id, ids.alert_id, 'schedule_overdue', n.source, n.run_id,
       CASE WHEN n.run_id IS NULL THEN :not_made::text ELSE :not_begun::text END
FROM numbered n JOIN unnest(:alert_ids::uuid[]) WITH ORDINALITY AS ids (alert_id, position) USING (position)
ORDER BY n.position
ON CONFLICT (company_id, source, kind) WHERE resolve_time IS NULL DO NOTHING
RETURNING company_id, alert_id, source;

-- name: resolve_overdue(max_rows)
-- Across companies: the reaper's. Resolves the alerts of schedules that are overdue no more: a worker has begun the run,
-- or no run is due any more. Alerts that another process is at are passed over. Materialized, here and below: the limit
-- and the locks are taken once, whatever the join becomes.
WITH over AS MATERIALIZED (
    SELECT o.company_id, o.alert_id
    FROM hookline.alerts o
    WHERE o.kind = 'schedule_overdue' AND o.resolve_time IS NULL
      AND NOT EXISTS (
          SELECT FROM hookline.sources s
          WHERE s.company_id = o.company_id AND s.source = o.source AND s.next_run_time < now()
      )
      AND NOT EXISTS (
          SELECT FROM hookline.sync_runs r
          WHERE r.company_id = o.company_id AND r.source = o.source AND r.state = 'queued' AND r.trigger = 'schedule'
            AND r.attempt = 0 AND NOT r.behind
      )
    ORDER BY o.company_id, o.alert_id
    LIMIT :max_rows::int
    FOR UPDATE OF o SKIP LOCKED
)
UPDATE hookline.alerts a
SET resolve_time = clock_timestamp()
FROM over
WHERE a.company_id = over.company_id AND a.alert_id = over.alert_id AND a.resolve_time IS NULL
RETURNING a.company_id, a.alert_id, a.source;

-- name: take_deliveries(lease, max_rows, most_each, companies, counts)
-- Across companies: the reaper's. Gives deliveries that are due to this process, until the lease is over: should it die,
-- another takes them then. Those that another process is at are passed over. That an alert is over is told only when
-- nothing is left to be told of it from before. Each company's first ones go before anybody's second ones; with those
-- that this process has under way (the counts, by company) no company gets more than :most_each.
WITH ranked AS (
    SELECT w.company_id, w.delivery_id, w.next_attempt_time,
           coalesce(b.count, 0)
           + row_number() OVER (PARTITION BY w.company_id ORDER BY w.next_attempt_time, w.delivery_id) AS place
    FROM hookline.alert_deliveries w
    LEFT JOIN unnest(:companies::text[], :counts::int[]) AS b (company_id, count) ON b.company_id = w.company_id
    WHERE w.next_attempt_time <= now()
      AND NOT EXISTS (
          SELECT FROM hookline.alert_deliveries e
          WHERE e.company_id = w.company_id AND e.alert_id = w.alert_id AND e.channel = w.channel
            AND e.news = 'opened' AND w.news = 'resolved' AND e.next_attempt_time IS NOT NULL
      )
), due AS MATERIALIZED (
    SELECT l.company_id, l.delivery_id
    FROM ranked r
    JOIN hookline.alert_deliveries l ON l.company_id = r.company_id AND l.delivery_id = r.delivery_id
    -- Looked at again once it is locked: another process may have taken it meanwhile.
    WHERE r.place <= :most_each::int AND l.next_attempt_time <= now()
    ORDER BY r.place, r.next_attempt_time
    LIMIT :max_rows::int
    FOR UPDATE OF l SKIP LOCKED
)
UPDATE hookline.alert_deliveries d
SET attempts = d.attempts + 1, next_attempt_time = clock_timestamp() + :lease::interval
FROM due
JOIN hookline.alert_deliveries t ON t.company_id = due.company_id AND t.delivery_id = due.delivery_id
JOIN hookline.alert_channels c ON c.company_id = t.company_id AND c.channel = t.channel
JOIN hookline.alerts a ON a.company_id = t.company_id AND a.alert_id = t.alert_id
WHERE d.company_id = due.company_id AND d.delivery_id = due.delivery_id
RETURNING d.company_id, d.delivery_id, d.channel, d.news, d.attempts, c.webhook_url, c.email, c.secret, c.create_time,
          a.alert_id, a.kind, a.source, a.run_id, a.message, a.open_time, a.last_time, a.times, a.resolve_time;
