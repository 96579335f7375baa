-- Waits in line for the lease. The key is the deployment's own (migrations/0007_append_after_its_predecessor.sql).
SELECT pg_advisory_lock(publisher_lease_key())
