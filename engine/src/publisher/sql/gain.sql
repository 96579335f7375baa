-- What a new holder of the lease has to know: the cursor, the journal's end, the aggregates set aside, and the server's timeline.
-- Indexes: publisher_cursor_pkey, aggregate_event_pkey read backwards.
SELECT c.published_seq,
       coalesce((SELECT max(e.seq) FROM aggregate_event e), 0) AS head,
       coalesce((SELECT array_agg(q.aggregate_id) FROM quarantined_aggregate q), '{}') AS quarantined,
       server_timeline() AS timeline
  FROM publisher_cursor c
