-- name: allow_writing()!
-- First in a transaction over a connection that is read-only by default: that an export begins is written down, too.
SET TRANSACTION READ WRITE;

-- name: record_audit(company_id, actor, action, subject, details)
-- One entry more. Nothing ever changes one or takes it away.
INSERT INTO hookline.audit_log (company_id, actor, action, subject, details)
VALUES (:company_id::text, :actor::text, :action::text, :subject::text, :details::jsonb)
RETURNING entry;

-- name: list_audit(company_id, action, before_entry, max_rows)
-- Newest first: in the falling order of the entries' numbers.
SELECT entry, log_time, actor, action, subject, details
FROM hookline.audit_log
WHERE company_id = :company_id::text
  AND (:action::text IS NULL OR action = :action::text)
  AND (:before_entry::bigint IS NULL OR entry < :before_entry::bigint)
ORDER BY entry DESC
LIMIT :max_rows::int;
