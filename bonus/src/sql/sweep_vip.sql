-- Looks again at accounts whose VIP status time may have changed: one transaction. The function is in the migration 0008.
-- Parameters: $1 most accounts, $2 versions of the policy that this program knows, $3 the moment, NULL: now.
-- Index: account_vip_review_idx.
SELECT reviewed, changed, grade_before, grade_after, vip_before, vip_after
FROM sweep_vip($1, $2, $3)
