-- Which privileges the service needs and this role lacks, each as words for a sentence. What is not there yet is left out: the schema's check tells.
SELECT coalesce(array_agg(needed.privilege || ' on ' || needed.object ORDER BY needed.object, needed.privilege), '{}') AS missing,
       current_user::text AS role,
       has_schema_privilege(current_schema(), 'CREATE') AS may_create
  FROM (SELECT p.privilege, t.name AS object, has_table_privilege(t.name, p.privilege) AS granted
          FROM (VALUES ('order_event', 'SELECT,INSERT'), ('command_receipt', 'SELECT,INSERT'),
                       ('publisher_cursor', 'SELECT,UPDATE'), ('outbox_message', 'SELECT'),
                       ('quarantined_order', 'SELECT,INSERT,UPDATE,DELETE'), ('quarantined_event', 'SELECT,INSERT,DELETE'),
                       ('discarded_event', 'SELECT,INSERT'), ('order_summary', 'SELECT,INSERT,UPDATE,DELETE'), ('order_summary_rebuilt', 'SELECT,INSERT,UPDATE,DELETE'),
                       ('rebuild_cursor', 'SELECT,UPDATE'),
                       ('projection_cursor', 'SELECT,UPDATE'), ('published_topic', 'SELECT,INSERT,UPDATE'), ('_sqlx_migrations', 'SELECT')) AS t (name, privileges)
         CROSS JOIN LATERAL unnest(string_to_array(t.privileges, ',')) AS p (privilege)
         WHERE to_regclass(t.name) IS NOT NULL
         UNION ALL
        SELECT 'EXECUTE', f.proname::text, has_function_privilege(f.oid, 'EXECUTE')
          FROM pg_proc f
         WHERE f.pronamespace = (SELECT n.oid FROM pg_namespace n WHERE n.nspname = current_schema())
           AND f.proname IN ('append_order_events', 'append_order_events_checked', 'append_lock_key', 'publisher_lease_key',
                             'appended_channel', 'deployment_schema', 'server_timeline')) AS needed
 WHERE NOT needed.granted
