-- How many letters wait to be sent, and how many were refused for good. No parameters. Reads the whole table, which is small.
SELECT count(*) FILTER (WHERE refused_at IS NULL) AS waiting, count(*) FILTER (WHERE refused_at IS NOT NULL) AS refused
FROM dead_letter
