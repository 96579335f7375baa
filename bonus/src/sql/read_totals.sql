-- All accounts taken together. No parameters.
-- Reads every account: for a page that somebody looks at, not for a monitor that never sleeps.
SELECT count(*) AS accounts,
       coalesce(sum(points), 0)::bigint AS points,
       coalesce(sum(credited_events), 0)::bigint AS credited_events
FROM account
