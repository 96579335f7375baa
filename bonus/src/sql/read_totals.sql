-- All accounts taken together, each by its policy. No parameters.
-- Reads every account: for a page that somebody looks at, not for a monitor that never sleeps.
SELECT count(*) AS accounts,
       coalesce(sum(graded.points), 0)::bigint AS points,
       coalesce(sum(graded.credited_events), 0)::bigint AS credited_events,
       count(*) FILTER (WHERE graded.bounds_reached = 0) AS bronze,
       count(*) FILTER (WHERE graded.bounds_reached = 1) AS silver,
       count(*) FILTER (WHERE graded.bounds_reached = 2) AS gold,
       count(*) FILTER (WHERE graded.bounds_reached = 3) AS platinum,
       count(*) FILTER (WHERE graded.vip) AS vip
FROM (
    SELECT account.points, account.credited_events, account.vip, width_bucket(account.points, rules.grade_bounds) AS bounds_reached
    FROM account
    JOIN policy AS rules ON rules.version = account.policy_version
) AS graded
