       -- The number of the event `one.event_id`, while it is in the log. Its id begins with its time (the first 32 bits
       -- count 2^16 milliseconds), and so tells in which month's partition it lies: nobody has to ask all of them,
       -- unless a clock was wrong.
       coalesce(
           (SELECT e.sequence FROM hookline.events e
            WHERE e.company_id = :company_id::text AND e.event_id = one.event_id
              AND e.received_time
                  > to_timestamp(('x' || left(one.event_id::text, 8))::bit(32)::bigint * float8 '65.536')
                    - interval '1 day'
              AND e.received_time
                  < to_timestamp(('x' || left(one.event_id::text, 8))::bit(32)::bigint * float8 '65.536')
                    + interval '1 day'),
           (SELECT e.sequence FROM hookline.events e
            WHERE e.company_id = :company_id::text AND e.event_id = one.event_id)
       ) AS sequence
