-- What lies in quarantine and was not verified when it came must not become an event by being tried again.
ALTER TABLE hookline.quarantine
    -- Whether it may become one without a signature: it had the right one when it came, or nothing asked for one. Of the
    -- rows of before nobody knows.
    ADD COLUMN trusted boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN hookline.quarantine.payload_sha256 IS
    'Of the payload; where names or headers that tell one event from another came along, of them too.';
