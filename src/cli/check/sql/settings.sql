-- What the role or the database sets for its sessions, and whether the settings of our own startup message have arrived: one that is off by default.
SELECT coalesce((SELECT array_agg(CASE WHEN s.setrole <> 0 THEN 'role' ELSE 'database' END || ' sets ' || c.setting ORDER BY c.setting)
                   FROM pg_db_role_setting s
                  CROSS JOIN LATERAL unnest(s.setconfig) AS c (setting)
                  WHERE (s.setrole = 0 OR s.setrole = (SELECT r.oid FROM pg_roles r WHERE r.rolname = session_user))
                    AND (s.setdatabase = 0 OR s.setdatabase = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))),
                '{}') AS set_elsewhere,
       current_setting('client_connection_check_interval') = '1s' AS arrived
