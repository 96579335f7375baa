-- A released order with nothing left in the quarantine is well again. Index: quarantined_event_order_idx.
DELETE FROM quarantined_order o
 WHERE o.released_at IS NOT NULL
   AND NOT EXISTS (SELECT FROM quarantined_event e WHERE e.order_id = o.order_id)
