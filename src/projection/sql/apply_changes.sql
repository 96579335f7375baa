-- Brings orders to the last of their changes in positions ($1, $2]. Index: order_event_pkey, order_summary_pkey.
UPDATE order_summary s
   SET status = change.status, version = change.version, updated_at = change.occurred_at
  FROM (SELECT DISTINCT ON (e.order_id)
               e.order_id, e.version, e.occurred_at,
               CASE e.event_type
                    WHEN 'OrderPaid' THEN 'paid'
                    WHEN 'OrderShipped' THEN 'shipped'
                    WHEN 'OrderCompleted' THEN 'completed'
                    WHEN 'OrderCancelled' THEN 'cancelled'
               END AS status
          FROM order_event e
         WHERE e.seq > $1 AND e.seq <= $2 AND e.event_type <> 'OrderCreated'
         ORDER BY e.order_id, e.version DESC) AS change
 WHERE s.order_id = change.order_id AND s.version < change.version
