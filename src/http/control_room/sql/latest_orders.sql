-- The newest orders of the list, each with how many of its events await publication. $1 most rows.
-- deferred_event is empty while every partition takes events. Index: order_summary_newest_idx, order_event_order_version_key,
-- quarantined_event_order_idx.
SELECT s.order_id, s.status, s.currency, s.total_minor, s.version, s.created_at,
       (SELECT count(*) FROM order_event e WHERE e.order_id = s.order_id AND e.seq > c.published_seq)
       + (SELECT count(*) FROM quarantined_event q WHERE q.order_id = s.order_id AND q.seq <= c.published_seq)
       + (SELECT count(*) FROM deferred_event d WHERE d.order_id = s.order_id AND d.seq <= c.published_seq)
       AS waiting_events
  FROM order_summary s
 CROSS JOIN publisher_cursor c
 ORDER BY s.created_seq DESC
 LIMIT $1
