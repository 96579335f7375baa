-- At most $3 parked events of order $1 behind position $2, in order. Index: quarantined_event_order_idx, order_event_pkey.
SELECT e.seq, e.event_id, e.order_id, e.version, e.event_type, e.payload::text AS payload,
       e.metadata::text AS metadata, e.occurred_at
  FROM quarantined_event q
  JOIN order_event e ON e.seq = q.seq
 WHERE q.order_id = $1 AND q.seq > $2
 ORDER BY q.seq
 LIMIT $3
