-- Books a batch of events and changes the accounts accordingly, by the policy in force: one transaction. The function is in the
-- migration 0008. Parameters: parallel arrays, one element an event: $1 event ids, $2 order ids, $3 versions, $4 customer ids,
-- $5 event types, $6 occurred at; $7 versions of the policy that this program knows; $8 the moment for which VIP is decided, NULL: now.
SELECT new_events, new_points, cancelled, forked, booked, changed, grade_before, grade_after, vip_before, vip_after
FROM credit_events($1, $2, $3, $4, $5, $6, $7, $8)
