-- Defers events: $1 positions, $2 their aggregates, $3 their lanes, $4 of how many partitions.
INSERT INTO deferred_event (seq, aggregate_id, lane, partitions)
SELECT i.seq, i.aggregate_id, i.lane, i.partitions
  FROM unnest($1::bigint[], $2::uuid[], $3::int[], $4::int[]) AS i(seq, aggregate_id, lane, partitions)
    ON CONFLICT (seq) DO NOTHING
