-- The orders set aside, the oldest first, at most $1. Index: quarantined_event_order_idx.
SELECT o.order_id, o.error, o.since, o.released_at,
       (SELECT count(*) FROM quarantined_event e WHERE e.order_id = o.order_id) AS waiting_events,
       (SELECT min(e.seq) FROM quarantined_event e WHERE e.order_id = o.order_id) AS first_waiting_seq
  FROM quarantined_order o
 ORDER BY o.since
 LIMIT $1
