-- name: open_alert(company_id, alert_id, kind, source, run_id, message, gap_start_time)
-- One open alert for each kind and source: what is seen again is counted on the one that is open. The id that comes
-- back is the given one when the alert is new.
INSERT INTO hookline.alerts AS a (company_id, alert_id, kind, source, run_id, message, gap_start_time)
VALUES (:company_id::text, :alert_id::uuid, :kind::text, :source::text, :run_id::uuid, :message::text,
        :gap_start_time::timestamptz)
ON CONFLICT (company_id, source, kind) WHERE resolve_time IS NULL
DO UPDATE SET run_id = excluded.run_id, message = excluded.message, last_time = clock_timestamp(), times = a.times + 1,
              gap_start_time = least(a.gap_start_time, excluded.gap_start_time)
RETURNING alert_id;

-- name: resolve_alerts(company_id, source, kinds)
-- What was wrong with the source is over. Of two that say so at the same moment, one gets the row.
UPDATE hookline.alerts a
SET resolve_time = clock_timestamp()
WHERE a.company_id = :company_id::text AND a.source = :source::text AND a.kind = ANY(:kinds::text[])
  AND a.resolve_time IS NULL
RETURNING a.alert_id;

-- name: close_gap(company_id, source, run_id)
-- A run without a gap has read everything again from where something was missing, up to when that was seen last.
UPDATE hookline.alerts a
SET resolve_time = clock_timestamp()
FROM hookline.sync_runs r
WHERE a.company_id = :company_id::text AND a.source = :source::text AND a.kind = 'gap_found' AND a.resolve_time IS NULL
  AND r.company_id = :company_id::text AND r.run_id = :run_id::uuid AND r.start_time <= a.gap_start_time
  AND (r.until_time IS NULL OR r.until_time >= a.last_time)
RETURNING a.alert_id;

-- name: run_start(company_id, run_id)
-- From where on a run has read.
SELECT r.start_time FROM hookline.sync_runs r
WHERE r.company_id = :company_id::text AND r.run_id = :run_id::uuid;

-- name: failures_in_a_row(company_id, source)
-- How many runs have failed since one last succeeded.
SELECT count(*)::int AS failures
FROM hookline.sync_runs f
WHERE f.company_id = :company_id::text AND f.source = :source::text AND f.state = 'failed'
  AND f.run_id > coalesce(
      (SELECT o.run_id FROM hookline.sync_runs o
       WHERE o.company_id = :company_id::text AND o.source = :source::text AND o.state = 'succeeded'
       ORDER BY o.run_id DESC
       LIMIT 1),
      '00000000-0000-0000-0000-000000000000');

-- name: channels_to_tell(company_id)
-- Whoever is told that an alert opens. Locked, so that none is gone before its delivery is noted.
SELECT c.channel
FROM hookline.alert_channels c
WHERE c.company_id = :company_id::text
ORDER BY c.channel
FOR KEY SHARE;

-- name: channels_told(company_id, alert_id)
-- Whoever is told that an alert is over: those that were told, or are being told, that it opened. A channel made since
-- then does not know of it. Locked, so that none is gone before its delivery is noted.
SELECT c.channel
FROM hookline.alert_channels c
WHERE c.company_id = :company_id::text
  AND EXISTS (
      SELECT FROM hookline.alert_deliveries d
      WHERE d.company_id = :company_id::text AND d.alert_id = :alert_id::uuid AND d.channel = c.channel
        AND d.news = 'opened'
  )
ORDER BY c.channel
FOR KEY SHARE OF c;

-- name: queue_deliveries(company_id, alert_id, news, channels, delivery_ids)
-- In the transaction that opens or resolves the alert: what is not stored is not told, and what is stored is.
INSERT INTO hookline.alert_deliveries (company_id, delivery_id, channel, alert_id, news)
SELECT :company_id::text, told.delivery_id, told.channel, :alert_id::uuid, :news::text
FROM unnest(:channels::text[], :delivery_ids::uuid[]) AS told (channel, delivery_id)
RETURNING delivery_id;

-- name: list_alerts(company_id, source, open_only, before_id, max_rows)
-- A page of alerts, newest first: ids are version 7 UUIDs, in the order of opening.
SELECT a.company_id, a.alert_id, a.kind, a.source, a.run_id, a.message, a.open_time, a.last_time, a.times,
       a.resolve_time
FROM hookline.alerts a
WHERE a.company_id = :company_id::text AND (:source::text IS NULL OR a.source = :source::text)
  AND (NOT :open_only::boolean OR a.resolve_time IS NULL)
  AND (:before_id::uuid IS NULL OR a.alert_id < :before_id::uuid)
ORDER BY a.alert_id DESC
LIMIT :max_rows::int;

-- name: list_deliveries(company_id, alert_ids)
-- How far the channels have been told of the alerts of a page, in the order of telling.
SELECT d.alert_id, d.channel, d.news, d.attempts, d.delivered_time, d.next_attempt_time, d.error
FROM hookline.alert_deliveries d
WHERE d.company_id = :company_id::text AND d.alert_id = ANY(:alert_ids::uuid[])
ORDER BY d.delivery_id;

-- name: create_channel(company_id, channel, webhook_url, email, secret, most)
-- No row comes back when there is a channel of that name, which stays as it is; or as many as there may be. Calls that
-- come at the same moment don't see each other's, and may go beyond that by one each: it is no harm.
INSERT INTO hookline.alert_channels (company_id, channel, webhook_url, email, secret)
SELECT :company_id::text, :channel::text, :webhook_url::text, :email::text, :secret::bytea
WHERE (SELECT count(*) FROM hookline.alert_channels c WHERE c.company_id = :company_id::text) < :most::int
ON CONFLICT (company_id, channel) DO NOTHING
RETURNING company_id, channel, webhook_url, email, secret, create_time;

-- name: list_channels(company_id)
-- All of a company's, by name.
SELECT c.company_id, c.channel, c.webhook_url, c.email, c.secret, c.create_time
FROM hookline.alert_channels c
WHERE c.company_id = :company_id::text
ORDER BY c.channel;

-- name: get_channel(company_id, channel)
-- One channel, to deliver a test to.
SELECT c.company_id, c.channel, c.webhook_url, c.email, c.secret, c.create_time
FROM hookline.alert_channels c
WHERE c.company_id = :company_id::text AND c.channel = :channel::text;

-- name: delete_channel(company_id, channel)
-- With what it was to be told yet.
DELETE FROM hookline.alert_channels c
WHERE c.company_id = :company_id::text AND c.channel = :channel::text
RETURNING c.channel;

-- name: end_delivery(company_id, delivery_id, attempts, delivered, retry_in, error)
-- How a try went: told, to be tried again, or given up (neither). Only whoever has made the last try says so: one that
-- was frozen beyond its lease changes nothing any more.
UPDATE hookline.alert_deliveries d
SET delivered_time = CASE WHEN :delivered::boolean THEN clock_timestamp() END,
    next_attempt_time = clock_timestamp() + :retry_in::interval,
    error = :error::text
WHERE d.company_id = :company_id::text AND d.delivery_id = :delivery_id::uuid AND d.attempts = :attempts::int
  AND d.delivered_time IS NULL
RETURNING d.delivery_id;
