-- One page of a customer's ledger, newest first.
-- Parameters: $1 customer id, $2 entry number that the page starts below, $3 most rows to return.
-- Index: ledger_customer_entry_idx.
SELECT entry_no, event_id, event_type, order_id, version, points, policy_version, occurred_at, booked_at
FROM ledger_entry
WHERE customer_id = $1 AND entry_no < $2
ORDER BY entry_no DESC
LIMIT $3
