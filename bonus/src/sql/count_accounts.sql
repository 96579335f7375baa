-- How many accounts there are, and how many are by another policy. Parameters: $1 the policy's version. Reads every account.
SELECT count(*) AS "all", count(*) FILTER (WHERE policy_version <> $1) AS behind
FROM account
