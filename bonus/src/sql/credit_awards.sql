-- The rest of a statement that begins `WITH entry AS (insert_entries.sql)`: adds the new awards to the accounts. Both together are a whole
-- transaction. Parameters are the insert's; what add_to_accounts.sql says of locks holds here too.
-- Returns how many were new, and their points.
, opened_or_changed AS (
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
