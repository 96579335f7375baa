-- Whether a write would be refused: on a standby, or where the server, the database or the role is set to read only.
-- No parameters, reads no table.
SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean
