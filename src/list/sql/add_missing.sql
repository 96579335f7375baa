-- Adds to the list what only the one that was derived anew has. Index: order_summary_pkey, or none: it reads all.
INSERT INTO order_summary
       (order_id, customer_id, status, currency, items, total_minor, version, created_seq, created_at, updated_at)
SELECT r.order_id, r.customer_id, r.status, r.currency, r.items, r.total_minor, r.version, r.created_seq, r.created_at, r.updated_at
  FROM order_summary_rebuilt r
 WHERE NOT EXISTS (SELECT FROM order_summary s WHERE s.order_id = r.order_id)
