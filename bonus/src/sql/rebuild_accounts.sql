-- Derives accounts anew, one step in one transaction. The function is in the migration 0009. Parameters: $1 by which policy, $2 the
-- first customer, $3 only accounts that are by another policy, $4 change nothing, $5 most accounts, $6 most ledger rows,
-- $7 the moment for which VIP is decided, NULL: now. Indexes: account_pkey, ledger_customer_occurred_idx.
SELECT next_at, looked_at, different, policy_before, points_before, points_after, events_before, events_after, grade_before, grade_after,
       vip_before, vip_after
FROM rebuild_accounts($1, $2, $3, $4, $5, $6, $7)
