SELECT r.company_id, r.run_id, r.source, r.state, r.trigger, r.start_time, r.until_time, r.created_time, r.ended_time,
       r.behind, r.attempt, r.next_attempt_time, r.deadline_time, r.error, r.synced_time, r.windows, r.windows_done,
       r.window_start_time, r.window_until_time, r.said, r.pages, r.fetched, r.accepted, r.duplicates, r.quarantined,
       r.rejected, r.retries, r.late, r.cancel_requested, c.reconciled_time, c.listed, c.stored, c.missing, c.unlisted
FROM hookline.sync_runs r
LEFT JOIN hookline.sync_reconciliations c ON c.company_id = :company_id::text AND c.run_id = r.run_id
