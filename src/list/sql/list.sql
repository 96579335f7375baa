-- A page of orders, newest first.
-- $1 customer or NULL, $2 status or NULL, $3 created at this time or later, or NULL, $4 created before this time, or NULL,
-- $5 and $6 only orders behind this time of creation and position, or NULL, $7 page size.
-- Index: order_summary_customer_created_idx, order_summary_status_created_idx or order_summary_created_idx.
SELECT order_id, customer_id, status, currency, items::text AS items, total_minor, version, created_seq, created_at, updated_at
  FROM order_summary
 WHERE ($1::uuid IS NULL OR customer_id = $1)
   AND ($2::text IS NULL OR status = $2)
   AND ($3::timestamptz IS NULL OR created_at >= $3)
   AND ($4::timestamptz IS NULL OR created_at < $4)
   AND ($5::timestamptz IS NULL OR (created_at, created_seq) < ($5, $6::bigint))
 ORDER BY created_at DESC, created_seq DESC
 LIMIT $7
