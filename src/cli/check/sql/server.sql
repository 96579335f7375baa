-- What kind of server this is, and which standbys it has. Another role than a superuser or a member of pg_monitor does not see how they are.
SELECT pg_is_in_recovery() AS standby,
       current_setting('transaction_read_only') = 'on' AS read_only,
       current_setting('server_encoding') AS encoding,
       current_setting('synchronous_standby_names') AS synchronous_names,
       count(r.pid) AS standbys,
       count(r.pid) FILTER (WHERE r.sync_state IN ('sync', 'quorum')) AS synchronous_standbys,
       count(r.pid) FILTER (WHERE r.sync_state IS NULL) AS unknown_standbys
  FROM (VALUES (true)) AS always (there)
  LEFT JOIN pg_stat_replication r ON true
