-- Accounts whose standing has changed in this transaction: what their events say. $1 customer ids. Index: account_pkey.
SELECT customer_id, points, policy_version, vip_review_at
FROM account
WHERE customer_id = ANY ($1)
