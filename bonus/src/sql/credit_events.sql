-- Books a batch of events and changes the accounts accordingly: one transaction. The function is in the migration 0006.
-- Parameters: parallel arrays, one element an event: $1 event ids, $2 order ids, $3 versions, $4 customer ids,
-- $5 event types, $6 points (0 for a cancellation), $7 occurred at; of the policy: $8 version, $9 points from which on each grade
-- but the lowest holds, $10 points of a VIP, $11 the window; $12 the moment for which VIP is decided, NULL: now.
SELECT new_events, new_points, cancelled, forked, booked, changed, points_before, points_after, vip_before, vip_after
FROM credit_events($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
