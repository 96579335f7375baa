-- At most $3 deferred events of lane $1 behind position $2, in order. Index: deferred_event_lane_idx, aggregate_event_pkey.
SELECT e.seq, e.event_id, e.aggregate_id AS id, e.version, e.event_type, e.payload::text AS payload,
       e.metadata::text AS metadata, e.occurred_at
  FROM deferred_event d
  JOIN aggregate_event e ON e.seq = d.seq
 WHERE d.lane = $1 AND d.seq > $2
 ORDER BY d.seq
 LIMIT $3
