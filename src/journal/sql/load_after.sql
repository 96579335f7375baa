-- The journal from behind position $1 on, at most $2 events. Index: order_event_pkey.
SELECT seq, event_id, order_id, version, event_type, payload::text AS payload, metadata::text AS metadata, occurred_at
  FROM order_event
 WHERE seq > $1
 ORDER BY seq
 LIMIT $2
