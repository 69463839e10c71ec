    -- What happened since the worker wrote last. Only with the write that it comes along with.
    INSERT INTO hookline.sync_log (company_id, run_id, attempt, level, code, message)
    SELECT :company_id::text, h.run_id, :attempt::int, l.level, l.code, l.message
    FROM held h
    CROSS JOIN unnest(:log_levels::text[], :log_codes::text[], :log_messages::text[]) WITH ORDINALITY
        AS l (level, code, message, position)
    ORDER BY l.position
