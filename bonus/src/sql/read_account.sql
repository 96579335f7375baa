-- One customer's account. Parameters: $1 customer id. Index: account_pkey.
SELECT customer_id, points, credited_events, opened_at, updated_at
FROM account
WHERE customer_id = $1
