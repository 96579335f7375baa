-- Looks again at accounts whose VIP status time may have changed: one transaction. The function is in the migration 0006.
-- Parameters: $1 most accounts; of the policy: $2 points of a VIP, $3 the window; $4 the moment, NULL: now.
-- Index: account_vip_review_idx.
SELECT reviewed, changed, points, vip_after
FROM sweep_vip($1, $2, $3, $4)
