-- Which history of which server a session has led to, whether it is a standby, and how far the journal goes there.
-- Index: aggregate_event_pkey, read backwards.
SELECT server_timeline() AS timeline, pg_is_in_recovery() AS standby, coalesce(max(seq), 0) AS head FROM aggregate_event
