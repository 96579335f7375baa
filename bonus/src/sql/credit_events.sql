-- Books a batch of events and changes the accounts accordingly: one transaction. The function is in the migration 0003.
-- Parameters: parallel arrays, one element an event: $1 event ids, $2 order ids, $3 versions, $4 customer ids,
-- $5 event types, $6 points (0 for a cancellation), $7 occurred at; $8 policy version.
SELECT new_events, new_points, cancelled, forked, booked
FROM credit_events($1, $2, $3, $4, $5, $6, $7, $8)
