-- Books awards, each at most once in the life of the ledger, and adds the new ones to the accounts: a whole transaction in one statement.
-- Parameters as in insert_entries.sql; what it and add_to_accounts.sql say of conflicts and locks holds here too.
-- Returns how many were new, and their points.
WITH entry AS (
    INSERT INTO ledger (event_id, order_id, version, customer_id, event_type, points, policy_version, occurred_at)
    SELECT event_id, order_id, version, customer_id, event_type, points, $8, occurred_at
    FROM UNNEST($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[], $5::text[], $6::bigint[], $7::timestamptz[])
        AS event (event_id, order_id, version, customer_id, event_type, points, occurred_at)
    ORDER BY event_id
    ON CONFLICT DO NOTHING
    RETURNING customer_id, points
), opened_or_changed AS (
    INSERT INTO account (customer_id, points, credited_events)
    SELECT customer_id, sum(points), count(*)
    FROM entry
    GROUP BY customer_id
    ORDER BY customer_id
    ON CONFLICT (customer_id) DO UPDATE
    SET points = account.points + EXCLUDED.points,
        credited_events = account.credited_events + EXCLUDED.credited_events,
        updated_at = now()
)
SELECT count(*) AS new, coalesce(sum(points), 0)::bigint AS points
FROM entry
