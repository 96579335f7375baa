-- At most $3 parked events of aggregate $1 behind position $2, in order. Index: quarantined_event_aggregate_idx, aggregate_event_pkey.
SELECT e.seq, e.event_id, e.aggregate_id AS id, e.version, e.event_type, e.payload::text AS payload,
       e.metadata::text AS metadata, e.occurred_at
  FROM quarantined_event q
  JOIN aggregate_event e ON e.seq = q.seq
 WHERE q.aggregate_id = $1 AND q.seq > $2
 ORDER BY q.seq
 LIMIT $3
