-- Sets events aside: $1 positions, $2 their orders.
INSERT INTO quarantined_event (seq, order_id)
SELECT i.seq, i.order_id FROM unnest($1::bigint[], $2::uuid[]) AS i(seq, order_id)
    ON CONFLICT (seq) DO NOTHING
