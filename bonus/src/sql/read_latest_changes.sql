-- The last $1 changes of customers' standings, the newest first. Index: customer_event_pkey, read backwards.
SELECT customer_id, event_type, payload ->> 'grade' AS grade, occurred_at
FROM customer_event
ORDER BY seq DESC
LIMIT $1
