-- One customer's account, and until when the customer is VIP, as of now. Parameters: $1 customer id; of the policy: $2 points of a
-- VIP, $3 the window. Indexes: account_pkey, ledger_customer_occurred_idx.
SELECT account.customer_id, account.points, standing.vip_until, account.credited_events, account.opened_at, account.updated_at
FROM account
LEFT JOIN LATERAL vip_standing(account.customer_id, now(), $2, $3) AS standing ON account.points >= $2
WHERE account.customer_id = $1
