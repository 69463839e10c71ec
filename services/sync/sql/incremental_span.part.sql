               -- Where a run that is told no span begins: at what was read last, less the look-back; and what was known
               -- by then. The time of an event, never of a clock, but while nothing is read: then 30 days ago, or where a
               -- gap begins (`g`, the source's open alert of one) that was found since then.
               coalesce(s.synced_time - s.look_back, least(clock_timestamp() - interval '30 days', g.gap_start_time))
                   AS incremental_start_time,
               s.synced_time AS known_until_time, s.history
