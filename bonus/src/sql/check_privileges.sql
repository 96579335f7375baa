-- Privileges that the service needs and its role lacks, such as `INSERT on ledger`. Parameters: $1 its schema. Reads the catalogue
-- only. Tables that are not there yet belong to the role that makes them.
SELECT needed.privilege || ' on ' || needed.name AS missing
FROM (VALUES ('ledger', 'SELECT'), ('ledger', 'INSERT'), ('account', 'SELECT'), ('account', 'INSERT'), ('account', 'UPDATE'),
             ('dead_letter', 'SELECT'), ('dead_letter', 'INSERT'), ('dead_letter', 'UPDATE'), ('dead_letter', 'DELETE'),
             ('ledger_entry', 'SELECT'), ('counted_award', 'SELECT'), ('policy', 'SELECT'), ('policy_in_force', 'SELECT'),
             ('partition_read', 'SELECT'), ('partition_read', 'INSERT'), ('partition_read', 'UPDATE'),
             ('customer_event', 'SELECT'), ('customer_event', 'INSERT'), ('outbox_message', 'SELECT'),
             ('publisher_cursor', 'SELECT'), ('publisher_cursor', 'UPDATE'),
             ('quarantined_customer', 'SELECT'), ('quarantined_customer', 'INSERT'), ('quarantined_customer', 'UPDATE'),
             ('quarantined_customer', 'DELETE'), ('quarantined_event', 'SELECT'), ('quarantined_event', 'INSERT'),
             ('quarantined_event', 'DELETE'), ('discarded_event', 'SELECT'), ('discarded_event', 'INSERT'),
             ('deferred_event', 'SELECT'), ('deferred_event', 'INSERT'), ('deferred_event', 'UPDATE'), ('deferred_event', 'DELETE'),
             ('published_topic', 'SELECT'), ('published_topic', 'INSERT'), ('published_topic', 'UPDATE'))
    AS needed (name, privilege)
JOIN pg_class ON pg_class.relname = needed.name
JOIN pg_namespace ON pg_namespace.oid = pg_class.relnamespace AND pg_namespace.nspname = $1
WHERE NOT has_table_privilege(pg_class.oid, needed.privilege)
ORDER BY needed.name, needed.privilege
