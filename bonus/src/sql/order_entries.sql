-- What orders have been booked so far, for the cancellations of a batch.
-- Parameters: $1 order ids. Index: ledger_order_version_key.
-- A statement of its own after the awards were inserted: its snapshot then includes rows of another process that the insert
-- has just waited for.
SELECT order_id, customer_id, version, points
FROM ledger
WHERE order_id = ANY ($1::uuid[])
ORDER BY order_id, version
