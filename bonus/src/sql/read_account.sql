-- One customer's account, and until when the customer is VIP, as of now, by the account's policy. Parameters: $1 customer id.
-- Indexes: account_pkey, policy_pkey, ledger_customer_occurred_idx.
SELECT account.customer_id, account.points, standing.vip_until, account.policy_version, account.credited_events, account.opened_at,
       account.updated_at
FROM account
JOIN policy AS rules ON rules.version = account.policy_version
LEFT JOIN LATERAL vip_standing(account.customer_id, now(), rules) AS standing ON account.points >= rules.vip_points
WHERE account.customer_id = $1
