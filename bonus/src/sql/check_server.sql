-- What the service asks of its server and its role. Parameters: $1 its schema. Reads the catalogue only.
SELECT current_setting('server_encoding') AS encoding,
       pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS read_only,
       current_user::text AS role,
       (SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = $1) AS may_use_schema,
       has_database_privilege(current_database(), 'CREATE') AS may_create_schema
