-- What is booked of one order. Parameters: $1 order id. Index: ledger_order_version_key.
SELECT entry_no, event_id, event_type, order_id, version, points, policy_version, occurred_at, booked_at
FROM ledger_entry
WHERE order_id = $1
ORDER BY version
