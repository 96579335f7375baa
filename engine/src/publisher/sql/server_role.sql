-- Whether this server is a standby, and whether it takes no writes: a demoted primary, or one that was made read-only.
SELECT pg_is_in_recovery() AS standby, current_setting('transaction_read_only') = 'on' AS read_only
