-- The cancellations that orders have been booked with. Parameters: $1 order ids. Index: ledger_order_version_key.
SELECT order_id, version
FROM ledger
WHERE order_id = ANY ($1::uuid[]) AND event_type = 'OrderCancelled'
