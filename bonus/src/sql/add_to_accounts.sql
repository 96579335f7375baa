-- Adds what was newly booked to the accounts, opening those that are missing.
-- Parameters: parallel arrays, one element a customer: $1 customer ids, $2 points (negative takes back), $3 numbers of events.
-- Index: account_pkey. ORDER BY: every process locks accounts in the same order, so none can deadlock with another.
INSERT INTO account (customer_id, points, credited_events)
SELECT customer_id, points, credited_events
FROM UNNEST($1::uuid[], $2::bigint[], $3::bigint[]) AS change (customer_id, points, credited_events)
ORDER BY customer_id
ON CONFLICT (customer_id) DO UPDATE
SET points = account.points + EXCLUDED.points,
    credited_events = account.credited_events + EXCLUDED.credited_events,
    updated_at = now()
