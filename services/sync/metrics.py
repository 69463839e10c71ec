"""What Prometheus is told of sync. docs/operating.md says how to read it."""

from prometheus_client import Counter, Gauge

RUNS_ENDED = Counter("hookline_sync_runs_ended", "Runs that this process has ended.", ["state"])
PAGES = Counter("hookline_sync_pages", "Pages of history that this process has stored.")
RETRIES = Counter("hookline_sync_retries", "Requests to platforms that this process has made again.")
SCHEDULES_FIRED = Counter(
    "hookline_sync_schedules_fired", "Due schedules that this process has dealt with.", ["result"]
)

# Of the whole database: each scheduler tells the same. Take one of them (max), not their sum.
RUNS = Gauge("hookline_sync_runs", "Runs that have not ended, of all companies.", ["state"])
SCHEDULE_LAG = Gauge("hookline_sync_schedule_lag_seconds", "How long the schedule that is due longest has been due.")
