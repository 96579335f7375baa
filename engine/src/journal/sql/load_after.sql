-- The journal from behind position $1 on, at most $2 events. Index: aggregate_event_pkey.
SELECT seq, event_id, aggregate_id AS id, version, event_type, payload::text AS payload, metadata::text AS metadata, occurred_at
  FROM aggregate_event
 WHERE seq > $1
 ORDER BY seq
 LIMIT $2
