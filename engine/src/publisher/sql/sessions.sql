-- Who publishes: the session that holds the lease, an advisory lock, if one does; and how many sessions of the application $1,
-- which is the service, this database has. Reads pg_locks and pg_stat_activity.
SELECT l.pid, l.application_name, l.address, l.connected_at,
       (SELECT count(*) FROM pg_stat_activity s
         WHERE s.datname = current_database() AND s.application_name = $1) AS service_sessions
  FROM (VALUES (true)) AS always (there)
  LEFT JOIN (SELECT a.pid, a.application_name, host(a.client_addr) AS address, a.backend_start AS connected_at
               FROM pg_locks k
               JOIN pg_stat_activity a ON a.pid = k.pid
              WHERE k.locktype = 'advisory' AND k.granted AND k.objsubid = 1
                AND a.datname = current_database()
                AND (k.classid::bigint << 32 | k.objid::bigint) = publisher_lease_key()) AS l ON always.there
