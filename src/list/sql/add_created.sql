-- Adds the orders created in positions ($1, $2]. Index: order_event_pkey.
INSERT INTO order_summary
       (order_id, customer_id, status, currency, items, total_minor, version, created_seq, created_at, updated_at)
SELECT e.order_id, (e.payload ->> 'customer_id')::uuid, 'created', e.payload ->> 'currency', e.payload -> 'items',
       (e.payload ->> 'total_minor')::bigint, e.version, e.seq, e.occurred_at, e.occurred_at
  FROM order_event e
 WHERE e.seq > $1 AND e.seq <= $2 AND e.event_type = 'OrderCreated'
    ON CONFLICT (order_id) DO NOTHING
