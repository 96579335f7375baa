-- Makes every account what its ledger rows come to now, and returns those that were something else, before and after; a side that
-- is NULL had, or has, no account. Parameters, of the policy: $1 points of a VIP, $2 the window. Reads the whole ledger and every
-- account. To be run while nobody else writes accounts.
WITH booked AS (
    SELECT customer_id, sum(points)::bigint AS points, count(*) AS credited_events, min(booked_at) AS opened_at
    FROM ledger_entry
    GROUP BY customer_id
), derived AS (
    SELECT booked.customer_id, booked.points, booked.credited_events, booked.opened_at,
           standing.vip_until IS NOT NULL AS vip, standing.review_at AS vip_review_at
    FROM booked
    LEFT JOIN LATERAL vip_standing(booked.customer_id, now(), $1, $2) AS standing ON booked.points >= $1
), different AS (
    SELECT COALESCE(derived.customer_id, account.customer_id) AS customer_id, derived.opened_at, derived.vip_review_at,
           account.points AS points_before, derived.points AS points_after,
           account.credited_events AS events_before, derived.credited_events AS events_after,
           account.vip AS vip_before, derived.vip AS vip_after
    FROM derived
    FULL JOIN account ON account.customer_id = derived.customer_id
    WHERE (account.points, account.credited_events, account.vip)
              IS DISTINCT FROM (derived.points, derived.credited_events, derived.vip)
       -- Looking again too early does no harm.
       OR COALESCE(account.vip_review_at, 'infinity') > COALESCE(derived.vip_review_at, 'infinity')
), removed AS (
    DELETE FROM account
    WHERE customer_id IN (SELECT customer_id FROM different WHERE points_after IS NULL)
), written AS (
    INSERT INTO account (customer_id, points, credited_events, opened_at, vip, vip_review_at)
    SELECT customer_id, points_after, events_after, opened_at, vip_after, vip_review_at
    FROM different
    WHERE points_after IS NOT NULL
    ON CONFLICT (customer_id) DO UPDATE
    SET points = EXCLUDED.points, credited_events = EXCLUDED.credited_events, vip = EXCLUDED.vip,
        vip_review_at = EXCLUDED.vip_review_at, updated_at = now()
)
SELECT customer_id, points_before, points_after, events_before, events_after, vip_before, vip_after
FROM different
ORDER BY customer_id
