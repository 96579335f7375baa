-- At most $2 deferred events that are not divided by $1 partitions. Reads deferred_event once.
SELECT d.seq, d.aggregate_id FROM deferred_event d WHERE d.partitions <> $1 ORDER BY d.seq LIMIT $2
