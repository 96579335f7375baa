-- Events in positions ($1, $2] that the list was not told of, by type: another version of the service wrote them.
-- Index: order_event_pkey, order_summary_pkey.
SELECT e.event_type, count(*) AS events, min(e.seq) AS first_seq
  FROM order_event e
 WHERE e.seq > $1 AND e.seq <= $2
   AND (e.event_type NOT IN ('OrderCreated', 'OrderPaid', 'OrderShipped', 'OrderCompleted', 'OrderCancelled')
        OR e.event_type = 'OrderCreated' AND NOT EXISTS (SELECT FROM order_summary s WHERE s.order_id = e.order_id))
 GROUP BY e.event_type
