-- One page of a customer's ledger, newest event first.
-- Parameters: $1 customer id; the page starts below $2 occurred at (NULL: at the newest) and $3 entry number; $4 most rows to return.
-- Index: ledger_customer_occurred_idx; entries of one moment are sorted.
SELECT entry_no, event_id, event_type, order_id, version, points, policy_version, occurred_at, booked_at
FROM ledger_entry
WHERE customer_id = $1 AND (occurred_at, entry_no) < (coalesce($2, 'infinity'), $3)
ORDER BY occurred_at DESC, entry_no DESC
LIMIT $4
