-- Renews the lease (any statement does), and on the way asks how far the journal goes and which orders were released.
-- Indexes: order_event_pkey read backwards; quarantined_order is small.
SELECT coalesce((SELECT max(e.seq) FROM order_event e), 0) AS head,
       coalesce((SELECT array_agg(q.order_id) FROM quarantined_order q WHERE q.released_at IS NOT NULL), '{}') AS released
