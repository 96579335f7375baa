-- What a new holder of the lease has to know: the cursor, the journal's end, the orders set aside, and the server's timeline.
-- Indexes: publisher_cursor_pkey, order_event_pkey read backwards.
SELECT c.published_seq,
       coalesce((SELECT max(e.seq) FROM order_event e), 0) AS head,
       coalesce((SELECT array_agg(q.order_id) FROM quarantined_order q), '{}') AS quarantined,
       server_timeline() AS timeline
  FROM publisher_cursor c
