-- Makes every account what its ledger rows come to, and returns those that were something else, before and after; a side that
-- is NULL had, or has, no account. Reads the whole ledger and every account. To be run while nobody else writes accounts.
WITH booked AS (
    SELECT customer_id, sum(points)::bigint AS points, count(*) AS credited_events, min(booked_at) AS opened_at
    FROM ledger_entry
    GROUP BY customer_id
), different AS (
    SELECT COALESCE(booked.customer_id, account.customer_id) AS customer_id, booked.opened_at,
           account.points AS points_before, booked.points AS points_after,
           account.credited_events AS events_before, booked.credited_events AS events_after
    FROM booked
    FULL JOIN account ON account.customer_id = booked.customer_id
    WHERE (account.points, account.credited_events) IS DISTINCT FROM (booked.points, booked.credited_events)
), removed AS (
    DELETE FROM account
    WHERE customer_id IN (SELECT customer_id FROM different WHERE points_after IS NULL)
), written AS (
    INSERT INTO account (customer_id, points, credited_events, opened_at)
    SELECT customer_id, points_after, events_after, opened_at
    FROM different
    WHERE points_after IS NOT NULL
    ON CONFLICT (customer_id) DO UPDATE
    SET points = EXCLUDED.points, credited_events = EXCLUDED.credited_events, updated_at = now()
)
SELECT customer_id, points_before, points_after, events_before, events_after
FROM different
ORDER BY customer_id
