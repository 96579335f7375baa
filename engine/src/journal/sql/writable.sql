-- Whether this session can write: not on a standby, and nobody has stopped writes (default_transaction_read_only).
SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off' AS writable
