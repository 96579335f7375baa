-- Sets events aside: $1 positions, $2 their aggregates.
INSERT INTO quarantined_event (seq, aggregate_id)
SELECT i.seq, i.aggregate_id FROM unnest($1::bigint[], $2::uuid[]) AS i(seq, aggregate_id)
    ON CONFLICT (seq) DO NOTHING
