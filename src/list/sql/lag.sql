-- How many events the list is behind the journal. Index: order_event_pkey read backwards.
SELECT coalesce((SELECT max(e.seq) FROM order_event e), 0) - c.projected_seq AS lag
  FROM projection_cursor c
 WHERE c.projection = 'order_summary'
