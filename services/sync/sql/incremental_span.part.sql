               -- Where a run that is told no span begins: at what was read last, less the look-back; and what was known
               -- by then. The time of an event, never of a clock, but for the very first run.
               coalesce(s.synced_time - s.look_back, clock_timestamp() - interval '30 days') AS incremental_start_time,
               s.synced_time AS known_until_time
