-- Renews the lease (any statement does), and on the way asks how far the journal goes and which aggregates were released.
-- Indexes: aggregate_event_pkey read backwards; quarantined_aggregate is small.
SELECT coalesce((SELECT max(e.seq) FROM aggregate_event e), 0) AS head,
       coalesce((SELECT array_agg(q.aggregate_id) FROM quarantined_aggregate q WHERE q.released_at IS NOT NULL), '{}') AS released
