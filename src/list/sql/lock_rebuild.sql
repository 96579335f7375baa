-- Takes the lock of this schema's rebuild for the session, if nobody else has it. Two numbers: no other lock of ours has such a key.
SELECT pg_try_advisory_lock('order_summary_rebuilt'::regclass::oid::int, 1) AS locked
