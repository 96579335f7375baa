-- The deferred events at positions $1 are in the lanes $2 of $3 partitions. Index: deferred_event_pkey.
UPDATE deferred_event d
   SET lane = i.lane, partitions = $3
  FROM unnest($1::bigint[], $2::int[]) AS i(seq, lane)
 WHERE d.seq = i.seq
