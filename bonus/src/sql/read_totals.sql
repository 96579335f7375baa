-- All accounts taken together. Parameters: $1 points from which on each grade but the lowest holds, rising.
-- Reads every account: for a page that somebody looks at, not for a monitor that never sleeps.
SELECT count(*) AS accounts,
       coalesce(sum(points), 0)::bigint AS points,
       coalesce(sum(credited_events), 0)::bigint AS credited_events,
       count(*) FILTER (WHERE width_bucket(points, $1) = 0) AS bronze,
       count(*) FILTER (WHERE width_bucket(points, $1) = 1) AS silver,
       count(*) FILTER (WHERE width_bucket(points, $1) = 2) AS gold,
       count(*) FILTER (WHERE width_bucket(points, $1) = 3) AS platinum,
       count(*) FILTER (WHERE vip) AS vip
FROM account
