-- Brings orders to the last of their changes in positions ($1, $2]. An event of a type that this version does not know changes the order's
-- version and time, and leaves its status as it was. Index: order_event_pkey, order_summary_pkey.
UPDATE order_summary s
   SET status = coalesce(change.statuses[1], s.status), version = change.version, updated_at = change.occurred_at
  FROM (SELECT known.order_id,
               max(known.version) AS version,
               (array_agg(known.occurred_at ORDER BY known.version DESC))[1] AS occurred_at,
               array_agg(known.status ORDER BY known.version DESC) FILTER (WHERE known.status IS NOT NULL) AS statuses
          FROM (SELECT e.order_id, e.version, e.occurred_at,
                       CASE e.event_type
                            WHEN 'OrderPaid' THEN 'paid'
                            WHEN 'OrderShipped' THEN 'shipped'
                            WHEN 'OrderCompleted' THEN 'completed'
                            WHEN 'OrderCancelled' THEN 'cancelled'
                       END AS status
                  FROM order_event e
                 WHERE e.seq > $1 AND e.seq <= $2 AND e.event_type <> 'OrderCreated') AS known
         GROUP BY known.order_id) AS change
 WHERE s.order_id = change.order_id AND s.version < change.version
