-- What a new holder of the lease has to know: the cursor, the journal's end, and the orders set aside.
-- Indexes: publisher_cursor_pkey, order_event_pkey read backwards.
SELECT c.published_seq,
       coalesce((SELECT max(e.seq) FROM order_event e), 0) AS head,
       coalesce((SELECT array_agg(q.order_id) FROM quarantined_order q), '{}') AS quarantined
  FROM publisher_cursor c
