-- As add_created.sql, for a range in which that fails: passes over creations of which the list cannot be filled, as another version of the
-- service may write them. Index: order_event_pkey.
INSERT INTO order_summary
       (order_id, customer_id, status, currency, items, total_minor, version, created_seq, created_at, updated_at)
SELECT e.order_id, (e.payload ->> 'customer_id')::uuid, 'created', e.payload ->> 'currency', e.payload -> 'items',
       (e.payload ->> 'total_minor')::bigint, e.version, e.seq, e.occurred_at, e.occurred_at
  FROM order_event e
 WHERE e.seq > $1 AND e.seq <= $2 AND e.event_type = 'OrderCreated'
   -- CASE, because conditions are evaluated in any order.
   AND CASE WHEN json_typeof(e.payload) = 'object'
            THEN e.payload ->> 'customer_id' ~ '^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$'
                 AND e.payload ->> 'currency' IS NOT NULL
                 AND e.payload -> 'items' IS NOT NULL
                 AND e.payload ->> 'total_minor' ~ '^[0-9]{1,18}$'
       END
    ON CONFLICT (order_id) DO NOTHING
