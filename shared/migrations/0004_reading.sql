-- What reading needs to know of a company beside its log.

-- How often something of the company has been erased from its log: what was read, cached or handed out as a token
-- before is good no longer.
ALTER TABLE hookline.companies ADD COLUMN erasure_epoch bigint NOT NULL DEFAULT 0 CHECK (erasure_epoch >= 0);
