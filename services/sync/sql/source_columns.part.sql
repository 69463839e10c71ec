    company_id, source, platform, base_url, parameters, created_time, look_back, run_deadline, synced_time,
    schedule_interval, schedule_cron, schedule_time_zone, schedule_jitter, schedule_start_time, schedule_paused_time,
    next_run_time
