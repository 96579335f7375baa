-- Tries to take the lease every 50 ms and $1 times at most; one row if it was got, else none. The key is the deployment's own
-- (engine/migrations/0007_append_after_its_predecessor.sql). The CASE fixes what is first: only a try that failed sleeps. Reads no table.
SELECT true AS taken
  FROM generate_series(1, $1) AS attempt
 WHERE CASE WHEN pg_try_advisory_lock(publisher_lease_key()) THEN true ELSE pg_sleep(0.05) IS NULL END
 LIMIT 1
