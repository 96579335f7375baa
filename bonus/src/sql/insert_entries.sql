-- Books a batch of events, each at most once in the life of the ledger.
-- Parameters: parallel arrays, one element an event: $1 event ids, $2 order ids, $3 versions, $4 customer ids,
-- $5 event types, $6 points, $7 occurred at; $8 policy version.
-- Returns a row for each event that was new. ON CONFLICT without a target: a repeated event id and a second event for the
-- same version of an order are both refused quietly (ledger_pkey, ledger_order_version_key).
-- ORDER BY: two processes that book the same events meet in the same order and wait for each other instead of deadlocking.
INSERT INTO ledger (event_id, order_id, version, customer_id, event_type, points, policy_version, occurred_at)
SELECT event_id, order_id, version, customer_id, event_type, points, $8, occurred_at
FROM UNNEST($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[], $5::text[], $6::bigint[], $7::timestamptz[])
    AS event (event_id, order_id, version, customer_id, event_type, points, occurred_at)
ORDER BY event_id
ON CONFLICT DO NOTHING
RETURNING customer_id, points
