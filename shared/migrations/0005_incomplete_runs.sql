-- A run that read less than the source says it has. On its own, since a transaction that adds a value to an enum can't
-- use it yet.

ALTER TYPE hookline.sync_run_state ADD VALUE 'incomplete' AFTER 'succeeded';
