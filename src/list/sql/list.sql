-- A page of orders, newest first.
-- $1 customer or NULL, $2 status or NULL, $3 only orders created before this position or NULL, $4 page size.
-- Index: order_summary_customer_idx, order_summary_status_idx or order_summary_newest_idx.
SELECT order_id, customer_id, status, currency, items::text AS items, total_minor, version, created_seq, created_at, updated_at
  FROM order_summary
 WHERE ($1::uuid IS NULL OR customer_id = $1)
   AND ($2::text IS NULL OR status = $2)
   AND ($3::bigint IS NULL OR created_seq < $3)
 ORDER BY created_seq DESC
 LIMIT $4
